"""`Problem`: a study with everything that it names looked up. It judges one candidate, or the whole grid at once.

In: a `StudySpec`. Out: `Deployment`s, and the `Grid` (grid.py) that says for every combination whether a rule
removes it. Launches nothing, knows nothing of optuna.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from planner.arrays import LazyModule
from planner.benchmark import MAX_MODEL_LEN
from planner.constraints import Constraint
from planner.engine import (
    FIELDS,
    USE_V1_ENV,
    VllmFlags,
    knows,
    parse_version,
    read_flags,
    resolve,
    settings,
)
from planner.errors import InputError
from planner.estimate import Calibrations, Deployment, MemoryFigures, check
from planner.hardware import GpuSpec, Placement, find_gpu
from planner.model import ModelSpec, load_model
from planner.study.candidate import LAYOUT, MODEL, PARALLEL_SIZES, Candidate, Choices, Layout, Value, parse_layout
from planner.study.grid import NOT_RECORDED, Grid, metrics_of
from planner.study.learned import Learned
from planner.study.objective import Objective
from planner.study.space import SearchSpace
from planner.study.spec import ModelVariant, StudySpec
from planner.units import GIB
from planner.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from planner.estimate import Coefficients
else:
    np = LazyModule("numpy")


CPU_KV_ENV = "VLLM_CPU_KVCACHE_SPACE"
"""Environment variable for the KV cache of vLLM's CPU backend, in GiB (platforms/cpu.py)."""


class Problem:
    def __init__(self, spec: StudySpec, calibrations: Calibrations | None = None) -> None:
        """Look up the GPU, the models and the version. Raises InputError."""
        if isinstance(spec.search_space, str) or isinstance(spec.workload, str):
            raise TypeError("search space and workload must be read first (files.load_study)")
        self.spec = spec
        self.space: SearchSpace = spec.search_space
        self.workload: Workload = spec.workload
        _check_loads(spec.also_at, self.workload)
        self.version: Version = parse_version(spec.engine.version)
        self.gpu: GpuSpec = find_gpu(spec.hardware.gpu)
        if spec.hardware.gpu_memory is not None:
            self.gpu = replace(self.gpu, memory_bytes=int(spec.hardware.gpu_memory), source="study")
        self.models: dict[str, ModelSpec] = {name: _model(name, variant) for name, variant in spec.models.items()}
        self.passed: VllmFlags = read_flags(spec.engine.extra_args, self.version, f"{spec.name}: engine.extra_args")
        """What engine.extra_args says: settings among them are as fixed as those under engine.settings."""
        self.learned = Learned(dict(calibrations or {}))
        self._grid: Grid | None = None
        self._recorded: NDArray[np.int64] | None = None
        self.left_out: list[str] = []
        """Searched settings that this vLLM version does not know. They are neither searched nor written."""
        self.choices = self._choices()
        self.default = self.choices.default_candidate()

    def _choices(self) -> Choices:
        spec, space = self.spec, self.space
        by_hand = {**settings(spec.engine.settings), **settings(self.passed.settings)}
        fixed = {**settings(space.fixed), **by_hand}
        searched: dict[str, list[Value]] = {key: space.values(key) for key in space.search if key not in by_hand}
        if len(spec.models) > 1:
            searched.setdefault(MODEL, list(spec.models))
        for name in searched.get(MODEL, []):
            if name not in spec.models:
                raise InputError(f"{space.name}: search.{MODEL}: {name!r}; allowed: {', '.join(spec.models)}")
        of_variants = ((f"models.{name}.settings: ", settings(v.settings)) for name, v in spec.models.items())
        for where, given in (("", fixed), *of_variants):
            self._refuse(where, given)
        self.left_out = [name for name in searched if name in FIELDS and not knows(self.version, name)]
        searched = {name: values for name, values in searched.items() if name not in self.left_out}
        layout = self._fixed_layout(fixed)
        if any(field in fixed for field in PARALLEL_SIZES):
            searched.pop(LAYOUT, None)  # the layout was fixed by hand
        for name, variant in spec.models.items():
            if any(field in settings(variant.settings) for field in PARALLEL_SIZES):
                raise InputError(f"models.{name}.settings: parallel sizes belong to {LAYOUT} or engine.settings")
        fitting = [text for text in searched.get(LAYOUT, []) if self._fits(parse_layout(str(text)))]
        if fitting:
            searched[LAYOUT] = fitting
        else:  # none is searched, or the space was written for more cards
            searched.pop(LAYOUT, None)
        engine_type = type(spec.engine.settings)
        return Choices(
            searched,
            engine_type(**fixed),
            next(iter(spec.models)),
            layout,
            {name: variant.settings for name, variant in spec.models.items()},
            spec.engine.env,
        )

    def _refuse(self, where: str, given: Iterable[str]) -> None:
        """Raises InputError for a setting that this version of vLLM does not have."""
        for field in given:
            if not knows(self.version, field):
                reason = f"{where}{field} is not a setting of vLLM {self.version}; leave it out"
                raise InputError(f"{self.spec.name}: {reason}")

    def _fits(self, layout: Layout) -> bool:
        return layout.instances * layout.gpus_per_instance <= self.spec.hardware.num_gpus

    def _fixed_layout(self, fixed: Mapping[str, Any]) -> Layout:
        """The layout if none is searched: the sizes in the settings, else one instance over all cards."""
        pipeline = fixed.get("pipeline_parallel_size") or 1
        tensor = fixed.get("tensor_parallel_size") or max(1, self.spec.hardware.num_gpus // pipeline)
        return Layout(1, tensor, pipeline)

    def with_spec(self, spec: StudySpec) -> Problem:
        """The same problem and grid under a spec that changes no candidate: another sampler, image or seed."""
        other = copy(self)
        other.spec = spec
        return other

    @property
    def placement(self) -> Placement:
        """The cards of one host as the study describes them."""
        hardware, container = self.spec.hardware, self.spec.container
        shm_bytes = container.shm_bytes if container else None
        return Placement(self.gpu, hardware.num_gpus, hardware.interconnect, hardware.host_memory, shm_bytes)

    @cached_property
    def objective(self) -> Objective:
        """The study's objective. Raises InputError if it maximises a setting that is the same in every candidate."""
        objective = self.spec.objective
        if MAX_MODEL_LEN in objective.powers and len(self.choices.searched.get(MAX_MODEL_LEN, [])) < 2:
            raise InputError(
                f"{self.spec.name}: objective: {MAX_MODEL_LEN} is not searched; give it several values under search in "
                "the search space, and none under engine.settings"
            )
        return objective

    # --- one candidate ---

    def deployment(self, candidate: Candidate) -> Deployment:
        return self._deployment(candidate, settings(candidate.engine))

    @property
    def default_is_engines(self) -> bool:
        """Whether `default` is the engine's own default. A replayed table may only hold a candidate near it."""
        return self.default == self.choices.default_candidate()

    @property
    def default_words(self) -> str:
        return "engine defaults" if self.default_is_engines else "nearest to engine defaults"

    def row_of(self, candidate: Candidate) -> int | None:
        return self.choices.row_of(candidate)

    def check(self, candidate: Candidate) -> tuple[Constraint, ...]:
        """The rules that this candidate violates."""
        return (*check(self.deployment(candidate)), *self._not_recorded(candidate))

    def _not_recorded(self, candidate: Candidate) -> tuple[Constraint, ...]:
        """Constraint on a candidate not in the replayed table; excess: settings in which the nearest one differs."""
        row = self.row_of(candidate)
        if self._recorded is None or row is None or row in self._recorded:
            return ()
        indices = self.choices.index_matrix()
        differing = (indices[self._recorded] != indices[row]).sum(axis=1).min()
        return (Constraint(NOT_RECORDED, float(differing), "was not measured", "refused"),)

    def only(self, candidates: Iterable[Candidate], default: Candidate) -> Problem:
        """The same problem limited to these candidates, as when a table is replayed; `default` is tried first.

        Raises InputError if none of them is in the search space.
        """
        rows = {row for candidate in candidates if (row := self.row_of(candidate)) is not None}
        if not rows:
            raise InputError(f"{self.spec.name}: no recorded candidate is in the search space")
        other = copy(self)
        other.default, other._recorded, other._grid = default, np.array(sorted(rows)), None
        return other

    def predicted(self, candidate: Candidate, coefficients: Coefficients | None = None) -> dict[str, float]:
        """Each metric as predicted by the speed model, with fitted `coefficients` or the card's priors."""
        metrics = self.predict(self.deployment(candidate), coefficients)
        return {name: float(value) for name, value in metrics.items()}

    def known(self, candidate: Candidate) -> dict[str, float]:
        """The metrics of an objective that are known without a launch."""
        return {MAX_MODEL_LEN: float(self.deployment(candidate).engine.max_model_len)}

    def learn(self, candidate: Candidate, real: MemoryFigures, source: str, host: str | None = None) -> bool:
        """Calibrate on a real start of this candidate, and judge the grid again. False if the log taught nothing.

        Each host keeps its own calibration; the grid is judged by the strictest.
        """
        before = self.learned
        self.learned = before.learn(self.deployment(candidate), real, source, host)
        if self.learned is before:
            return False
        self._grid = None
        return True

    @property
    def calibrations(self) -> Calibrations:
        """The strictest calibration of all hosts, by calibration key."""
        return self.learned.calibrations

    # --- the whole grid ---

    @property
    def grid(self) -> Grid:
        """Every combination, judged with the current calibrations."""
        if self._grid is None:
            self._grid = Grid.of(self, self._recorded)
        return self._grid

    def deployments(self, indices: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], Deployment]]:
        """Groups of rows of `indices` that differ only in numbers, each with its deployment as arrays."""
        words = [i for i, name in enumerate(self.choices.names) if not self._is_numeric(name)]
        groups, member = np.unique(indices[:, words], axis=0, return_inverse=True)
        for number in range(len(groups)):
            rows = np.flatnonzero(member.ravel() == number)
            yield rows, self._group_deployment(indices[rows])

    def _is_numeric(self, name: str) -> bool:
        return name in FIELDS and all(isinstance(value, (int, float)) for value in self.choices.searched[name])

    def _group_deployment(self, indices: NDArray[np.int32]) -> Deployment:
        first = self.choices.params(indices[0])
        candidate = self.choices.candidate(first)
        columns: dict[str, Any] = settings(candidate.engine)
        for position, name in enumerate(self.choices.names):
            if self._is_numeric(name):
                columns[name] = np.asarray(self.choices.searched[name])[indices[:, position]]
        return self._deployment(candidate, columns)

    def _deployment(self, candidate: Candidate, columns: dict[str, Any]) -> Deployment:
        """The deployment of `columns`, the candidate's settings (arrays for a group of rows), and its environment."""
        if candidate.model not in self.models:
            raise InputError(f"{self.spec.name}: {candidate.model!r} is none of its models: {', '.join(self.models)}")
        model, env = self.models[candidate.model], dict(candidate.env)
        if self.gpu.is_cpu and CPU_KV_ENV in env:  # wins over the flag (vllm@0.32 platforms/cpu.py)
            columns = {**columns, "kv_cache_memory_bytes": _whole_gib(env[CPU_KV_ENV]) * GIB}
        if USE_V1_ENV in env:
            columns = {**columns, USE_V1_ENV: env[USE_V1_ENV]}
        return Deployment.of(
            model,
            self.placement,
            resolve(columns, model, self.gpu, self.version),
            candidate.layout.instances,
            self.calibrations,
            self.workload.max_total_tokens,
        )

    def predict(self, d: Deployment, coefficients: Coefficients | None = None) -> dict[str, Any]:
        """Each of GOALS under the study's workload, as predicted; arrays if the deployment's columns are."""
        return metrics_of(d, self.workload, coefficients)


def _whole_gib(text: str) -> int:
    """vLLM reads the variable with int(). Raises InputError."""
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", text):
        raise InputError(f"{CPU_KV_ENV}: {text!r} is not a whole number of GiB above 0")
    return int(text)


def _model(name: str, variant: ModelVariant) -> ModelSpec:
    """The model's own files where they are here, else the architecture the study names."""
    folder = variant.folder
    if variant.is_directory and os.path.exists(folder) and (variant.architecture is None or _has_config(folder)):
        return load_model(variant.path, variant.basename)
    if variant.architecture is None and variant.is_directory:
        raise InputError(
            f"models.{name}.path: {variant.path} is not on this machine; name its architecture: a config.json or a "
            "shipped name (planner models)"
        )
    return load_model(variant.architecture or variant.path, variant.basename)


def _has_config(path: Path) -> bool:
    return os.path.isfile(path) or os.path.isfile(path / "config.json")


def _check_loads(loads: Sequence[float], workload: Workload) -> None:
    for load in loads:
        if workload.request_rate is None and load != round(load):
            raise InputError(f"also_at: {load:g}: is no whole number of requests in flight")

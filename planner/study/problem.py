"""`Problem`: a study with everything that it names looked up. It never changes.

In: a `StudySpec`. Out: the `Choices` and, under given memory calibrations, `Deployment`s. `forecast.py` judges them.
Launches nothing, knows nothing of optuna.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from planner.arrays import LazyModule
from planner.benchmark import MAX_MODEL_LEN
from planner.engine import (
    FIELDS,
    SWITCHES,
    TRAITS,
    Unmodelled,
    VllmFlags,
    draft_doubts,
    knows,
    read_extra_args,
    resolve,
    settings,
    supported_version,
)
from planner.errors import InputError
from planner.estimate import Calibrations, Deployment, loaded_model
from planner.hardware import GpuSpec, Placement, find_gpu, load_profile
from planner.model import ModelSpec, load_model
from planner.study.candidate import LAYOUT, MODEL, PARALLEL_SIZES, Candidate, Choices, Layout, Value, parse_layout
from planner.study.objective import Objective
from planner.study.possible import possible_values
from planner.study.space import SearchSpace
from planner.study.spec import ModelVariant, StudySpec
from planner.units import GIB
from planner.workload import Workload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


CPU_KV_ENV = "VLLM_CPU_KVCACHE_SPACE"
"""Environment variable for the KV cache of vLLM's CPU backend, in GiB (platforms/cpu.py)."""


NO_FLAGS = VllmFlags()


@dataclass(frozen=True, eq=False)
class Problem:
    """What a study asks, resolved. What is learned from starts is not part of it: callers give calibrations."""

    spec: StudySpec
    space: SearchSpace
    workload: Workload
    version: Version
    gpu: GpuSpec
    models: Mapping[str, ModelSpec]
    """The study's models by name."""
    choices: Choices
    default: Candidate
    """The candidate that is tried first."""
    left_out: tuple[str, ...] = ()
    """Searched settings that this vLLM version does not know. They are neither searched nor written."""
    impossible: tuple[str, ...] = ()
    """Lines on searched values that no candidate can have, and why."""
    passed: VllmFlags = NO_FLAGS
    """What engine.extra_args says. Settings among them are as fixed as those under engine.settings."""
    recorded: NDArray[np.int64] | None = None
    """Rows of the grid that may be tried where a table is replayed, in ascending order; None: all."""

    @classmethod
    def of(cls, spec: StudySpec) -> Problem:
        """Look up the GPU, the models and the version. Raises InputError."""
        space, workload = spec.search_space, spec.workload
        if isinstance(space, str) or isinstance(workload, str):
            raise TypeError("search space and workload must be read first (files.load_study)")
        _check_loads(spec.also_at, workload)
        for name in SWITCHES:
            if (forced := spec.engine.env.get(name, "0").strip()) not in {"0", "1"}:
                raise InputError(f"{name}={forced} (environment of the engine): allowed are 0 and 1")
        version, gpu = (
            supported_version(spec.engine.version, f"{spec.name}: engine.version"),
            find_gpu(spec.hardware.gpu),
        )
        if spec.hardware.profile is not None:
            gpu = _with_profile(gpu, spec.hardware.profile, f"{spec.name}: hardware.profile")
        if spec.hardware.gpu_memory is not None:
            gpu = replace(gpu, memory_bytes=int(spec.hardware.gpu_memory), source="study")
        passed = read_extra_args(spec.engine.extra_args, version, f"{spec.name}: engine.extra_args")
        models = {name: loaded_model(_model(name, one), passed, version) for name, one in spec.models.items()}
        choices, left_out, impossible = _choices(spec, space, version, settings(passed.settings), (models, gpu))
        default = choices.default_candidate()
        return cls(spec, space, workload, version, gpu, models, choices, default, left_out, impossible, passed)

    def with_spec(self, spec: StudySpec) -> Problem:
        """The same problem under a spec that changes no candidate: another sampler, image or seed."""
        return replace(self, spec=spec)

    def only(self, candidates: Iterable[Candidate], default: Candidate) -> Problem:
        """The same problem limited to these candidates, as when a table is replayed; `default` is tried first.

        Raises InputError if none of them is in the search space.
        """
        rows = {row for candidate in candidates if (row := self.row_of(candidate)) is not None}
        if not rows:
            raise InputError(f"{self.spec.name}: no recorded candidate is in the search space")
        return replace(self, default=default, recorded=np.array(sorted(rows)))

    @property
    def placement(self) -> Placement:
        """The cards of one host as the study describes them."""
        return _placement(self.spec, self.gpu)

    @cached_property
    def objective(self) -> Objective:
        """The study's objective. Raises InputError if it maximises a setting that is the same in every candidate."""
        objective = self.spec.objective
        if MAX_MODEL_LEN in objective.powers and len(self.choices.searched.get(MAX_MODEL_LEN, [])) < 2:
            raise InputError(
                f"{self.spec.name}: objective: {MAX_MODEL_LEN} is not searched; give it several values under search in "
                "the search space of a study.yaml (planner init), and none under engine.settings"
            )
        return objective

    # --- one candidate ---

    def deployment(self, candidate: Candidate, calibrations: Calibrations | None = None) -> Deployment:
        """The candidate's deployment, its memory corrected by calibrations from real starts if any are given.

        Raises InputError if it names a model that the study lacks.
        """
        return self._deployment(candidate, settings(candidate.engine), calibrations)

    def doubts(self, candidate: Candidate) -> tuple[Unmodelled, ...]:
        """The candidate's flags that move memory in a way that is not modelled."""
        found = dict.fromkeys((*self.passed.doubts, *draft_doubts(candidate.engine)))
        reads_images = self.models[candidate.model].has_vision_tower
        return tuple(one for one in found if reads_images or not one.images_only)

    @property
    def has_baseline(self) -> bool:
        """Whether the study names the settings to beat; else they are the engine's defaults."""
        return bool(settings(self.spec.baseline))

    @property
    def default_is_engines(self) -> bool:
        """Whether `default` is the baseline or engine's own default. A replayed table may only hold one near it."""
        return self.default == self.choices.default_candidate()

    @property
    def default_words(self) -> str:
        words = "baseline settings" if self.has_baseline else "engine defaults"
        return words if self.default_is_engines else f"nearest to {words}"

    def row_of(self, candidate: Candidate) -> int | None:
        """The candidate's row in the grid; None if it is not on the grid."""
        return self.choices.row_of(candidate)

    def known(self, candidate: Candidate) -> dict[str, float]:
        """The metrics of an objective that are known without a launch."""
        return {MAX_MODEL_LEN: float(self.deployment(candidate).engine.max_model_len)}

    # --- many candidates ---

    def deployments(
        self, indices: NDArray[np.int32], calibrations: Calibrations | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Deployment]]:
        """Groups of rows of `indices` that differ only in numbers, each with its deployment as arrays."""
        words = [i for i, name in enumerate(self.choices.names) if not self._is_numeric(name)]
        groups, member = np.unique(indices[:, words], axis=0, return_inverse=True)
        for number in range(len(groups)):
            rows = np.flatnonzero(member.ravel() == number)
            yield rows, self._group_deployment(indices[rows], calibrations)

    def _is_numeric(self, name: str) -> bool:
        return name in FIELDS and all(isinstance(value, (int, float)) for value in self.choices.searched[name])

    def _group_deployment(self, indices: NDArray[np.int32], calibrations: Calibrations | None) -> Deployment:
        first = self.choices.params(indices[0])
        candidate = self.choices.candidate(first)
        columns: dict[str, Any] = settings(candidate.engine)
        for position, name in enumerate(self.choices.names):
            if self._is_numeric(name):
                columns[name] = np.asarray(self.choices.searched[name])[indices[:, position]]
        return self._deployment(candidate, columns, calibrations)

    def _deployment(
        self, candidate: Candidate, columns: dict[str, Any], calibrations: Calibrations | None
    ) -> Deployment:
        """The deployment of `columns`, the candidate's settings (arrays for a group of rows), and its environment."""
        if candidate.model not in self.models:
            raise InputError(f"{self.spec.name}: {candidate.model!r} is none of its models: {', '.join(self.models)}")
        model, env = self.models[candidate.model], dict(candidate.env)
        if self.gpu.is_cpu and CPU_KV_ENV in env:  # wins over the flag (vllm@0.32 platforms/cpu.py)
            columns = {**columns, "kv_cache_memory_bytes": _whole_gib(env[CPU_KV_ENV]) * GIB}
        forced = {name: env[name].strip() for name in SWITCHES if name in env}
        columns = {**columns, **forced, TRAITS: self.passed.traits}
        return Deployment.of(
            model,
            self.placement,
            resolve(columns, model, self.gpu, self.version),
            candidate.layout.instances,
            calibrations,
            self.workload.max_total_tokens,
        )


def _placement(spec: StudySpec, gpu: GpuSpec) -> Placement:
    hardware, container = spec.hardware, spec.container
    shm_bytes = container.shm_bytes if container else None
    used = int(hardware.gpu_used or 0)
    return Placement(gpu, hardware.num_gpus, hardware.interconnect, hardware.host_memory, shm_bytes, used)


def _choices(
    spec: StudySpec,
    space: SearchSpace,
    version: Version,
    passed: Mapping[str, Any],
    looked_up: tuple[Mapping[str, ModelSpec], GpuSpec],
) -> tuple[Choices, tuple[str, ...], tuple[str, ...]]:
    """What is searched, the searched settings that this version does not know, lines on values that nobody can have.

    `passed` holds the settings that engine.extra_args fixes, `looked_up` the models and the card. Raises InputError.
    """
    models, gpu = looked_up
    by_hand = {**settings(spec.engine.settings), **passed}
    baseline, of_all = _parted(settings(spec.baseline), space, by_hand)
    fixed = {**of_all, **settings(space.fixed), **by_hand}
    searched: dict[str, list[Value]] = {key: space.values(key) for key in space.search if key not in by_hand}
    if len(spec.models) > 1:
        searched.setdefault(MODEL, list(spec.models))
    for name in searched.get(MODEL, []):
        if name not in spec.models:
            raise InputError(f"{space.name}: search.{MODEL}: {name!r}; allowed: {', '.join(spec.models)}")
    of_variants = ((f"models.{name}.settings: ", settings(v.settings)) for name, v in spec.models.items())
    for where, given in (("", fixed), *of_variants):
        for field in given:
            if not knows(version, field):
                reason = f"{where}{field} is not a setting of vLLM {version}; leave it out"
                raise InputError(f"{spec.name}: {reason}")
    left_out = tuple(name for name in searched if name in FIELDS and not knows(version, name))
    if unknown := [name for name in baseline if name in left_out]:
        raise InputError(f"{spec.name}: baseline.{unknown[0]}: is not a setting of vLLM {version}; leave it out")
    searched = {name: values for name, values in searched.items() if name not in left_out}
    layout = _fixed_layout(spec, fixed)
    if any(field in fixed for field in PARALLEL_SIZES):
        searched.pop(LAYOUT, None)  # the layout was fixed by hand
    for name, variant in spec.models.items():
        if any(field in settings(variant.settings) for field in PARALLEL_SIZES):
            raise InputError(f"models.{name}.settings: parallel sizes belong to {LAYOUT} or engine.settings")
    fitting = [text for text in searched.get(LAYOUT, []) if _fits(spec, fixed, parse_layout(str(text)))]
    if fitting:
        searched[LAYOUT] = fitting
    else:  # none is searched, or the space was written for more cards
        searched.pop(LAYOUT, None)
    if LAYOUT in baseline and LAYOUT not in searched:
        layout = parse_layout(str(baseline.pop(LAYOUT)))
    searched, impossible = possible_values(searched, models.values(), _placement(spec, gpu), layout)
    engine_type = type(spec.engine.settings)
    choices = Choices(
        searched,
        engine_type(**fixed),
        next(iter(spec.models)),
        layout,
        {name: variant.settings for name, variant in spec.models.items()},
        spec.engine.env,
        baseline,
    )
    return choices, left_out, impossible


def _parted(
    baseline: Mapping[str, Any], space: SearchSpace, by_hand: Mapping[str, Any]
) -> tuple[dict[str, Value], dict[str, Any]]:
    """The baseline's values of what is searched, and those that hold for every candidate; what is fixed by hand wins.

    Parallel sizes are one layout where layouts are searched.
    """
    mine = {name: value for name, value in baseline.items() if name not in by_hand}
    sizes = [mine.get(name) for name in PARALLEL_SIZES]
    searched: dict[str, Value] = {name: value for name, value in mine.items() if name in space.search}
    if LAYOUT in space.search and any(sizes) and not any(name in by_hand for name in PARALLEL_SIZES):
        searched[LAYOUT] = str(Layout(1, sizes[0] or 1, sizes[1] or 1))
        mine = {name: value for name, value in mine.items() if name not in PARALLEL_SIZES}
    return searched, {name: value for name, value in mine.items() if name not in searched}


def _replicas(fixed: Mapping[str, Any]) -> int:
    """vLLM's data parallel ranks of one instance: each has GPUs of its own."""
    return fixed.get("data_parallel_size") or 1


def _fits(spec: StudySpec, fixed: Mapping[str, Any], layout: Layout) -> bool:
    return layout.instances * layout.gpus_per_instance * _replicas(fixed) <= spec.hardware.num_gpus


def _fixed_layout(spec: StudySpec, fixed: Mapping[str, Any]) -> Layout:
    """The layout if none is searched: the sizes in the settings, else one instance over all cards."""
    pipeline = fixed.get("pipeline_parallel_size") or 1
    tensor = fixed.get("tensor_parallel_size") or max(1, spec.hardware.num_gpus // (pipeline * _replicas(fixed)))
    return Layout(1, tensor, pipeline)


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


def _with_profile(gpu: GpuSpec, name: str, where: str) -> GpuSpec:
    """The card with what was measured on one like it. Raises InputError for another card's profile."""
    profile = load_profile(name)
    if profile.card != gpu.name:
        raise InputError(f"{where}: {name} was measured on {profile.card}, the study's card is {gpu.name}")
    return replace(gpu, measured=profile)


def _has_config(path: Path) -> bool:
    return os.path.isfile(path) or os.path.isfile(path / "config.json")


def _check_loads(loads: Sequence[float], workload: Workload) -> None:
    for load in loads:
        if workload.request_rate is None and load != round(load):
            raise InputError(f"also_at: {load:g}: is no whole number of requests in flight")

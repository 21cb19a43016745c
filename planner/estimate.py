"""Judge one deployment before anything is launched: `judge(model, gpu, ...) -> Answer`, with or without a study.

The verdict is one of three: `will not start` (a rule of vLLM or the memory says no), `at risk` (it should start, but
something in numbers may stop it, at start or under load), `starts`. Prints nothing; `estimate_view.py` draws answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from packaging.version import Version

from planner.defaults import resolve
from planner.engine import EngineConfig, flag, knows
from planner.feasibility import Constraint, Deployment, check, dangers, hints
from planner.hardware import GpuSpec, Interconnect
from planner.memory import estimate_memory
from planner.model import ModelSpec
from planner.units import to_gib

if TYPE_CHECKING:
    from planner.spec import StudySpec

Verdict = Literal["starts", "at risk", "will not start"]

DIGITS = 4
"""Of GiB in documents, as vLLM logs its weights."""


@dataclass(frozen=True, slots=True)
class Answer:
    deployment: Deployment
    violated: tuple[Constraint, ...]
    """Why it will not start, in the order in which vLLM would meet it."""
    dangers: tuple[str, ...] = ()
    """What may stop it, at start or under load."""
    notes: tuple[str, ...] = ()
    """What is wasted or not modelled; no reason for another verdict."""

    @property
    def verdict(self) -> Verdict:
        if self.violated:
            return "will not start"
        return "at risk" if self.dangers else "starts"

    @property
    def reasons(self) -> list[str]:
        return [*(constraint.message for constraint in self.violated), *self.dangers, *self.notes]

    def document(self, name: str | int) -> dict[str, Any]:
        """The answer as docs/formats.md describes it; `name` becomes its id."""
        memory = self.deployment.memory
        low, high = memory.kv_interval_bytes
        return {
            "id": name,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "weights_gib": _gib(memory.weight_bytes),
            "non_torch_gib": _gib(memory.non_torch_bytes),
            "activation_peak_gib": _gib(memory.activation_bytes),
            "cudagraph_gib": _gib(memory.graph_bytes),
            "kv_cache_gib": _gib(memory.kv_cache_bytes),
            "kv_cache_gib_interval": [_gib(low), _gib(high)],
            "kv_blocks": int(memory.num_blocks),
            "kv_tokens": int(memory.kv_tokens),
            "max_concurrency": round(float(memory.max_concurrency), 2),
        }

    def to_json(self, name: str | int) -> str:
        return msgspec.json.format(msgspec.json.encode(self.document(name))).decode()


def judge(
    model: ModelSpec,
    gpu: GpuSpec,
    num_gpus: int,
    interconnect: Interconnect,
    version: Version,
    settings: Mapping[str, Any],
    host_memory_bytes: int | None = None,
    instances: int = 1,
) -> Answer:
    """Judge one deployment. `settings` maps EngineConfig's field names to values; left out: vLLM's default."""
    deployment = deploy(model, gpu, num_gpus, interconnect, version, settings, host_memory_bytes, instances)
    return answer_of(deployment, unknown_flags(settings, version))


def deploy(
    model: ModelSpec,
    gpu: GpuSpec,
    num_gpus: int,
    interconnect: Interconnect,
    version: Version,
    settings: Mapping[str, Any],
    host_memory_bytes: int | None = None,
    instances: int = 1,
) -> Deployment:
    """What the rules look at. Values of `settings` may be arrays of one entry a candidate."""
    engine = resolve(settings, model, gpu, version)
    return Deployment(
        model=model,
        gpu=gpu,
        num_gpus=num_gpus,
        instances=instances,
        host_memory_bytes=host_memory_bytes,
        engine=engine,
        memory=estimate_memory(model, gpu, engine, interconnect),
    )


def answer_of(deployment: Deployment, refused: Sequence[Constraint] = ()) -> Answer:
    """The verdict over a deployment; `refused` is what vLLM's command line already turns down."""
    broken = check(deployment)
    return Answer(
        deployment,
        violated=(*refused, *(c for c in broken if not c.starts_anyway)),
        dangers=(*(c.message for c in broken if c.starts_anyway), *dangers(deployment)),
        notes=tuple(hints(deployment)),
    )


def unknown_flags(settings: Mapping[str, Any], version: Version) -> list[Constraint]:
    """Settings this version's command line does not take, in argparse's words."""
    unknown = [name for name, value in settings.items() if value is not None and not knows(version, name)]
    return [
        Constraint("flags of this version", 1.0, f"vllm: error: unrecognized arguments: {flag(name)} (vLLM {version})")
        for name in unknown
    ]


def _gib(num_bytes: Any) -> float:
    return round(to_gib(float(num_bytes)), DIGITS)


# --- a study ---


def estimate_deployment(spec: StudySpec, given: EngineConfig) -> Answer:
    """Judge the study's default candidate with the command line's flags on top, without its workload."""
    from planner.problem import Problem
    from planner.sources import with_settings
    from planner.space import LAYOUT, MODEL, Layout

    problem = Problem(with_settings(spec, given, None, None))
    candidate = problem.default
    if given.tensor_parallel_size or given.pipeline_parallel_size:
        layout = Layout(1, given.tensor_parallel_size or 1, given.pipeline_parallel_size or 1)
        candidate = problem.choices.candidate({LAYOUT: str(layout), MODEL: candidate.model})
    return answer_of(replace(problem.deployment(candidate), workload_tokens=0))

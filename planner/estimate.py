"""`planner estimate`: one deployment judged before anything is launched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from planner.engine import EngineConfig
from planner.feasibility import Constraint, Deployment, check, risks
from planner.problem import Problem
from planner.report import verdict
from planner.sources import with_settings
from planner.space import LAYOUT, MODEL, Layout
from planner.spec import StudySpec
from planner.units import to_gib


@dataclass(frozen=True, slots=True)
class Answer:
    deployment: Deployment
    violated: tuple[Constraint, ...]
    risks: list[str]

    def to_json(self) -> str:
        memory = self.deployment.memory
        document = {
            "verdict": verdict(self.violated, self.risks),
            "reasons": [constraint.message for constraint in self.violated] + self.risks,
            "weights_gib": to_gib(memory.weight_bytes),
            "non_torch_gib": to_gib(memory.non_torch_bytes),
            "activation_peak_gib": to_gib(float(memory.activation_bytes)),
            "cudagraph_gib": to_gib(float(memory.graph_bytes)),
            "kv_cache_gib": to_gib(float(memory.kv_cache_bytes)),
            "kv_blocks": int(memory.num_blocks),
            "kv_tokens": int(memory.kv_tokens),
            "max_concurrency": float(memory.max_concurrency),
        }
        return msgspec.json.format(msgspec.json.encode(document)).decode()


def estimate_deployment(spec: StudySpec, given: EngineConfig) -> Answer:
    """Judge the study's default candidate with the command line's flags on top, without its workload."""
    problem = Problem(with_settings(spec, given, None, None))
    candidate = problem.default
    if given.tensor_parallel_size or given.pipeline_parallel_size:
        layout = Layout(1, given.tensor_parallel_size or 1, given.pipeline_parallel_size or 1)
        candidate = problem.choices.candidate({LAYOUT: str(layout), MODEL: candidate.model})
    deployment = replace(problem.deployment(candidate), workload_tokens=0)
    return Answer(deployment, check(deployment), risks(deployment))

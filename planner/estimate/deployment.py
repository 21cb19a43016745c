"""A model on some cards with every setting resolved and its memory estimated: `Deployment.of(...)`."""

from __future__ import annotations

from dataclasses import dataclass

from planner.arrays import FloatColumn
from planner.engine import ResolvedEngine
from planner.estimate.memory.per_gpu import Calibrations, MemoryEstimate, calibration_key, estimate_memory
from planner.hardware import GpuSpec, Placement
from planner.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the rules of `rules.py` check. `engine` and `memory` may hold arrays, one entry per candidate."""

    model: ModelSpec
    placement: Placement
    instances: int = 1
    engine: ResolvedEngine
    memory: MemoryEstimate
    workload_tokens: int = 0
    """Longest sequence of the workload, prompt and output, in tokens; 0 without a workload."""

    @classmethod
    def of(
        cls,
        model: ModelSpec,
        placement: Placement,
        engine: ResolvedEngine,
        instances: int = 1,
        calibrations: Calibrations | None = None,
        workload_tokens: int = 0,
    ) -> Deployment:
        """The deployment with its memory estimated, corrected by the calibration for such cards if there is one."""
        calibration = (calibrations or {}).get(calibration_key(placement, engine))
        return cls(
            model=model,
            placement=placement,
            instances=instances,
            engine=engine,
            memory=estimate_memory(model, placement, engine, calibration),
            workload_tokens=workload_tokens,
        )

    @property
    def lacking_at_start_bytes(self) -> FloatColumn:
        """Bytes that a card lacks of the budget when the engine starts; at most 0 where nothing else is on the card.

        Source: vllm@0.11.0 v1/worker/gpu_worker.py:init_device, 0.24.0 v1/worker/utils.py:request_memory. V0 does not
        look, and V1 of 0.8 takes what others hold out of the budget.
        """
        memory = self.memory
        if not self.placement.used_bytes or memory.context_in_budget or self.engine.generation == "V0":
            return 0.0
        return memory.budget_bytes + memory.context_bytes - memory.total_bytes

    @property
    def gpu(self) -> GpuSpec:
        """The card; all cards of a deployment are alike."""
        return self.placement.gpu

"""A model on some cards with every setting resolved and its memory estimated: `Deployment.of(...)`."""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine import ResolvedEngine
from planner.estimate.memory.per_gpu import Calibrations, MemoryEstimate, calibration_key, estimate_memory
from planner.hardware import GpuSpec, Placement
from planner.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the rules of `rules.py` look at. `engine` and `memory` may carry arrays, one entry a candidate."""

    model: ModelSpec
    placement: Placement
    instances: int = 1
    engine: ResolvedEngine
    memory: MemoryEstimate
    workload_tokens: int = 0
    """Longest sequence of the workload; 0 when none is asked."""

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
        """The deployment with its memory estimated, corrected by what starts on such cards have taught."""
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
    def gpu(self) -> GpuSpec:
        """What each of the cards is."""
        return self.placement.gpu

"""A model on some cards with every setting resolved and its memory estimated: `deploy(...) -> Deployment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from planner.engine import ResolvedEngine, resolve
from planner.estimate.memory.per_gpu import Calibrations, MemoryEstimate, calibration_key, estimate_memory
from planner.hardware import GpuSpec, Interconnect
from planner.model import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the rules of `feasibility` look at. `engine` and `memory` may carry arrays, one entry a candidate."""

    model: ModelSpec
    gpu: GpuSpec
    num_gpus: int
    instances: int
    host_memory_bytes: int | None
    engine: ResolvedEngine
    memory: MemoryEstimate
    shm_bytes: int | None = None
    """Size of the container's own /dev/shm; None: the host's, or not known."""
    workload_tokens: int = 0
    """Longest sequence of the workload; 0 when none is asked."""


def deploy(
    model: ModelSpec,
    gpu: GpuSpec,
    num_gpus: int,
    interconnect: Interconnect,
    version: Version,
    settings: Mapping[str, Any],
    *,
    host_memory_bytes: int | None = None,
    shm_bytes: int | None = None,
    instances: int = 1,
    calibrations: Calibrations | None = None,
    workload_tokens: int = 0,
) -> Deployment:
    """Settings resolved and their memory estimated. Values of `settings` may be arrays of one entry a candidate."""
    engine = resolve(settings, model, gpu, version)
    calibration = (calibrations or {}).get(calibration_key(gpu, engine, interconnect))
    return Deployment(
        model=model,
        gpu=gpu,
        num_gpus=num_gpus,
        instances=instances,
        host_memory_bytes=host_memory_bytes,
        shm_bytes=shm_bytes,
        engine=engine,
        memory=estimate_memory(model, gpu, engine, interconnect, calibration),
        workload_tokens=workload_tokens,
    )

"""Start a simulated engine, or refuse as vLLM would; and the virtual duration of a start, part by part.

Source: vllm@0.8.5 worker/worker.py:raise_if_cache_size_invalid, v1/core/kv_cache_utils.py:check_enough_kv_cache_memory
and real start logs of both engines.
"""

from __future__ import annotations

from planner.constraints import OUT_OF_MEMORY, REFUSED_BY_ENGINE
from planner.engine import ResolvedEngine
from planner.errors import EngineOutOfMemory, EngineRejected
from planner.estimate import Deployment, MemoryEstimate, StepModel, check, num_cuda_graphs
from planner.model import ModelSpec
from planner.simulated.scheduler import SimulatedEngine
from planner.units import GIB

LOAD_BYTES_PER_S = 0.5 * GIB
"""Rate of reading weights from disk, per rank."""
IMPORT_S = 20.0
"""Time for Python imports, worker processes and NCCL: 12 to 25 s in real start logs."""
PROFILE_S = 5.0
COMPILE_S = 28.0
"""Time of V1's torch.compile with a cold cache: 24 to 31 s on 0.24."""
GRAPH_S = 0.7
"""Time to capture one graph: 11 graphs took 8 s at tensor parallel 4."""

SEEDS_PER_TRIAL = 7919
"""Distance between the seeds of simulated trials, so that each launch has its own pace, as real ones do."""


def start_engine(deployment: Deployment, seed: int = 0) -> SimulatedEngine:
    """Return an engine that is ready. Raises EngineRejected or EngineOutOfMemory with vLLM's own message."""
    d = deployment
    for constraint in check(d):
        if constraint.kind == OUT_OF_MEMORY:
            raise EngineOutOfMemory(constraint.message)
        if constraint.kind == REFUSED_BY_ENGINE:
            raise EngineRejected(constraint.message)
    return SimulatedEngine(StepModel(d.model, d.placement, d.engine), int(d.memory.num_blocks), seed)


def start_live(launched: Deployment, scheduled: Deployment, seed: int = 0) -> SimulatedEngine:
    """The engine of a launch whose scheduler was turned to the limits of `scheduled`: it keeps the launch's blocks."""
    d = scheduled
    return SimulatedEngine(StepModel(d.model, d.placement, d.engine), int(launched.memory.num_blocks), seed)


def start_seconds(model: ModelSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> float:
    """Virtual duration of a start in seconds: processes, weights from disk, profile run, compilation and graphs."""
    graphs = int(num_cuda_graphs(engine))
    compiles = engine.generation == "V1" and not engine.enforce_eager
    layers = model.num_hidden_layers / 64  # a graph's capture runs every layer
    return (
        IMPORT_S
        + memory.weight_bytes / LOAD_BYTES_PER_S
        + PROFILE_S
        + (COMPILE_S if compiles else 0.0)
        + graphs * GRAPH_S * layers
    )

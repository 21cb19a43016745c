"""How long a simulated engine takes to start, and what it does on the way: load, profile, capture, or fail."""

from __future__ import annotations

from planner.constraints import OUT_OF_MEMORY, REFUSED_BY_ENGINE
from planner.engine import ResolvedEngine
from planner.errors import EngineOutOfMemory, EngineRejected
from planner.estimate import Deployment, MemoryEstimate, StepModel, check, num_cuda_graphs
from planner.model import ModelSpec
from planner.simulated.scheduler import SimulatedEngine
from planner.units import GIB

LOAD_BYTES_PER_S = 0.5 * GIB
"""Reading weights from disk, each rank."""
IMPORT_S = 20.0
"""Python imports, worker processes, NCCL: 12 to 25 s in real start logs."""
PROFILE_S = 5.0
COMPILE_S = 28.0
"""torch.compile of V1 with a cold cache: 24 to 31 s on 0.24."""
GRAPH_S = 0.7
"""Capture of one graph: 11 in 8 s at tensor parallel 4."""


def start_engine(deployment: Deployment, seed: int = 0) -> SimulatedEngine:
    """An engine that is ready. Raises EngineRejected or EngineOutOfMemory in vLLM's words, as a real start fails."""
    d = deployment
    for constraint in check(d):
        if constraint.kind == OUT_OF_MEMORY:
            raise EngineOutOfMemory(constraint.message)
        if constraint.kind == REFUSED_BY_ENGINE:
            raise EngineRejected(constraint.message)
    return SimulatedEngine(StepModel(d.model, d.placement, d.engine), int(d.memory.num_blocks), seed)


def start_seconds(model: ModelSpec, engine: ResolvedEngine, memory: MemoryEstimate) -> float:
    """Virtual duration of a start: processes, weights from disk, profile run, compilation and graphs."""
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

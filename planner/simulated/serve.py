"""The simulated engine as a server on this machine: started, refused and stopped as vLLM would be.

In: a model, cards, vLLM's settings. Out: an HTTP server until it is stopped, and an exit code.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from dataclasses import dataclass, replace
from typing import get_args

from planner.engine import ResolvedEngine, VllmFlags, parse_version, settings
from planner.errors import EngineError, EngineOutOfMemory, InputError
from planner.estimate import Setup, unknown_flags
from planner.hardware import Interconnect, Placement, find_gpu
from planner.model import load_model
from planner.simulated.scheduler import SimulatedEngine
from planner.simulated.start import start_engine
from planner.simulated.start_log import start_log
from planner.units import parse_bytes
from planner.version import install_hint

GRACE_S = 1
"""Seconds that open streams may continue after SIGTERM."""
MOST_SPEEDUP, MOST_DELAY_S = 1e6, 86_400.0
_NOT_REACHED = ("# cuda blocks", "KV cache size")
"""Texts of the first log line (V0, V1) that an engine without enough memory does not reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeAsk:
    """What is served, on which cards, where and how fast."""

    model: str
    gpu: str
    num_gpus: int = 1
    gpu_memory: str | None = None
    """Total of one card as CUDA reports it, for example 21.48GiB."""
    interconnect: str = "pcie"
    version: str
    host: str = "127.0.0.1"
    port: int = 8000
    served_model_name: str | None = None
    speedup: float = 1.0
    """Virtual seconds in a real one."""
    start_delay: float = 0.0
    """Real seconds before the server listens."""
    seed: int = 0


def serve_simulated(asked: ServeAsk, flags: VllmFlags) -> int:
    """Serve until stopped. Returns 1 if vLLM would refuse to start. Raises InputError.

    `flags`: vLLM's words as the asked version reads them; those that are not simulated are named on stderr.
    """
    version, given = parse_version(asked.version), settings(flags.settings)
    refused = [f"vllm: error: {problem} (vLLM {version})" for problem in flags.refused]
    if refused := [*(constraint.message for constraint in unknown_flags(given, version)), *refused]:
        raise InputError("; ".join(refused))
    if not 0 < asked.speedup <= MOST_SPEEDUP:
        raise InputError(f"--speedup {asked.speedup:g}: allowed is a number above 0, at most {MOST_SPEEDUP:g}")
    if not 0 <= asked.start_delay <= MOST_DELAY_S:
        raise InputError(f"--start-delay {asked.start_delay:g}: allowed are seconds from 0 to {MOST_DELAY_S:g}")
    if importlib.util.find_spec("uvicorn") is None or importlib.util.find_spec("starlette") is None:
        raise InputError(f"the HTTP server needs uvicorn and starlette: {install_hint('server')}")
    model, gpu = load_model(asked.model), find_gpu(asked.gpu)
    if asked.gpu_memory:
        gpu = replace(gpu, memory_bytes=_bytes(asked.gpu_memory))
    placement = Placement(gpu, asked.num_gpus, _joined(asked.interconnect))
    setup = Setup(model=model, placement=placement, version=version, settings=given, flags=flags)
    deployment = setup.answer().deployment if flags.is_context_auto else setup.deployment()
    for doubt in flags.doubts:
        print(f"SIMULATED without {', '.join(doubt.flags)}", file=sys.stderr, flush=True)
    log = start_log(model, gpu, deployment.engine, deployment.memory)
    try:
        simulated = start_engine(deployment, asked.seed)
    except EngineError as error:
        _print_refusal(log, error)
        return 1
    print(*log, sep="\n", file=sys.stderr, flush=True)
    time.sleep(asked.start_delay)
    _listen(asked, deployment.engine, simulated)
    return 0


def _joined(text: str) -> Interconnect:
    for known in get_args(Interconnect):
        if text == known:
            return known
    raise InputError(f"--interconnect {text}: allowed: {', '.join(get_args(Interconnect))}")


def _bytes(text: str) -> int:
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise InputError(f"--gpu-memory: {error}") from None


def _listen(asked: ServeAsk, engine: ResolvedEngine, simulated: SimulatedEngine) -> None:
    import uvicorn  # an optional extra; the rest of this program works without it

    from planner.simulated.server import build_app

    name = asked.served_model_name or asked.model
    app = build_app(name, engine, simulated, asked.speedup)
    print(f"SIMULATED vLLM API server on http://{asked.host}:{asked.port}", file=sys.stderr, flush=True)
    uvicorn.run(
        app,
        host=asked.host,
        port=asked.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def _print_refusal(log: list[str], error: EngineError) -> None:
    """Print the log up to where this engine stops, then the error as at the end of vLLM's traceback."""
    printed = log[:2]
    if isinstance(error, EngineOutOfMemory):
        stop = next((i for i, line in enumerate(log) if any(text in line for text in _NOT_REACHED)), len(log))
        printed = log[:stop]
    kind = "torch.OutOfMemoryError" if str(error).startswith("CUDA") else "ValueError"
    print(*printed, f"ERROR 01-01 00:00:00 [engine.py:448] {kind}: {error}", sep="\n", file=sys.stderr)
    print("RuntimeError: Engine process failed to start. See stack trace for the root cause.", file=sys.stderr)

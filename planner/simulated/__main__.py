"""`python -m planner.simulated serve --model ... --gpu ...`: the simulated engine as a process, with vLLM's flags."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from planner.engine import ResolvedEngine, flag, knows, parse_flags, parse_version, resolve, settings
from planner.errors import EngineError, EngineOutOfMemory, InputError
from planner.estimate import Deployment
from planner.hardware import Placement, find_gpu
from planner.model import load_model
from planner.simulated.scheduler import SimulatedEngine
from planner.simulated.start import start_engine
from planner.simulated.start_log import start_log
from planner.units import parse_bytes

GRACE_S = 1
"""How long open streams may go on after SIGTERM."""
_NOT_REACHED = ("# cuda blocks", "KV cache size")
"""The first log line that an engine without enough memory does not print."""


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop. Exit code 1: refused as vLLM would refuse; 2: the command line is wrong."""
    try:
        return _serve(*_parser().parse_known_args(argv))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m planner.simulated", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", allow_abbrev=False, help="a SIMULATED vLLM server; vLLM's own flags as well")
    serve.add_argument("--model", required=True, help="directory, config.json or shipped name")
    serve.add_argument("--gpu", required=True, help='for example "RTX 2080 Ti 22GB"')
    serve.add_argument("--num-gpus", type=int, default=1)
    serve.add_argument("--gpu-memory", help="total of one card as CUDA reports it, for example 21.48GiB")
    serve.add_argument("--interconnect", choices=["pcie", "nvlink", "nvlink-pairs", "none"], default="pcie")
    serve.add_argument("--vllm-version", required=True)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--served-model-name")
    serve.add_argument("--speedup", type=float, default=1.0, help="virtual seconds in a real one")
    serve.add_argument("--start-delay", type=float, default=0.0, help="real seconds before the server listens")
    serve.add_argument("--seed", type=int, default=0)
    return parser


def _serve(options: argparse.Namespace, vllm_flags: list[str]) -> int:
    version = parse_version(options.vllm_version)
    config, unknown = parse_flags(vllm_flags)
    unknown += [flag(field) for field in settings(config) if not knows(version, field)]
    if unknown:
        raise InputError(f"unrecognized arguments: {' '.join(unknown)}")
    if options.speedup <= 0:
        raise InputError(f"--speedup {options.speedup} must be above 0")
    model, gpu = load_model(options.model), find_gpu(options.gpu)
    if options.gpu_memory:
        gpu = replace(gpu, memory_bytes=parse_bytes(options.gpu_memory))
    placement = Placement(gpu, options.num_gpus, options.interconnect)
    deployment = Deployment.of(model, placement, resolve(settings(config), model, gpu, version))
    log = start_log(model, gpu, deployment.engine, deployment.memory)
    try:
        simulated = start_engine(deployment, options.seed)
    except EngineError as error:
        _print_refusal(log, error)
        return 1
    print(*log, sep="\n", file=sys.stderr, flush=True)
    time.sleep(options.start_delay)
    _listen(options, deployment.engine, simulated)
    return 0


def _listen(options: argparse.Namespace, engine: ResolvedEngine, simulated: SimulatedEngine) -> None:
    import uvicorn  # an extra; the rest of this program works without

    from planner.simulated.server import build_app

    name = options.served_model_name or options.model
    app = build_app(name, engine, simulated, options.speedup)
    print(f"SIMULATED vLLM API server on http://{options.host}:{options.port}", file=sys.stderr, flush=True)
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def _print_refusal(log: list[str], error: EngineError) -> None:
    """The log up to where this engine stops, then the error as the end of vLLM's traceback."""
    printed = log[:2]
    if isinstance(error, EngineOutOfMemory):
        stop = next((i for i, line in enumerate(log) if any(text in line for text in _NOT_REACHED)), len(log))
        printed = log[:stop]
    kind = "torch.OutOfMemoryError" if str(error).startswith("CUDA") else "ValueError"
    print(*printed, f"ERROR 01-01 00:00:00 [engine.py:448] {kind}: {error}", sep="\n", file=sys.stderr)
    print("RuntimeError: Engine process failed to start. See stack trace for the root cause.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

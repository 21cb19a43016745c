"""`python -m planner.simulated serve --model ... --gpu ...`: the simulated engine as a process, with vLLM's flags."""

from __future__ import annotations

import argparse
import sys

from planner.engine import parse_version, read_flags
from planner.errors import InputError
from planner.simulated.serve import ServeAsk, serve_simulated


def main(argv: list[str] | None = None) -> int:
    """Serve until stopped. Exit code 1: refused, as vLLM would refuse it; 2: the command line is wrong."""
    try:
        options, vllm_flags = _parser().parse_known_args(argv)
        flags = read_flags(vllm_flags, parse_version(options.vllm_version))
        asked = {name: value for name, value in vars(options).items() if name not in {"command", "vllm_version"}}
        return serve_simulated(ServeAsk(**asked, version=options.vllm_version), flags)
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


if __name__ == "__main__":
    sys.exit(main())

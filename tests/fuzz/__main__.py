"""`python -m tests.fuzz`: minutes of fuzzing for each target, with atheris where it is installed, else with hypothesis.

Atheris sees which branches of planner an input reaches and keeps those that reach new ones. A crash, an input that
takes over 10 s or over 2 GiB ends the target with exit code 1 and writes the input to build/fuzz.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

FOUND = Path("build") / "fuzz"
SLOW_S, MOST_MIB = 10, 2048


def with_atheris(name: str, seconds: int) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["planner"]):
        from tests.fuzz.targets import TARGETS, refused
    target, corpus = TARGETS[name], FOUND / "corpus" / name.replace(" ", "-")
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-timeout={SLOW_S}", f"-rss_limit_mb={MOST_MIB}", "-max_len=65536"]
    options += [f"-artifact_prefix={FOUND}/{corpus.name}-", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: refused(target, data))
    atheris.Fuzz()


def with_hypothesis(name: str, seconds: int) -> int:
    """How many inputs were tried."""
    from hypothesis import HealthCheck, Phase, given, settings

    from tests.fuzz.mutations import spoilt
    from tests.fuzz.targets import TARGETS, refused

    target, until, tried = TARGETS[name], time.monotonic() + seconds, 0

    @settings(max_examples=500, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(spoilt(target.form, list(target.seeds())))
    def holds(data: bytes) -> None:
        nonlocal tried
        tried += 1
        refused(target, data)

    while time.monotonic() < until:
        holds()
    return tried


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", help="targets; by default all")
    parser.add_argument("--seconds", type=int, default=120, help="each")
    parser.add_argument("--here", choices=["atheris", "hypothesis"], help="one target, in this process")
    args = parser.parse_args()
    if args.here == "atheris":
        with_atheris(args.names[0], args.seconds)
    if args.here == "hypothesis":
        print(f"stat::number_of_executed_units: {with_hypothesis(args.names[0], args.seconds)}")
        return 0
    from tests.fuzz.targets import TARGETS

    tools = ["hypothesis", *(["atheris"] if importlib.util.find_spec("atheris") else [])]
    failed, total = [], 0
    for name in args.names or TARGETS:
        for tool in tools:
            share = args.seconds // len(tools)
            argv = [sys.executable, "-m", "tests.fuzz", "--here", tool, "--seconds", f"{share}", name]
            ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            tried = sum(map(int, re.findall(r"number_of_executed_units: +(\d+)", ended.stdout)))
            total += tried
            print(f"{name}, {tool}: {tried} inputs, {'a bug' if ended.returncode else 'no bug'}", flush=True)
            if ended.returncode:
                failed.append(name)
                print(ended.stdout[-4000:], flush=True)
    print(f"{total} inputs, bugs in {', '.join(dict.fromkeys(failed)) or 'no target'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

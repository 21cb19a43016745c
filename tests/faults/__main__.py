"""`python -m tests.faults`: inject every fault, and write docs/reliability.md from what happened with --write."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import optuna

from planner.units import format_gib
from tests.faults.inject import ENGINE_FAULTS, FAULTS, PLANNER_FAULTS, Fault, Injected, inject

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- made: faults -->", "<!-- end -->"


def run(fault: Fault, times: int) -> list[Injected]:
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            found.append(inject(fault, Path(folder)))
    return found


def table(faults: Sequence[Fault], found: dict[str, list[Injected]]) -> str:
    lines = ["| fault | injected | the trial | what it says | seconds | trials lost | left behind |", "|" + "---|" * 7]
    for fault in faults:
        runs = found[fault.name]
        lost, left = sum(len(run.lost) for run in runs), sum(len(run.left) for run in runs)
        seconds = f"{median(run.seconds for run in runs):.0f}"
        cells = (fault.name, f"{len(runs)}", runs[0].outcome, runs[0].words, seconds, f"{lost}", f"{left}")
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def page(found: dict[str, list[Injected]]) -> str:
    runs = [run for ones in found.values() for run in ones]
    peak = max(run.peak_bytes for run in runs)
    return "\n\n".join(
        [
            f"{len(runs)} studies met a fault; {sum(bool(run.wrong()) for run in runs)} ended otherwise than they "
            f"should. The planner's memory peaked at {format_gib(peak, 2)}.",
            "Of engines:",
            table(ENGINE_FAULTS, found),
            "Of the planner; the same command again ended the study:",
            table(PLANNER_FAULTS, found),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="each fault")
    parser.add_argument("--only", help="one fault, by its name")
    parser.add_argument("--write", action="store_true", help="what happened into docs/reliability.md")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, list[Injected]] = {}
    for name in [args.only] if args.only else FAULTS:
        found[name] = run(FAULTS[name], args.times)
        for one in found[name]:
            print(f"{name}: {one.outcome} {one.words}, {one.seconds:.0f} s", *one.wrong(), sep="\n  ", flush=True)
    if args.write:
        text = PAGE.read_text("utf-8")
        before, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n{page(found)}\n{END}{rest.partition(END)[2]}", "utf-8")
    return int(any(one.wrong() for ones in found.values() for one in ones))


if __name__ == "__main__":
    sys.exit(main())

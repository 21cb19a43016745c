"""`python -m tests.faults`: inject every fault, and write docs/reliability.md from what happened with --write.

In three parts, each with its tables on the page: studies on processes, in containers, and faults of the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import optuna

from planner.units import format_gib
from tests.faults.in_containers import DOCKER_FAULTS, Met, meet
from tests.faults.inject import ENGINE_FAULTS, FAULTS, PLANNER_FAULTS, Fault, Injected, inject
from tests.faults.on_machine import MACHINE_FAULTS, Endured

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
END = "<!-- end -->"


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


def engine_faults(times: int, only: str | None) -> tuple[str, bool]:
    """The page's part, and whether all was well."""
    found: dict[str, list[Injected]] = {}
    for name in [only] if only else FAULTS:
        found[name] = run(FAULTS[name], times)
        for one in found[name]:
            print(f"{name}: {one.outcome} {one.words}, {one.seconds:.0f} s", *one.wrong(), sep="\n  ", flush=True)
    return "" if only else page(found), not any(one.wrong() for ones in found.values() for one in ones)


def docker_faults(only: str | None) -> tuple[str, bool]:
    found: list[Met] = []
    for name in [only] if only else DOCKER_FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(meet(DOCKER_FAULTS[name], Path(folder)))
        one = found[-1]
        print(f"{name}: {one.trial.outcome} {one.says}, {one.seconds:.0f} s", *one.wrong(), sep="\n  ", flush=True)
    lines = ["| fault | the run ends | the trial | what it or the run says | seconds | trials lost | left behind |"]
    lines += ["|" + "---|" * 7]
    for one in found:
        cells = (one.fault.name, ENDS[one.first_code], one.trial.outcome, one.says)
        numbers = (f"{one.seconds:.0f}", f"{len(one.lost)}", f"{len(one.left)}")
        lines.append(f"| {' | '.join((*cells, *numbers))} |")
    return "\n".join(lines), not any(one.wrong() for one in found)


ENDS = {0: "well", 1: "with 1, then well", -9: "killed, then well"}


def machine_faults(only: str | None) -> tuple[str, bool]:
    found: list[Endured] = []
    for name in [only] if only else MACHINE_FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            found.append(MACHINE_FAULTS[name](Path(folder)))
        print(f"{name}: {found[-1].says}, {found[-1].seconds:.0f} s", *found[-1].wrong, sep="\n  ", flush=True)
    lines = ["| fault | times | what was said or seen | seconds | trials lost |", "|" + "---|" * 5]
    for one in found:
        lines.append(f"| {one.name} | {one.times} | {one.says} | {one.seconds:.0f} | {one.lost} |")
    return "\n".join(lines), not any(one.wrong for one in found)


def write(name: str, text: str) -> None:
    begin = f"<!-- made: {name} -->"
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    PAGE.write_text(f"{before}{begin}\n{text}\n{END}{rest.partition(END)[2]}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="each fault of engines and of the planner")
    parser.add_argument("--only", help="one fault, by its name")
    parser.add_argument("--part", choices=("faults", "docker faults", "machine faults"), help="by default all")
    parser.add_argument("--write", action="store_true", help="what happened into docs/reliability.md")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    parts = {
        "faults": (FAULTS, lambda: engine_faults(args.times, args.only)),
        "docker faults": (DOCKER_FAULTS, lambda: docker_faults(args.only)),
        "machine faults": (MACHINE_FAULTS, lambda: machine_faults(args.only)),
    }
    is_well = True
    for name, (faults, inject_all) in parts.items():
        if args.part in (None, name) and (args.only is None or args.only in faults):
            text, part_is_well = inject_all()
            is_well = is_well and part_is_well
            if args.write and args.only is None:
                write(name, text)
    return int(not is_well)


if __name__ == "__main__":
    sys.exit(main())

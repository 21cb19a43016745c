"""`python -m tests.faults`: inject every fault, and write docs/reliability.md from what happened with --write.

In parts, each with its tables on the page: studies on processes and the planner killed at random, in containers, on the
real engine, and faults of the machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import optuna

from planner.units import format_gib
from tests.faults import in_containers, on_vllm
from tests.faults.in_containers import DOCKER_FAULTS, DockerFault, Met
from tests.faults.inject import ENGINE_FAULTS, PLANNER_FAULTS, Fault, Injected, inject
from tests.faults.on_machine import MACHINE_FAULTS, Endured
from tests.faults.on_vllm import VLLM_FAULTS
from tests.faults.sweep import SWEEPS, Swept, sweep
from tests.made import write_made

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
ENDS = {0: "well", 1: "with 1, then well", 130: "with 130, then well", -9: "killed, then well"}
COLUMNS = ("fault", "injected", "the run ends", "the trial", "what it or the run says", "seconds")
LOSSES = ("trials lost", "left behind")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """What one part came to: its text on the page, and whether all was well."""

    text: str
    is_well: bool


def each(names: Iterable[str], times: int, once: Callable[[str, Path, int], T]) -> dict[str, list[T]]:
    """Each of these so many times, in a folder of its own, by name; and a line on each."""
    found: dict[str, list[T]] = {}
    for name in names:
        for turn in range(times):
            with tempfile.TemporaryDirectory() as folder:
                found.setdefault(name, []).append(once(name, Path(folder), turn))
    return found


def said(name: str, words: str, seconds: float, wrong: Sequence[str]) -> None:
    print(f"{name}: {words}, {seconds:.0f} s", *wrong, sep="\n  ", flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *([str(cell).replace("|", "/") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def faults_table(found: Mapping[str, Sequence[Injected]] | Mapping[str, Sequence[Met]]) -> str:
    def row(name: str, runs: Sequence[Injected] | Sequence[Met]) -> Sequence[object]:
        ends, trial = (", ".join(dict.fromkeys(words)) for words in (
            (ENDS[run.first_code] for run in runs), (run.outcome for run in runs)
        ))  # fmt: skip
        lost, left = sum(len(run.lost) for run in runs), sum(len(run.left) for run in runs)
        return name, len(runs), ends, trial, runs[0].says, f"{median(run.seconds for run in runs):.0f}", lost, left

    return table((*COLUMNS, *LOSSES), [row(name, runs) for name, runs in found.items()])


def summary(runs: Sequence[Injected] | Sequence[Met]) -> str:
    wrong = sum(bool(run.wrong()) for run in runs)
    gone_s = max((run.gone_s for run in runs if run.first_code == -9), default=None)
    watchdog = f" A killed planner's engines were gone {gone_s:.1f} s later at most." if gone_s is not None else ""
    return f"{len(runs)} studies met a fault; {wrong} ended otherwise than they should.{watchdog}"


def process_faults(names: Sequence[str], times: int) -> Found:
    faults = {fault.name: fault for fault in (*ENGINE_FAULTS, *PLANNER_FAULTS)}

    def once(name: str, folder: Path, turn: int) -> Injected:  # noqa: ARG001
        one = inject(faults[name], folder)
        said(name, f"{one.outcome} {one.says}", one.seconds, one.wrong())
        return one

    found = each(names, times, once)
    runs = [run for ones in found.values() for run in ones]

    def of(these: Sequence[Fault]) -> str:
        return faults_table({fault.name: found[fault.name] for fault in these if fault.name in found})

    peak = f"The planner's memory peaked at {format_gib(max(run.peak_bytes for run in runs), 2)}."
    parts = [f"{summary(runs)} {peak}", "Of engines:", of(ENGINE_FAULTS)]
    parts += ["Of the planner; the same command again ended the study:", of(PLANNER_FAULTS)]
    return Found("\n\n".join(parts), not any(run.wrong() for run in runs))


def sweeps(names: Sequence[str], times: int) -> Found:
    def once(name: str, folder: Path, turn: int) -> Swept:
        one = sweep(SWEEPS[name], folder, SWEEPS[name].kills * times, seed=turn)
        said(name, f"{one.kills} kills", one.seconds, one.wrong)
        return one

    found = {name: swept for name, (swept,) in each(names, 1, once).items()}
    columns = ("fault", "injected", "of them with an engine there", "studies", "trials", "gone within", *LOSSES)
    rows = [
        (name, one.kills, one.with_engine, one.studies, one.trials, f"{one.gone_s:.1f} s", one.lost, one.left)
        for name, one in found.items()
    ]
    return Found(table(columns, rows), not any(one.wrong or one.lost or one.left for one in found.values()))


def container_faults(
    faults: Mapping[str, DockerFault], meet: Callable[[DockerFault, Path], Met], names: Sequence[str], times: int
) -> Found:
    def once(name: str, folder: Path, turn: int) -> Met:  # noqa: ARG001
        one = meet(faults[name], folder)
        said(name, f"{one.outcome} {one.says}", one.seconds, one.wrong())
        return one

    found = each(names, times, once)
    runs = [run for ones in found.values() for run in ones]
    return Found(f"{summary(runs)}\n\n{faults_table(found)}", not any(run.wrong() for run in runs))


def machine_faults(names: Sequence[str], times: int) -> Found:
    def once(name: str, folder: Path, turn: int) -> Endured:  # noqa: ARG001
        one = MACHINE_FAULTS[name](folder)
        said(name, one.says, one.seconds, one.wrong)
        return one

    def row(name: str, ones: Sequence[Endured]) -> Sequence[object]:
        seconds = f"{median(one.seconds for one in ones):.0f}"
        return name, sum(one.times for one in ones), ones[0].says, seconds, sum(one.lost for one in ones)

    found = each(names, times, once)
    columns = ("fault", "injected", "what was said or seen", "seconds", LOSSES[0])
    rows = [row(name, ones) for name, ones in found.items()]
    return Found(table(columns, rows), not any(one.wrong for ones in found.values() for one in ones))


@dataclass(frozen=True, slots=True)
class Part:
    """Of the page."""

    names: Sequence[str]
    inject: Callable[[Sequence[str], int], Found]
    times: int = 1
    """How often each, where nothing else is said."""


PARTS = {
    "faults": Part([fault.name for fault in (*ENGINE_FAULTS, *PLANNER_FAULTS)], process_faults, 3),
    "random kills": Part(list(SWEEPS), sweeps),
    "docker faults": Part(list(DOCKER_FAULTS), partial(container_faults, DOCKER_FAULTS, in_containers.meet)),
    "vllm faults": Part(list(VLLM_FAULTS), partial(container_faults, VLLM_FAULTS, on_vllm.meet)),
    "machine faults": Part(list(MACHINE_FAULTS), machine_faults),
}


def main() -> int:
    often = ", ".join(f"{name} {part.times}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--times", type=int, help=f"each fault; by default {often}")
    parser.add_argument("--only", help="one fault, by its name")
    parser.add_argument("--part", choices=PARTS, help="by default all")
    parser.add_argument("--write", action="store_true", help="what happened into docs/reliability.md")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_well = True
    for name, part in PARTS.items():
        chosen = [fault for fault in part.names if args.only in (None, fault)]
        if args.part in (None, name) and chosen:
            found = part.inject(chosen, args.times or part.times)
            is_well = is_well and found.is_well
            if args.write and args.only is None:
                write_made(PAGE, name, found.text)
    return int(not is_well)


if __name__ == "__main__":
    sys.exit(main())

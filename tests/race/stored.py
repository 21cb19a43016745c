"""Runs of the race in a JSONL file, a line each, so that a race that was interrupted goes on where it was.

In: where to race (`World` names, folders of landscapes), searchers, seeds. Out: `Stored` runs, appended as they end.
The order is by seed first: at any time all places have as many seeds, but for those under way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from tests.race.landscapes import FOLDER, load
from tests.race.runs import Run, race, run
from tests.race.searchers import SEARCHERS
from tests.race.worlds import WORLDS, world

IN_WORLDS = ("planner", "tpe", "gp", "random")
"""Searchers that race in made worlds; the emulated tools race on landscapes only."""
DIGITS = 5
"""Digits of a regret that are kept."""


@dataclass(frozen=True)
class Job:
    """One searcher in one place with one seed."""

    place: str
    """Name of a world, or folder of a landscape, in FOLDER or absolute."""
    searcher: str
    seed: int
    launches: int

    @property
    def is_world(self) -> bool:
        return self.place in WORLDS


@dataclass(frozen=True)
class Stored:
    job: Job
    run: Run


def jobs(places: Sequence[tuple[str, int]], searchers: Sequence[str], seeds: Iterable[int]) -> Iterator[Job]:
    """Every searcher in every place, with so many launches there: the seeds outermost."""
    for seed, (place, launches), searcher in itertools.product(seeds, places, searchers):
        if place not in WORLDS or searcher in IN_WORLDS:
            yield Job(place, searcher, seed, launches)


def place_of(folder: Path) -> str:
    """A landscape's folder as `Job.place` names it."""
    return folder.name if folder.resolve().parent == FOLDER.resolve() else str(folder.resolve())


def by_world(runs: Iterable[Stored]) -> dict[str, dict[str, dict[int, Run]]]:
    """Runs in made worlds by world, searcher and seed, in the orders of WORLDS and IN_WORLDS."""
    table = {name: {searcher: dict[int, Run]() for searcher in IN_WORLDS} for name in WORLDS}
    for one in runs:
        if one.job.is_world:
            table[one.job.place][one.job.searcher][one.job.seed] = one.run
    kept = {name: {who: seeds for who, seeds in each.items() if seeds} for name, each in table.items()}
    return {name: each for name, each in kept.items() if each}


def by_landscape(runs: Iterable[Stored]) -> dict[tuple[str, str], list[Run]]:
    """Runs on landscapes by place and searcher, each in the order of the seeds."""
    table: dict[tuple[str, str], list[Run]] = {}
    on = [one for one in runs if not one.job.is_world]
    for one in sorted(on, key=lambda one: (one.job.place, SEARCHERS.index(one.job.searcher), one.job.seed)):
        table.setdefault((one.job.place, one.job.searcher), []).append(one.run)
    return table


def read(path: Path) -> list[Stored]:
    """The runs of an earlier race; none where there is no file. A last line that was cut off is left out."""
    if not path.exists():
        return []
    lines = [line for line in path.read_bytes().split(b"\n")[:-1] if line]
    return [msgspec.json.decode(line, type=Stored) for line in lines]


def finish(path: Path, wanted: Sequence[Job], processes: int, show: Callable[[int, int], None]) -> None:
    """Run what the file has not yet; each run is written when it ends."""
    known = {one.job for one in read(path)}
    missing = [job for job in wanted if job not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(path)
    with path.open("ab", buffering=0) as file, ProcessPoolExecutor(processes) as pool:
        waiting = iter(missing)
        under_way = {pool.submit(do, job) for job in itertools.islice(waiting, 2 * processes)}
        done = 0
        while under_way:
            ended = next(as_completed(under_way))
            under_way.remove(ended)
            file.write(msgspec.json.encode(ended.result()) + b"\n")
            done += 1
            show(done, len(missing))
            under_way |= {pool.submit(do, job) for job in itertools.islice(waiting, 1)}


def _end_last_line(path: Path) -> None:
    """Take off what an interrupted race wrote of a line."""
    if path.exists():
        whole = path.read_bytes()
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])


_loaded = cache(load)


def do(job: Job) -> Stored:
    """Race once."""
    if job.is_world:
        made = world(job.place, job.seed)
        found = race(made.problem, job.searcher, job.seed, lambda _: made.measure(job.seed), job.launches, made.regret)
    else:
        found = run(_loaded(FOLDER / job.place), job.searcher, job.seed, job.launches)
    return Stored(job, _rounded(found))


def _rounded(one: Run) -> Run:
    return Run(
        tuple(round(value, DIGITS) for value in one.regret),
        tuple(round(value, 1) for value in one.seconds),
        one.failed,
        one.stopped,
        None if one.deployed is None else (round(one.deployed[0], DIGITS), round(one.deployed[1], DIGITS)),
    )

"""One searcher on one landscape with one seed: its regret after each launch, and what the launches cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from planner.study.candidate import Candidate
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.replay import BACKEND, replayed
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of
from tests.race.landscapes import Landscape, load
from tests.race.searchers import make_searcher


@dataclass(frozen=True)
class Run:
    regret: tuple[float, ...]
    """Of the best seen so far, after each launch; 1 while nothing kept every limit."""
    seconds: tuple[float, ...]
    """Engine seconds so far: starts and benchmarks, failed ones too."""

    def after(self, launches: int) -> float:
        """A searcher that stopped early keeps its last choice."""
        return self.regret[min(launches, len(self.regret)) - 1]

    def first_within(self, regret: float, values: Sequence[float] | None = None) -> float:
        """Launches (or the value of each launch) until the regret is at most that; infinite when it never is."""
        within = next((i for i, one in enumerate(self.regret) if one <= regret), None)
        if within is None:
            return float("inf")
        return within + 1 if values is None else values[within]


class Quiet:
    def started(self, number: int, candidate: Candidate) -> None: ...

    def stage(self, stage: str, done: int, total: int) -> None: ...

    def finished(self, trial: Trial) -> None: ...


QUIET = Quiet()


def run(landscape: Landscape, searcher: str, seed: int, launches: int) -> Run:
    problem, search = make_searcher(searcher, landscape.problem, seed)
    trials = run_study(
        problem,
        search,
        LocalExecutor(problem, replayed(problem, landscape.records), QUIET.stage, BACKEND),
        launches,
        QUIET,
    )  # type: ignore[arg-type]
    launched = [trial for trial in trials if trial.was_launched]
    best = [best_trial(problem, launched[: i + 1]) for i in range(len(launched))]
    return Run(
        regret=tuple(1.0 if one is None else landscape.regret(one.candidate) for one in best),
        seconds=tuple(np.cumsum([trial.start_s + trial.benchmark_s for trial in launched]).tolist()),
    )


def believed_after(landscape: Landscape, launches: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the search believes after so many launches of its own choice, and the true values, of the searched rows."""
    problem, search = make_searcher("planner", landscape.problem, 0)
    trials = run_study(
        problem,
        search,
        LocalExecutor(problem, replayed(problem, landscape.records), QUIET.stage, BACKEND),
        launches,
        QUIET,
    )  # type: ignore[arg-type]
    rows = {key: problem.row_of(candidate) for key, candidate in landscape.searched.items()}
    known = {key: row for key, row in rows.items() if row is not None and key in landscape.true_values}
    believed = Surrogate(forecast_of(problem)).believed(np.array(list(known.values())), trials)
    return believed, np.array([landscape.true_values[key] for key in known])


_loaded = cache(load)


def _job(job: tuple[Path, str, int, int]) -> Run:
    folder, searcher, seed, launches = job
    return run(_loaded(folder), searcher, seed, launches)


def run_all(
    folders: Sequence[Path], searchers: Sequence[str], seeds: Iterable[int], launches: int, processes: int
) -> dict[tuple[Path, str], list[Run]]:
    """Every searcher on every landscape with every seed."""
    jobs = [(folder, name, seed, launches) for folder in folders for name in searchers for seed in seeds]
    found: dict[tuple[Path, str], list[Run]] = {}
    with ProcessPoolExecutor(processes) as pool:
        for (folder, name, *_), one in zip(jobs, pool.map(_job, jobs, chunksize=5), strict=True):
            found.setdefault((folder, name), []).append(one)
    return found


def percentiles(values: Sequence[float], *ranks: float) -> NDArray[np.float64]:
    """Values that were seen, not means of two: one of them may be infinite."""
    return np.percentile(np.asarray(values), ranks, method="higher")

"""One searcher on one landscape with one seed: its regret after each launch, and what the launches cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.study.candidate import Candidate
from planner.study.problem import Problem
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import Measure
from planner.tuning.replay import BACKEND
from planner.tuning.search.search import Search
from planner.tuning.search.stopping import until_of
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of
from tests.race.answers import deployed
from tests.race.landscapes import Landscape
from tests.race.searchers import make_searcher

MakeMeasure = Callable[[Problem], Measure]
Regret = Callable[[Candidate], float]


@dataclass(frozen=True)
class Run:
    regret: tuple[float, ...]
    """Of the best seen so far, after each launch; 1 while nothing kept every limit."""
    seconds: tuple[float, ...]
    """Engine seconds so far: starts and benchmarks, failed ones too."""
    failed: tuple[bool, ...] = ()
    """Whether each launch failed; empty where it was not noted."""
    stopped: int | None = None
    """Launches after which the stopping rule would have ended the search; None: it would not, or has no say."""
    deployed: tuple[float, float] | None = None
    """Regret of what the finals deploy, after the launches up to `stopped` and after all; None if it was not noted."""

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


class Watched(Search):
    """A search that goes on where the stopping rule would have ended it, and remembers where that was."""

    stopped: int | None = None

    def ask(self) -> tuple[int, Candidate] | None:
        self.until = until_of(self.forecast.problem.spec, None) if self.stopped is None else None
        asked = super().ask()
        if asked is None and self.until is not None and self.ended is not None:
            self.stopped, self.until = self.ended.launched, None
            asked = super().ask()
        return asked


def race(problem: Problem, name: str, seed: int, measure: MakeMeasure, launches: int, regret: Regret) -> Run:
    """One searcher in the loop of a real study, all launches through; the choice after each is the product's own."""
    problem, search = make_searcher(name, problem, seed, Watched)
    executor = LocalExecutor(problem, measure(problem), QUIET.stage, BACKEND)
    trials = run_study(problem, search, executor, launches, QUIET)  # type: ignore[arg-type]
    launched = [trial for trial in trials if trial.was_launched]
    best = [best_trial(problem, launched[: i + 1]) for i in range(len(launched))]
    stopped = search.stopped if isinstance(search, Watched) else None

    def answer(count: int) -> float:
        chosen = deployed(forecast_of(problem), launched[:count], measure(problem))
        return 1.0 if chosen is None else regret(chosen)

    return Run(
        regret=tuple(1.0 if one is None else regret(one.candidate) for one in best),
        seconds=tuple(np.cumsum([trial.start_s + trial.benchmark_s for trial in launched]).tolist()),
        failed=tuple(trial.outcome == "failed" for trial in launched),
        stopped=stopped,
        deployed=None if stopped is None else (answer(stopped), answer(len(launched))),
    )


def run(landscape: Landscape, searcher: str, seed: int, launches: int) -> Run:
    """One searcher on one landscape, with noise in every launch."""
    return race(landscape.problem, searcher, seed, landscape.measure, launches, landscape.regret)


def believed_after(landscape: Landscape, launches: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What the search believes after so many launches of its own choice, and the true values, of the searched rows."""
    problem, search = make_searcher("planner", landscape.problem, 0)
    trials = run_study(
        problem,
        search,
        LocalExecutor(problem, landscape.measure(problem), QUIET.stage, BACKEND),
        launches,
        QUIET,
    )  # type: ignore[arg-type]
    rows = {key: problem.row_of(candidate) for key, candidate in landscape.searched.items()}
    known = {key: row for key, row in rows.items() if row is not None and key in landscape.true_values}
    believed = Surrogate(forecast_of(problem)).believed(np.array(list(known.values())), trials)
    return believed, np.array([landscape.true_values[key] for key in known])


def percentiles(values: Sequence[float], *ranks: float) -> NDArray[np.float64]:
    """Values that were seen, not means of two: one of them may be infinite."""
    return np.percentile(np.asarray(values), ranks, method="higher")

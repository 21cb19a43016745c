"""What launches the trials: an `Executor`. `LocalExecutor` launches here, one by one; `ray/executor.py` on many hosts.

`Work` is what it is told to do. It holds plain values only, so that it can travel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from planner.benchmark import OnStage
from planner.hardware import Machine
from planner.study import Candidate, Problem
from planner.trials import ALONE, NO_RACE, Bar, Repeats, Rerun, Trial, race
from planner.tuning.evaluation import evaluate, finished, provenance_of, utc_now
from planner.tuning.measure import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One launch: which candidate, and which repeats of the workload."""

    number: int
    """Of the trial."""
    candidate: Candidate
    first: int
    count: int
    """Repeats, as in `trials.Repeats`."""
    bar: Bar | None = None
    """The best so far; a launch of the search may end early against it."""
    rerun: Rerun | None = None
    host: str | None = None
    """Where, while that host is there; None: anywhere."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Of hosts that differ, by name; the bar is as the default's host would show it."""

    @property
    def is_alone(self) -> bool:
        """Whether nothing else may run on its host meanwhile."""
        return self.host is not None and (self.rerun is None or self.rerun.series == ALONE)

    def on(self, problem: Problem, host: str) -> Work:
        """The same with the bar that this host can reach."""
        if self.bar is None:
            return self
        return replace(self, bar=self.bar.times(problem.objective.at_speed(1.0, self.speeds.get(host, 1.0))))

    def repeats(self, problem: Problem) -> Repeats:
        return Repeats(
            self.first, self.count, NO_RACE if self.rerun is not None else race(problem, self.candidate, self.bar)
        )


class Executor(Protocol):
    """Launches several works at once, or one. What it began it must be asked for with `next`."""

    @property
    def places(self) -> Mapping[str, int]:
        """How many trials each of its hosts launches at once, by its name; none where there is but this one."""

    def one_each(self) -> None:
        """From now on one trial at a time on each host."""

    @property
    def has_room(self) -> bool:
        """Whether another work may begin now."""

    @property
    def num_under_way(self) -> int: ...

    def begin(self, work: Work) -> None: ...

    def next(self) -> Trial:
        """Wait for one that ends. Raises BackendError when nothing can be launched any more."""


class LocalExecutor:
    """One after another, in this process."""

    def __init__(
        self,
        problem: Problem,
        measure: Measure,
        on_stage: OnStage,
        backend: str,
        machine: Machine = Machine(),  # noqa: B008  (a frozen value)
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._problem, self._measure, self._on_stage, self._now = problem, measure, on_stage, now
        self._provenance = provenance_of(problem, backend, machine)
        self._work: Work | None = None
        self.places: Mapping[str, int] = {}

    def one_each(self) -> None: ...

    @property
    def has_room(self) -> bool:
        return self._work is None

    @property
    def num_under_way(self) -> int:
        return 0 if self._work is None else 1

    def begin(self, work: Work) -> None:
        self._work = work

    def next(self) -> Trial:
        work, self._work = self._work, None
        assert work is not None, "nothing was begun"
        trial = evaluate(
            self._problem,
            work.candidate,
            work.number,
            self._measure,
            self._on_stage,
            self._provenance,
            work.repeats(self._problem),
            work.rerun,
        )
        return finished(trial, self._now)

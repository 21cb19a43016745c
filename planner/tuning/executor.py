"""An `Executor` launches trials: `LocalExecutor` here, one by one; `ray/executor.py` on many hosts.

`Work` is what it is told to do. It holds only plain values, so that it can be sent to another host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from planner.benchmark import OnStage
from planner.hardware import Machine
from planner.study import Candidate, Forecast, Learned, Problem
from planner.trials import ALONE, NO_RACE, Bar, Repeats, Rerun, Trial, race
from planner.tuning.evaluation import evaluate, finished, provenance_of, utc_now
from planner.tuning.measure import Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One launch: the candidate, and the repeats of the workload."""

    number: int
    """The trial's number."""
    candidate: Candidate
    first: int
    count: int
    """Number of repeats, as in `trials.Repeats`."""
    bar: Bar | None = None
    """The best result so far; a launch of the search that cannot beat it may end early."""
    rerun: Rerun | None = None
    start: float | None = None
    """As in `trials.Repeats`."""
    live: tuple[Candidate, ...] = ()
    """As in `trials.Repeats`."""
    host: str | None = None
    """Name of the host to launch on as long as it is available; None: any host."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """Relative speed by host name, where hosts differ. The bar is as measured on the default's host."""
    learned: Learned = Learned()  # noqa: RUF009  (a frozen value)
    """What was known of memory when the work began; the trial's prediction is made with it."""

    @property
    def is_alone(self) -> bool:
        """Whether nothing else may run on its host during the launch."""
        return self.host is not None and (self.rerun is None or self.rerun.series == ALONE)

    def on(self, problem: Problem, host: str) -> Work:
        """The same work with the bar scaled to this host's speed, and with what is known of this host's memory."""
        learned = Learned(self.learned.of_host(host))
        if self.bar is None:
            return replace(self, learned=learned)
        speed = problem.objective.at_speed(1.0, self.speeds.get(host, 1.0))
        return replace(self, learned=learned, bar=self.bar.times(speed))

    def repeats(self, problem: Problem) -> Repeats:
        return Repeats(
            self.first,
            self.count,
            NO_RACE if self.rerun is not None else race(problem, self.candidate, self.bar),
            self.start,
            self.live,
        )


class Executor(Protocol):
    """Launches one or several works at once. Each work that was begun must be collected with `next`."""

    @property
    def places(self) -> Mapping[str, int]:
        """Number of trials that each host launches at once, by host name; empty if there is only this host."""

    def one_each(self) -> None:
        """Launch only one trial at a time on each host from now on."""

    @property
    def has_room(self) -> bool:
        """Whether another work may begin now."""

    @property
    def num_under_way(self) -> int: ...

    def begin(self, work: Work) -> None: ...

    def next(self) -> Trial:
        """Wait for a trial to end and return it. Raises BackendError if nothing can be launched any more."""


class LocalExecutor:
    """Launches works in this process, one after another."""

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
            Forecast(self._problem, work.learned.calibrations),
            work.candidate,
            work.number,
            self._measure,
            self._on_stage,
            self._provenance,
            work.repeats(self._problem),
            work.rerun,
        )
        return finished(trial, self._now)

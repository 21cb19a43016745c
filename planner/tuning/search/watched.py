"""A study that another process runs, read again and again: `WatchedStudy`. It never writes to the storage.

In: a study, where its trials are. Out: the finished trials, the launches under way, and what is left to gain. Raises
InputError if there is no such study, or it measured something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from planner.estimate import load_calibrations
from planner.study import Candidate, Forecast, Problem, Workspace
from planner.trials import Rerun, Trial, competes, searched
from planner.tuning.search.outlooks import Outlooks
from planner.tuning.search.samplers import untried_rows
from planner.tuning.search.stopping import UNTIL, enough
from planner.tuning.search.storage import storage_kept
from planner.tuning.search.store import CANDIDATE, StudyStore, rerun_of


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A launch that began and is not stored as ended."""

    number: int
    candidate: Candidate
    began: datetime | None
    """When it was asked for, in the local time of the planner that asked."""
    rerun: Rerun | None
    is_alive: bool
    """In a shared storage, whether its planner gave a sign of life lately."""


@dataclass(frozen=True, slots=True)
class Left:
    """What the launches that are not made yet would bring."""

    gain: float | None
    """Expected gain of the best of all that is left over the best so far, as a share; None: too little is measured."""
    is_little: bool
    """Whether the search may stop: twice in a row less than its bound was expected."""


class WatchedStudy:
    """The stored study of a problem. Use it from one thread."""

    def __init__(self, problem: Problem, workspace: Workspace, storage: str | None) -> None:
        self._problem, self._workspace = problem, workspace
        self._storage = storage or workspace.default_storage
        self._store = StudyStore(problem, self._storage, creates=False)
        self._outlooks = Outlooks()

    @property
    def is_shared(self) -> bool:
        """Whether other planners may work on this study."""
        return self._store.is_shared

    def trials(self) -> list[Trial]:
        """Finished trials, oldest first. Raises InputError for a damaged record."""
        with storage_kept(self._storage):
            return self._store.trials()

    def under_way(self) -> list[UnderWay]:
        """Launches that were begun and not told, oldest first; a killed planner leaves some."""
        with storage_kept(self._storage):
            asked = self._store.asked()
            alive = {frozen.number for frozen in self._store.taken(asked)}
        return [
            UnderWay(
                frozen.number,
                msgspec.json.decode(frozen.user_attrs[CANDIDATE], type=Candidate),
                frozen.datetime_start,
                rerun_of(frozen),
                frozen.number in alive,
            )
            for frozen in asked
            if CANDIDATE in frozen.user_attrs
        ]

    def left(self, trials: list[Trial], until: float | None) -> Left:
        """What is left to gain, as the search itself reckons it; `until`: the share below which it would stop.

        It takes seconds for a space of thousands of combinations, and may run in a thread of its own.
        """
        forecast = Forecast(self._problem, load_calibrations(self._workspace.calibration_path))
        past = searched([trial for trial in trials if competes(self._problem, trial)])
        rows = untried_rows(forecast, past)
        if rows.size == 0:
            return Left(0.0, is_little=bool(past))
        gain = self._outlooks.of(forecast, rows, past).left
        found = enough(forecast, rows, past, UNTIL if until is None else until, self._outlooks)
        return Left(gain, is_little=found is not None)

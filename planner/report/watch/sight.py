"""`StudyWatch` looks at a study that another process runs; `look()` gives a `Sight`, all that the page shows.

In: a study, where its results are. Out: values. It writes nothing: neither to the storage nor to the study's folder.
What may take seconds (what is left to gain, the cards, an engine's log) is read by `look_closer`, in another thread.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from planner.errors import InputError
from planner.files import is_held, redactor
from planner.hardware import Readings, read_cards
from planner.report.watch.engine_log import EngineLines, containers_of, last_lines
from planner.report.watch.state import LaunchesAhead, StudyState, ahead_of, state_of
from planner.study import Problem, StudySpec, Workspace
from planner.trials import Trial, best_trial, launch_noise, leveled
from planner.tuning import Left, SessionRecord, UnderWay, WatchedStudy, read_session

WIDTH = 1.96
"""Standard deviations on each side of a value that hold it in 95 of 100 launches."""


@dataclass(frozen=True, slots=True)
class Closer:
    """What takes longer to read."""

    readings: Readings | None = None
    """The cards of this machine; None before the first reading."""
    logs: tuple[EngineLines, ...] = ()
    log_words: str = "not read yet"
    """Why there is no log; empty if there is one."""
    log_of: int | None = None
    """Number of the trial whose log it is."""
    left: Left | None = None
    """None before it was reckoned."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A study as it was at one moment."""

    problem: Problem
    at: datetime
    state: StudyState
    trials: tuple[Trial, ...]
    under_way: tuple[UnderWay, ...]
    session: SessionRecord | None
    closer: Closer = field(default_factory=Closer)

    @property
    def ahead(self) -> LaunchesAhead | None:
        """Launches so far and those planned; None where no `tune` wrote down its plan."""
        return None if self.session is None else ahead_of(self.session, self.trials, self.at)

    @property
    def best(self) -> Trial | None:
        """The best trial of the search, within all limits."""
        return best_trial(self.problem, list(self.trials))

    @property
    def band(self) -> tuple[float, float] | None:
        """Ends within which 95 of 100 launches of the best would lie, by the noise of a launch as known so far."""
        best = self.best
        value = None if best is None else leveled(self.problem, best)
        if value is None or value <= 0 or self.problem.objective.is_known or self.problem.objective.metric is None:
            return None
        width = WIDTH * launch_noise(self.trials, self.problem.spec.repeats)
        return value * math.exp(-width), value * math.exp(width)


class StudyWatch:
    """Looks at one study. `look` and `look_closer` may run in two threads, each always in the same one."""

    def __init__(self, spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None) -> None:
        """Raises InputError if there is no such study, or if it has no trials yet."""
        self.problem, self.workspace = Problem.of(spec), Workspace(folder, is_simulated)
        self._storage = storage
        self._file = self.workspace.folder / "study.db" if storage is None else None
        if (inode := self._inode()) is None and storage is None:
            hint = "" if is_simulated else "; for simulated ones add --simulated"
            raise InputError(f"{self.workspace.folder}: no trials yet: run planner tune first{hint}")
        self._seen_inode = inode
        self._study = WatchedStudy(self.problem, self.workspace, storage)
        self._redacted = redactor(spec.engine.pass_env)
        self._closer = Closer()
        self._latest: Sight | None = None
        self._left_of: tuple[int, ...] | None = None
        self._lock = threading.Lock()

    def look(self) -> Sight:
        """The study now. Raises InputError for a damaged record, BackendError if the storage cannot be read."""
        self._reopen()
        session = read_session(self.workspace.session_path)
        trials, under_way = self._study.trials(), self._study.under_way()
        is_shared = self._study.is_shared
        alive = sum(launch.is_alive for launch in under_way) if is_shared else None
        is_locked = not is_shared and is_held(self.workspace.lock_path)
        state = state_of(session, is_held=is_locked, num_alive=alive)
        seen = tuple(one for one in under_way if one.is_alive or (not is_shared and not state.is_over))
        with self._lock:
            now = datetime.now(UTC)
            self._latest = Sight(self.problem, now, state, tuple(trials), seen, session, self._closer)
        return self._latest

    def _inode(self) -> int | None:
        """Number of the study's own file; None without one, and where `--storage` names another place."""
        try:
            return None if self._file is None else self._file.stat().st_ino
        except OSError:
            return None

    def _reopen(self) -> None:
        """Open the storage again if its file is another one: an open file is read on after it was removed."""
        inode = self._inode()
        if self._file is not None and inode is None:
            raise InputError(f"{self._file}: is gone")
        if inode != self._seen_inode:
            self._study, self._seen_inode = WatchedStudy(self.problem, self.workspace, self._storage), inode

    def look_closer(self) -> None:
        """Read what takes longer; the next `look` has it."""
        sight = self._latest
        if sight is None:
            return
        self._keep(readings=read_cards())
        number, logs, words = self._logs_of(sight)
        self._keep(log_of=number, logs=tuple(logs), log_words=words)
        key = tuple(trial.number for trial in sight.trials)
        if key != self._left_of:
            until = None if sight.session is None else sight.session.until
            self._keep(left=self._study.left(list(sight.trials), until))
            self._left_of = key

    def _logs_of(self, sight: Sight) -> tuple[int | None, list[EngineLines], str]:
        backend = "" if sight.session is None else sight.session.backend
        if backend == "simulated":
            return None, [], "the embedded simulated engine writes no log"
        if sight.under_way:
            launch = sight.under_way[-1]
            names = containers_of(self.problem, launch.candidate, launch.number) if backend == "docker" else []
            return launch.number, *last_lines(self.workspace.log_dir, launch.number, names, self._redacted)
        launched = [trial for trial in sight.trials if trial.was_launched]
        if not launched:
            return None, [], "nothing was launched yet"
        number = launched[-1].number
        return number, *last_lines(self.workspace.log_dir, number, [], self._redacted)

    def _keep(self, **changes: object) -> None:
        with self._lock:
            self._closer = replace(self._closer, **changes)  # type: ignore[arg-type]

"""`recorded(plan, observer)` keeps what a session says of itself in a file, for whoever watches from another process.

In: a plan, and the observer that a person looks at. Out: `session.json` in the workspace, an encoded `SessionRecord`;
`read_session(path)` reads it back. Trials are in the storage, not here. The file is written by a thread of its own, at
most once a second: the thread that sends a load never waits for the disk. A disk that is full ends nothing.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from planner.errors import PlannerError
from planner.files import read_text, redactor, write_whole
from planner.study import Candidate
from planner.trials import Trial, describe

if TYPE_CHECKING:
    from planner.tuning.loop import Observer
    from planner.tuning.plan import Plan
    from planner.tuning.session import SessionObserver

LINES = 12
"""Lines of the session that are kept, the latest ones."""
EVERY_S = 1.0
"""Least seconds between two writings."""
RECORD_BYTES = 1 << 20
"""Largest file that is read as a record; a real one has a few kilobytes."""


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of `tune`: its plan and where it stands. Times are UTC, as ISO 8601."""

    began: str
    host: str
    pid: int
    backend: str
    target: int
    """Launches of the search in all, those of earlier runs included."""
    finals: int
    """Launches of the finals: those expected; once they run, those planned after `finals_begun`."""
    finals_begun: int | None = None
    """Launches of the finals that had ended when these were planned; None before the finals."""
    trial_s: float = 0.0
    """Expected seconds of one launch, before one was seen; 0 if no engine is launched."""
    until: float | None = None
    """Expected gain, as a share, below which the search ends; None: it does not."""
    hours: float | None = None
    gpu_hours: float | None = None
    trial: int | None = None
    """Number of the launch that began last; None between launches."""
    settings: str = ""
    stage: str = ""
    done: int = 0
    total: int = 0
    stage_began: str = ""
    lines: tuple[str, ...] = ()
    """The latest lines that the session said, without secrets."""
    ended: str = ""
    """Empty while it runs; `finished`, `interrupted`, or in words why it could not go on."""
    ended_at: str = ""

    @property
    def is_over(self) -> bool:
        return bool(self.ended)

    @property
    def in_finals(self) -> bool:
        return self.finals_begun is not None


FINISHED, INTERRUPTED = "finished", "interrupted"


def read_session(path: Path) -> SessionRecord | None:
    """The record in this file; None without one, or with one that another version of planner wrote otherwise."""
    try:
        return msgspec.json.decode(read_text(path, RECORD_BYTES), type=SessionRecord)
    except (OSError, PlannerError, ValueError):
        return None


@contextmanager
def recorded(plan: Plan, observer: SessionObserver) -> Iterator[Journal]:
    """Keep a record of the session while the context is open. It says at the end how the session ended."""
    journal = Journal(plan, observer)
    try:
        yield journal
    except BaseException as error:
        words = journal.redacted(str(error)) or type(error).__name__
        journal.close(INTERRUPTED if isinstance(error, KeyboardInterrupt) else words)
        raise
    journal.close(FINISHED)


class Journal:
    """A session's observer that writes down what it passes on."""

    def __init__(self, plan: Plan, observer: SessionObserver) -> None:
        budget = plan.budget
        self._path, self._observer, self._problem = plan.workspace.session_path, observer, plan.problem
        self._record = SessionRecord(
            began=_now(),
            host=platform.node(),
            pid=os.getpid(),
            backend=plan.backend,
            target=plan.target,
            finals=plan.num_finals,
            trial_s=plan.expected_trial_s,
            until=plan.until,
            hours=budget.hours,
            gpu_hours=budget.gpu_hours,
        )
        self.redacted = redactor(plan.problem.spec.engine.pass_env)
        self._interrupted, self._has_searched = False, False
        self._due, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_now_and_then, name="journal", daemon=True)
        self._due.set()
        self._thread.start()

    # --- a SessionObserver ---

    def say(self, line: str) -> None:
        self._change(lines=(*self._record.lines, self.redacted(line))[-LINES:])
        self._observer.say(line)

    def ended_early(self, line: str) -> None:
        self._change(lines=(*self._record.lines, self.redacted(line))[-LINES:])
        self._observer.ended_early(line)

    @contextmanager
    def watching(self, plan: Plan, past: list[Trial], target: int, finals: int) -> Iterator[Observer]:
        if self._has_searched:
            ended = sum(t.rerun is not None and t.rerun.is_final and t.was_launched for t in past)
            self._change(finals=finals, finals_begun=ended)
        self._has_searched = True
        with self._observer.watching(plan, past, target, finals) as watcher:
            yield _Passing(self, watcher)

    # --- what changes ---

    def began(self, number: int, candidate: Candidate) -> None:
        self._change(trial=number, settings=describe(self._problem, candidate), stage="", done=0, total=0)

    def at(self, stage: str, done: int, total: int) -> None:
        if stage != self._record.stage:
            self._change(stage_began=_now())
        self._change(stage=stage, done=done, total=total)

    def done(self) -> None:
        self._change(trial=None, settings="", stage="", done=0, total=0)

    def interrupted(self) -> None:
        """Remember that Ctrl-C or SIGTERM ends the session."""
        self._interrupted = True

    def close(self, ended: str) -> None:
        """Write the end: `ended`, or that it was interrupted."""
        self._change(ended=INTERRUPTED if self._interrupted else ended, ended_at=_now())
        self._over.set()
        self._due.set()
        self._thread.join()

    def _change(self, **changes: object) -> None:
        self._record = msgspec.structs.replace(self._record, **changes)
        self._due.set()

    def _write_now_and_then(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            is_over = self._over.is_set()
            with suppress(OSError):  # as on a full disk: the storage says so too, and stops the study
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, msgspec.json.encode(self._record))
            if is_over:
                return
            self._over.wait(EVERY_S)


class _Passing:
    """Observer of launches that tells the journal, then the observer behind it."""

    def __init__(self, journal: Journal, watcher: Observer) -> None:
        self._journal, self._watcher = journal, watcher

    def started(self, number: int, candidate: Candidate) -> None:
        self._journal.began(number, candidate)
        self._watcher.started(number, candidate)

    def stage(self, stage: str, done: int, total: int) -> None:
        self._journal.at(stage, done, total)
        self._watcher.stage(stage, done, total)

    def finished(self, trial: Trial) -> None:
        self._journal.done()
        self._watcher.finished(trial)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

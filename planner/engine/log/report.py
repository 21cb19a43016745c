"""Read a log in one pass and bounded memory: `LogReader.feed(line)`, `report() -> LogReport`, or `read_log(text)`.

A log may hold several starts, as when a container restarts; the report is about the last one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from planner.engine.log.failures import FailureReader
from planner.engine.log.known_warnings import Note, note_of
from planner.engine.log.lines import LogLine, lines_of
from planner.engine.log.patterns import (
    ASKED,
    EXCEPTION,
    FATAL,
    FINISHED,
    LISTENING,
    ROUTE,
    ROUTES,
    SERVING,
    SIMULATED,
    STARTED,
    STOPPED,
    TOLD,
    VLLM_FRAME,
    has_trouble,
    is_dull,
    is_routine,
)
from planner.engine.log.serving import RunReader, RunSummary
from planner.engine.log.settings import Scalar, SettingDifference, SettingsReader
from planner.engine.log.start_facts import FactsReader, StartFacts, StartTimes
from planner.engine.log.verdict import FailureInLog, classify, is_known, one_line, told_to_end

Status = Literal["starting", "up", "ended", "failed"]
"""State of the engine. `ended`: it was told to end, and did so in order."""
EventKind = Literal["start", "figure", "setting", "note", "error", "up", "run", "stop"]

MOST_SAMPLES = 5
MOST_KEPT = 100
"""Most different texts that are counted separately; further ones count only in the total."""
MOST_EARLIER = 20
MAX_SAMPLE = 200
_ENDED_BY_REQUEST = frozenset({0, 130, 143})
"""Exit codes of a process that was asked to end: 0, SIGINT, SIGTERM."""


@dataclass(frozen=True, slots=True)
class LogEvent:
    """Event that one line reports, for followers of a log."""

    kind: EventKind
    number: int
    when: str
    text: str
    note: Note | None = None


@dataclass(frozen=True, slots=True)
class SeenNote:
    note: Note
    times: int
    number: int
    """Row number of the first such line."""
    text: str
    """Text of the first such line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A warning or error that is in no table."""

    level: str
    text: str
    times: int
    number: int


@dataclass(frozen=True, slots=True)
class Counts:
    lines: int
    understood: int
    """Number of lines that the report uses."""
    unknown_warnings: int
    unknown_errors: int
    """Number of unknown errors from vLLM's loggers; a traceback counts once."""


@dataclass(frozen=True, slots=True)
class EarlierStart:
    number: int
    """Row number of its first line."""
    status: Status
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    status: Status
    facts: StartFacts
    times: StartTimes
    start_s: float | None
    """Seconds from the first line until the API listens; whole seconds, as in the log."""
    model: str | None
    url: str | None
    """Address on which the API listens."""
    num_routes: int
    phase: str | None
    """Last phase of the engine; None if no line tells."""
    asked: Mapping[str, Scalar]
    others: tuple[str, ...]
    """Names of further arguments; their values are left out, because they may be secret."""
    in_effect: Mapping[str, Scalar]
    differences: tuple[SettingDifference, ...]
    notes: tuple[SeenNote, ...]
    failure: FailureInLog | None
    run: RunSummary | None
    counts: Counts
    samples: tuple[Sample, ...]
    was_up: bool
    """Whether it served, or could have, at any time of this start."""
    num_starts: int
    earlier: tuple[EarlierStart, ...]
    is_simulated: bool


class _Start:
    """Everything that the log says about one start of the engine."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.facts, self.failures = FactsReader(), FailureReader()
        self.settings, self.run = SettingsReader(), RunReader()
        self.is_named = self.has_routes = self.is_serving = self.is_stopped = self.is_finished = False
        self.is_simulated = False
        self.num_routes = 0
        self.url: str | None = None
        self.fatal: LogLine | None = None
        """The first line after which the engine could no longer serve."""
        self.told: LogLine | None = None
        """The first line that says that a signal ended it, or what a signal does."""
        self.first = self.ready = self.last = ""

    def feed(self, line: LogLine) -> tuple[bool, EventKind | None]:
        """Take a line in. Returns whether it is understood, and its kind of event, if any."""
        text = line.text
        if not line.level and self.failures.is_calm and is_dull(text):
            self.failures.pass_by(line)
            return False, None
        self.first, self.last = self.first or line.when, line.when or self.last
        if self.run.feed(line):
            self.failures.serve(line)
            self.is_serving = True
            return True, "run"
        if is_routine(text):
            self.failures.pass_by(line)
            self.num_routes += ROUTE.match(text) is not None
            self.is_serving |= " HTTP/" in text  # the API listens only when the engine is up
            return True, None
        is_cause = self.failures.feed(line)
        told, is_setting = self.facts.feed(line), self.settings.feed(line)
        if (kind := self._milestone(line, text)) is not None:
            return True, kind
        if self.failures.is_frame:
            return VLLM_FRAME.search(text) is not None, None
        if self.told is None and self.fatal is None and line.is_trouble and TOLD.search(text):
            self.told, self.is_stopped = line, True
            return True, "stop"
        if not self.is_stopped and line.level != "INFO" and has_trouble(text) and FATAL.search(text):
            self.fatal = self.fatal or line
            return True, "error"
        if is_cause:
            return True, None if self.is_stopped else "error"
        if told == "new":
            return True, "figure"
        return bool(told or is_setting), "setting" if is_setting and not told else None

    def _milestone(self, line: LogLine, text: str) -> EventKind | None:
        if STARTED.search(text):
            self.is_named = True
            self.is_simulated |= SIMULATED in text
            return "start"
        if match := LISTENING.match(text):
            self.url, self.ready = match[1], line.when
            return "up"
        if ROUTES.match(text):
            self.has_routes, self.ready = True, self.ready or line.when
            return "up"
        if SERVING.search(text):
            self.is_serving = True
            return "up"
        if STOPPED.search(text):
            self.is_stopped = True
            self.told = self.told or line
            return "stop"
        if FINISHED.match(text):
            self.is_finished = True
            return "stop"
        return None

    def status(self, exit_code: int | None, is_running: bool | None) -> tuple[Status, FailureInLog | None]:
        found, is_dead = self.failures.failure(), exit_code is not None and exit_code not in _ENDED_BY_REQUEST
        ready = self.facts.times().init_s is not None and not self.is_named  # an engine without a server
        if self.is_serving or ready or (self.has_routes and found is None):
            if self.fatal or (is_dead and not self.is_stopped):
                return "failed", self.failures.failure(is_server=True) or self._silent_death(exit_code)
            return "ended" if self.is_stopped or self.is_finished or exit_code is not None else "up", None
        if self.told is not None and (found is None or self._is_after_told(found)):
            return "ended", told_to_end(self.told, self.phase, self.lasted_s())
        if self.fatal or is_dead or (found is not None and not is_running):
            return "failed", found or self._silent_death(exit_code)
        return "starting", None

    def _silent_death(self, exit_code: int | None) -> FailureInLog:
        death = self.failures.silent_death(exit_code)
        if self.fatal is None:
            return death
        return replace(
            death, words=one_line(self.fatal.text), number=self.fatal.number, cause=classify(self.fatal.text)
        )

    @property
    def phase(self) -> str | None:
        return self.failures.phase

    def _is_after_told(self, found: FailureInLog) -> bool:
        return self.told is not None and (found.number or 0) >= self.told.number

    @property
    def is_ended(self) -> bool:
        """Whether this start served, failed or ended, so that a banner that follows is of another."""
        return self.is_serving or self.is_stopped or self.is_finished or self.fatal is not None

    def start_s(self) -> float | None:
        return _seconds(self.first, self.ready)

    def lasted_s(self) -> float | None:
        return _seconds(self.first, self.last)


def _seconds(first: str, last: str) -> float | None:
    """Seconds between two times of the log, which has no year; None if one is missing or they are not in order."""
    if not first or not last:
        return None
    try:  # a leap year has every day
        began, ended = (datetime.strptime(f"2000-{when}", "%Y-%m-%d %H:%M:%S") for when in (first, last))
    except ValueError:
        return None
    seconds = (ended - began).total_seconds()
    return seconds if seconds >= 0 else None


class _Tally:
    """Counts texts, the first MOST_KEPT different ones separately; numbers in a text do not make it different."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}
        self.total = 0

    def add(self, level: str, text: str, number: int) -> None:
        self.total += 1
        key = re.sub(r"\d+", "#", text[:MAX_SAMPLE])
        known = self.samples.get(key)
        if known is not None:
            self.samples[key] = Sample(level, known.text, known.times + 1, known.number)
        elif len(self.samples) < MOST_KEPT:
            self.samples[key] = Sample(level, text[:MAX_SAMPLE], 1, number)

    def most(self) -> list[Sample]:
        return sorted(self.samples.values(), key=lambda sample: (-sample.times, sample.number))[:MOST_SAMPLES]


class LogReader:
    """Folds a log into a `LogReport`; takes its lines one by one."""

    def __init__(self) -> None:
        self._start = _Start(1)
        self._notes: dict[str, SeenNote] = {}
        self._warnings, self._errors = _Tally(), _Tally()
        self._lines = self._understood = self._num_starts = 0
        self._earlier: list[EarlierStart] = []
        self._group: tuple[str, str, str] | None = None
        self._group_text, self._group_number, self._group_known = "", 0, False
        self.is_vllm = False
        """Whether any line so far was from vLLM."""

    def feed(self, line: LogLine) -> LogEvent | None:
        self._lines += 1
        if " version " in line.text and (self._start.is_named or self._start.is_ended) and STARTED.search(line.text):
            self._restart(line)
        understood, kind = self._start.feed(line)
        note = self._note(line) if kind in ("error", "setting") or (kind is None and not understood) else None
        self._group_errors(line)
        understood |= note is not None
        self._understood += understood
        self.is_vllm |= understood or bool(line.where)
        if note is not None:
            return (
                LogEvent("note", line.number, line.when, line.text, note) if self._notes[note.name].times == 1 else None
            )
        if kind is None:
            return None
        text = self._start.settings.asked_words() if ASKED.match(line.text) else line.text
        return LogEvent(kind, line.number, line.when, text)

    def _restart(self, line: LogLine) -> None:
        status, failure = self._start.status(None, is_running=False)
        words = failure.words if failure is not None else f"was {self._start.failures.phase or 'beginning'}"
        self._earlier = [*self._earlier, EarlierStart(self._start.number, status, words)][-MOST_EARLIER:]
        self._num_starts += 1
        self._start = _Start(line.number)
        self._notes = {}

    def _note(self, line: LogLine) -> Note | None:
        """Count a known message and return its note; unknown warnings are counted separately."""
        text = line.text
        if not text or line.level == "DEBUG" or text.lstrip().startswith("warnings.warn"):
            return None
        if not line.level and not text.startswith("[transformers]"):
            return None  # part of a traceback or help text
        note = note_of(text)
        if note is not None:
            seen = self._notes.get(note.name)
            first = SeenNote(note, 0, line.number, text[:MAX_SAMPLE]) if seen is None else seen
            self._notes[note.name] = SeenNote(note, first.times + 1, first.number, first.text)
        elif line.level == "WARNING":
            self._warnings.add("WARNING", text, line.number)
        return note

    def _group_errors(self, line: LogLine) -> None:
        """Count lines of ERROR by process, time and place: a traceback of many lines is one error."""
        if line.level not in ("ERROR", "CRITICAL"):
            if self._group is not None and line.level and line.process == self._group[0]:
                self._close_group()
            return
        group = (line.process, line.when, line.where)
        if group != self._group:
            self._close_group()
            self._group, self._group_text, self._group_number = group, line.text, line.number
            self._group_known = False
        self._group_known |= is_known(line.text) or note_of(line.text) is not None
        if EXCEPTION.fullmatch(line.text):
            self._group_text = line.text

    def _close_group(self) -> None:
        if self._group is not None and not self._group_known:
            self._errors.add("ERROR", self._group_text, self._group_number)
        self._group = None

    def report(self, exit_code: int | None = None, is_running: bool | None = None) -> LogReport:
        """Report on the lines so far. `exit_code` and `is_running`, if known, take part in the status."""
        self._close_group()
        start = self._start
        status, failure = start.status(exit_code, is_running)
        facts = start.facts.facts()
        return LogReport(
            status=status,
            facts=facts,
            times=start.facts.times(),
            start_s=start.start_s(),
            model=start.settings.model,
            url=start.url,
            num_routes=start.num_routes,
            phase=start.failures.phase,
            asked=dict(start.settings.asked),
            others=tuple(sorted(start.settings.others)),
            in_effect=_in_effect(start.settings.in_effect, facts.attention_backend),
            differences=start.settings.differences(),
            notes=tuple(self._notes.values()),
            failure=failure,
            run=start.run.summary(facts.engine_generation == "V0"),
            counts=Counts(self._lines, self._understood, self._warnings.total, self._errors.total),
            samples=(*self._warnings.most(), *self._errors.most()),
            was_up=start.is_serving or start.has_routes or status == "up",
            num_starts=self._num_starts + 1,
            earlier=tuple(self._earlier),
            is_simulated=start.is_simulated,
        )


def _in_effect(settings: Mapping[str, Scalar], backend: str | None) -> dict[str, Scalar]:
    return dict(settings) if backend is None else {**settings, "attention_backend": backend}


def read_log(text: str | Iterable[LogLine], exit_code: int | None = None, is_running: bool | None = None) -> LogReport:
    """Read a log, given as text or as lines."""
    reader = LogReader()
    for line in lines_of(text) if isinstance(text, str) else text:
        reader.feed(line)
    return reader.report(exit_code, is_running)

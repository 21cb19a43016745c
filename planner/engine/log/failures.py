"""Find why an engine did not start or died: `FailureReader` folds a log into its first cause, in vLLM's own words.

It keeps one candidate per sign, since the start and since the engine last served, for a log of any length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from planner.engine.log.cause import Cause
from planner.engine.log.causes import CAUSES
from planner.engine.log.lines import LogLine
from planner.engine.log.patterns import (
    EXCEPTION,
    FRAME_PHASES,
    HARMLESS,
    LATER_NOISE,
    PHASES,
    RAY,
    REASON,
    REFUSED_BY,
    SERVING,
    SILENT_NAMES,
    UNDER_LOAD,
    has_trouble,
)
from planner.engine.log.raised import RAISED
from planner.engine.log.tracebacks import Piece, Traceback, Tracebacks
from planner.engine.log.verdict import INDEX, UNKNOWN, FailureInLog, classify, one_line, signs_of
from planner.errors import EngineCrashed, EngineRejected

REASON_WITHIN = 7
"""Number of lines after NCCL's error within which it gives the reason."""
LINES_BELOW = 25
"""Number of lines after a message without a reason within which a compiler gives it."""
MOST_REASONS = 2
LONGEST_REASON = 200
"""Most characters of a line that gives a reason; compilers also quote commands of thousands."""
MOST_EXCEPTIONS = 8
"""Most chains of exceptions kept; the first that a table knows counts."""

_RAISED = tuple((rule, re.compile(rule.exception), re.compile(rule.place), re.compile(rule.words)) for rule in RAISED)
_NO_CARD, _NO_CARD_IN_RAY = "no card visible", "no card in a Ray worker"
_QUOTING = ("bad setting", "reason not in this log")
"""Causes whose message quotes another: pydantic that of a settings check, V0's client that of the engine."""
_SIGNALS = {137: 9, -9: 9, 135: 7, -7: 7, 139: 11, -11: 11, 134: 6, -6: 6}


@dataclass(slots=True)
class _Candidate:
    cause: str | None
    """Name of the cause; None for an exception that matches no sign."""
    words: str
    phase: str | None
    number: int
    name: str = ""
    """Name of the exception."""
    frames: tuple[str, ...] = ()
    """Last frames of its traceback."""
    process: str = ""
    group: int = 0
    """Chain of exceptions of its process that it belongs to."""
    has_served: bool = False
    lines_left: int = 0
    reasons_left: int = 0
    reason_next: bool = False


@dataclass(slots=True)
class _Found:
    """The first candidate of every sign, and the last exception of each of the first chains."""

    by_sign: dict[int, _Candidate] = field(default_factory=dict)
    exceptions: list[_Candidate] = field(default_factory=list)

    def first(self, is_server: bool = False) -> _Candidate | None:
        """The candidate of most weight; for a server without refusals, which concern a start or a single request."""
        known = [self.by_sign[i] for i in sorted(self.by_sign)]
        known = [one for one in known if not is_server or not _is_refusal(one)]
        strong = next((one for one in known if not CAUSES[one.cause or ""].is_weak), None)
        return strong or self._exception() or (known[0] if known else None)

    def _exception(self) -> _Candidate | None:
        """The first exception whose words the table knows, else the one whose frames say most, else the first."""
        known = (one for one in self.exceptions if classify(one.words, f"{one.name}: ").name != UNKNOWN)
        return next(known, min(self.exceptions, key=_rule_of, default=None))

    def take(self, found: _Candidate) -> None:
        """Keep an exception: a later one of the same chain takes the place of the earlier."""
        for index, one in enumerate(self.exceptions):
            if (one.process, one.group) == (found.process, found.group):
                self.exceptions[index] = found
                return
        if len(self.exceptions) < MOST_EXCEPTIONS:
            self.exceptions.append(found)


def _is_refusal(candidate: _Candidate) -> bool:
    return candidate.cause is not None and CAUSES[candidate.cause].kind is EngineRejected


class FailureReader:
    """Folds the lines of one start into the first cause of its failure."""

    def __init__(self) -> None:
        self._all = _Found()
        self._since_served = _Found()
        """Candidates since the engine last served; earlier errors may be of single requests."""
        self.has_served = self.is_ray = False
        self.phase: str | None = None
        self.is_frame = False
        """Whether the last line was a frame or source line of a traceback."""
        self._tracebacks = Tracebacks()
        self._raised: _Candidate | None = None
        """The first raise statement with a known message, for logs without the exception's own line."""
        self._waiting: list[_Candidate] = []
        self._before = ""
        self._last_number = 0
        self._error: str | None = None
        self._error_number: int | None = None
        self._said: str | None = None

    @property
    def is_calm(self) -> bool:
        """Whether neither a traceback nor the reason of a failure can go on in the next line."""
        return not self._waiting and not self._tracebacks.is_any_open

    def pass_by(self, line: LogLine) -> None:
        """Take in a routine line of a running server."""
        self._before = self._said = line.text

    def serve(self, line: LogLine) -> None:
        """Take in a line that only a serving engine writes."""
        self.pass_by(line)
        self.has_served, self.phase = True, UNDER_LOAD
        self._forget(line.text)

    def feed(self, line: LogLine) -> bool:
        """Take a line in; returns whether it names a cause."""
        text, is_cause = line.text, False
        self._last_number = line.number
        self.is_ray = self.is_ray or bool(line.process and RAY.match(line.process)) or "[ray_" in line.where
        part = self._tracebacks.feed(line) if line.level != "WARNING" else Piece.OTHER
        self.is_frame = part is not Piece.OTHER
        if part is Piece.FRAME:
            self._phase_of(text, FRAME_PHASES)
        elif part is Piece.SOURCE and line.is_trouble and self._raised is None and text.lstrip().startswith("raise "):
            self._raised = next((self._candidate(*found, line) for found in signs_of(text)), None)
        elif part is Piece.OTHER:
            self._finish(line)
            is_trouble = line.is_trouble and has_trouble(text)
            is_noise = is_trouble and LATER_NOISE.search(text) is not None
            is_ending = self._tracebacks.of(line).ending is not None and line.is_trouble
            is_cause = (is_trouble or is_ending) and self._look(line, is_noise)
            is_error = line.level in ("ERROR", "CRITICAL") or (not line.level and is_noise)
            if self._error is None and is_error and not HARMLESS.search(text):
                self._error, self._error_number = text, line.number
            self._phase_of(text, PHASES)
            if SERVING.search(text):
                self.has_served = True
                self._forget(text)
        if text.strip() and line.level != "WARNING":
            self._said = text
        self._before = text
        return is_cause

    def _forget(self, text: str) -> None:
        """Forget what stands before a line of a serving engine, unless it generates nothing: it may be dead already."""
        if "Avg generation throughput: 0.0 tokens/s" not in text:
            self._since_served = _Found()

    def _phase_of(self, text: str, phases: tuple[tuple[re.Pattern[str], str], ...]) -> None:
        for pattern, phase in phases:
            if pattern.search(text):
                self.phase = phase
                break

    def _look(self, line: LogLine, is_noise: bool) -> bool:
        is_cause = False
        for cause, match in signs_of(line.text):
            index = INDEX[match.re.pattern]
            if index not in self._since_served.by_sign:
                is_cause = True
                candidate = self._candidate(cause, match, line)
                self._since_served.by_sign[index] = candidate
                self._all.by_sign.setdefault(index, candidate)
        trace = self._tracebacks.of(line)
        if not is_noise and (raised := trace.ending or EXCEPTION.fullmatch(line.text.strip())):
            name = raised["name"].rpartition(".")[2]
            found = replace(
                self._candidate_of(None, self._exception_words(raised, trace), line), name=name, lines_left=LINES_BELOW
            )
            found.reasons_left = MOST_REASONS if found.words.endswith((":", "error", "output")) else 0
            self.is_ray = self.is_ray or any("/ray/" in frame for frame in trace.frames)
            is_cause = not self._since_served.exceptions
            self._since_served.take(found)
            self._all.take(found)
            self._waiting.append(found)
        return is_cause

    def _candidate_of(self, cause: str | None, words: str, line: LogLine) -> _Candidate:
        trace = self._tracebacks.of(line)
        return _Candidate(
            cause,
            words,
            self.phase,
            line.number,
            frames=tuple(trace.frames),
            process=line.process,
            group=trace.group,
            has_served=self.has_served,
        )

    def _candidate(self, cause: str, match: re.Match[str], line: LogLine) -> _Candidate:
        groups = match.groupdict()
        if "words" in groups:
            return self._candidate_of(cause, one_line(groups["words"]), line)
        if "field_words" in groups:  # pydantic writes the setting's name on the line above
            return self._candidate_of(cause, one_line(f"{self._before.strip()}: {groups['field_words']}"), line)
        exception = EXCEPTION.fullmatch(line.text)
        words = self._exception_words(exception, self._tracebacks.of(line)) if exception else one_line(line.text)
        if "out of memory. Tried to allocate" in words or "CUDA error: out of memory" in words:
            words = f"{words} (while {self.phase})" if self.phase else words
        candidate = self._candidate_of(cause, words, line)
        if "NCCL" in words:  # the reason follows some lines below
            candidate.lines_left = REASON_WITHIN
            self._waiting.append(candidate)
        elif words.endswith((":", "error", "output")):
            candidate.lines_left, candidate.reasons_left = LINES_BELOW, MOST_REASONS
            self._waiting.append(candidate)
        return candidate

    def _finish(self, line: LogLine) -> None:
        """Add the lines that give the reason to candidates that wait for it."""
        for candidate in self._waiting:
            candidate.lines_left -= 1
            if candidate.reason_next:
                candidate.words, candidate.lines_left = one_line(f"{candidate.words}: {line.text}"), 0
            elif line.text == "Last error:":
                candidate.reason_next = True
            elif (
                candidate.reasons_left
                and candidate.process == line.process
                and len(line.text) <= LONGEST_REASON
                and REASON.search(line.text)
                and not LATER_NOISE.search(line.text)
            ):
                candidate.words = one_line(f"{candidate.words} {line.text}")
                candidate.reasons_left -= 1
        if self._waiting:
            self._waiting = [candidate for candidate in self._waiting if candidate.lines_left > 0]

    def _exception_words(self, match: re.Match[str], trace: Traceback) -> str:
        name, words = match["name"].rpartition(".")[2], match["words"]
        if words is None:  # a bare assert: its source line says what was asked
            return one_line(f"{name}: {trace.source}" if trace.source else name)
        return one_line(words if name in SILENT_NAMES else f"{name}: {words}")

    def _cut_off(self) -> _Candidate | None:
        """The assertion at which the log ends, where the exception's own line is missing."""
        trace = self._tracebacks.last
        if trace is None or not trace.is_open or not trace.source.startswith("assert "):
            return None
        words = one_line(f"AssertionError: {trace.source}")
        found = _Candidate(None, words, self.phase, self._last_number, "AssertionError", tuple(trace.frames))
        found.has_served = self.has_served
        return found

    def failure(self, is_server: bool = False) -> FailureInLog | None:
        """The first cause in the log since the engine last served, or else in all of it; None if there is none.

        `is_server`: the engine died while it served, so errors of single requests are no cause.
        """
        found = self._since_served.first(is_server) or self._all.first(is_server)
        found = found or (None if is_server else self._raised or self._cut_off())
        if found is None or (is_server and found.cause is None and found not in self._since_served.exceptions):
            return None
        if found.cause is not None:
            cause = CAUSES[found.cause]
            kind = cause.kind
            if cause.name in _QUOTING:
                special = classify(found.words)
                cause = cause if special.name == UNKNOWN else special
            if cause.name == _NO_CARD and self.is_ray:
                cause = CAUSES[_NO_CARD_IN_RAY]
        else:
            cause = _cause_of(found)
            kind = EngineRejected if not self.has_served and found.name in REFUSED_BY else EngineCrashed
        return FailureInLog(kind=kind, cause=cause, words=found.words, phase=found.phase, number=found.number)

    def silent_death(self, exit_code: int | None) -> FailureInLog:
        """The failure of an engine that ended without naming a cause."""
        signal, number = _SIGNALS.get(exit_code or 0), None
        code = "" if exit_code is None else f" (exit code {exit_code})"
        if signal == 9:
            words = f"killed{code}: most often the machine's memory ran out"
        elif signal == 7:
            words = f"bus error{code}: most often /dev/shm is too small"
        elif self._error is not None:
            words, number = one_line(self._error + code), self._error_number
            if self.has_served and LATER_NOISE.search(
                self._error
            ):  # the server's message about an engine process that logged nothing itself
                words = one_line(f"an engine process is gone without a word, most often killed: {words}")
        elif self._said is not None:
            words = one_line(f"ended{code} without naming a cause; its last line: {self._said}")
        else:
            words = f"ended{code} without a word"
        return FailureInLog(kind=EngineCrashed, cause=classify(words), words=words, phase=self.phase, number=number)


def _cause_of(found: _Candidate) -> Cause:
    """Classify an exception by its words, else by its name, its frames and when it was raised."""
    cause = classify(found.words, f"{found.name}: ")
    rule = _rule_of(found)
    return CAUSES[RAISED[rule].cause] if cause.name == UNKNOWN and rule < len(RAISED) else cause


def _rule_of(found: _Candidate) -> int:
    """Number of the first rule that names the cause of an exception; their count if none does."""
    now = {"", "load"} if found.has_served else {"", "start", *(["begin"] if found.phase is None else [])}
    for index, (rule, exception, place, words) in enumerate(_RAISED):
        frames = found.frames[-1:] if rule.is_innermost else found.frames
        is_there = not rule.place or _is_among(place, frames)
        if rule.when in now and exception.fullmatch(found.name) and is_there and words.search(found.words):
            return index
    return len(_RAISED)


def _is_among(place: re.Pattern[str], frames: tuple[str, ...]) -> bool:
    return any(place.search(frame) for frame in frames)

"""Find why an engine did not start or died: `FailureReader` folds a log into its first cause, in vLLM's own words.

It keeps one candidate per pattern, since the start and since the engine last served, for a log of any length.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

from planner.engine.config import FIELDS
from planner.engine.flag_table import lifespan
from planner.engine.flags import flag
from planner.engine.log.lines import LogLine, parsed
from planner.engine.log.patterns import (
    CAUSES,
    EXCEPTION,
    FAILURES,
    FREE_MEMORY,
    GRAPHS_IN_BUDGET_ADVICE,
    LATER_NOISE,
    LONGEST,
    PHASE_ADVICE,
    PHASES,
    REFUSALS,
    REFUSED_BY,
    SERVING,
    SILENT_NAMES,
    UNDER_LOAD,
    Cause,
    Kind,
)
from planner.engine.versions import GRAPHS_IN_BUDGET_SINCE
from planner.errors import EngineCrashed, EngineRejected

MAX_WORDS = 400
"""Most characters of a message; torch's out-of-memory text alone would be a page."""
REASON_WITHIN = 7
"""Number of lines after NCCL's error within which it gives the reason."""

_FAILURES = tuple((cause, re.compile(pattern)) for cause, pattern in FAILURES)
_REFUSALS = tuple((cause, re.compile(pattern)) for cause, pattern in REFUSALS)
_SIGNALS = {137: 9, -9: 9, 135: 7, -7: 7, 139: 11, -11: 11, 134: 6, -6: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureInLog:
    kind: Kind
    cause: Cause
    words: str
    """vLLM's own message, on one line."""
    phase: str | None = None
    """Phase of the engine at the failure; None if no earlier line tells."""
    number: int | None = None
    """Row number of the line; None if no line has the message."""

    def advice(self, version: str | None) -> str:
        """What to change, in sentences. `version`: the one that the log names, None if unknown."""
        known = parsed(version)
        if self.cause.name == "out of memory" and self.phase is not None:
            if self.phase == "graph capture" and known is not None and known >= GRAPHS_IN_BUDGET_SINCE:
                return GRAPHS_IN_BUDGET_ADVICE
            return PHASE_ADVICE.get(self.phase, self.cause.advice)
        spans = _spans(self.words) if self.cause.name == "bad flag" else []
        return " ".join([self.cause.advice, *self._figures(), *spans])

    def _figures(self) -> list[str]:
        """What vLLM's message says would have worked: the longest context, or the free share of memory."""
        if match := LONGEST.search(self.words):
            return [f"By vLLM's own figure max_model_len can be {match[1] or match[2]} at most."]
        if (match := FREE_MEMORY.search(self.words)) and float(match[2]) > 0:
            share = math.floor(float(match[1]) / float(match[2]) * 100) / 100
            return [f"Free is now a share of {share:.2f}."]
        return []


def _spans(words: str) -> list[str]:
    """Per flag named in a message: first version that knows it, and first that no longer does."""
    said = []
    for name in FIELDS:
        if re.search(rf"{flag(name)}\b", words):
            since, until = lifespan(flag(name))
            if since is not None:
                said.append(f"{flag(name)} is known since {since}.")
            if until is not None:
                said.append(f"{flag(name)} is gone since {until}.")
    return said


@dataclass(slots=True)
class _Candidate:
    cause: str | None
    """Name of the cause; None for an exception that matches no pattern."""
    words: str
    phase: str | None
    number: int
    name: str = ""
    """Name of the exception."""
    lines_left: int = 0
    reason_next: bool = False


@dataclass(slots=True)
class _Found:
    """The first candidate of every pattern, and the first exception."""

    by_pattern: dict[int, _Candidate] = field(default_factory=dict)
    exception: _Candidate | None = None

    def first(self, is_server: bool = False) -> _Candidate | None:
        """The candidate of most weight; for a server without refusals, which concern a start or a single request."""
        known = [i for i in sorted(self.by_pattern) if not is_server or not _is_refusal(self.by_pattern[i])]
        return self.by_pattern[known[0]] if known else self.exception


def _is_refusal(candidate: _Candidate) -> bool:
    return candidate.cause is not None and CAUSES[candidate.cause].kind is EngineRejected


class FailureReader:
    """Folds the lines of one start into the first cause of its failure."""

    def __init__(self) -> None:
        self._all = _Found()
        self._since_served = _Found()
        """Candidates since the engine last served; earlier errors may be of single requests."""
        self.has_served = False
        self.phase: str | None = None
        self._waiting: list[_Candidate] = []
        self._before = ""
        self._source = ""
        """Last line without carets: the source line of a bare assert."""
        self._error: str | None = None
        self._error_number: int | None = None
        self._said: str | None = None

    def pass_by(self, line: LogLine) -> None:
        """Take in a routine line of a running server."""
        self._before = self._source = self._said = line.text

    def serve(self, line: LogLine) -> None:
        """Take in a line that only a serving engine writes."""
        self.pass_by(line)
        self.has_served, self.phase = True, UNDER_LOAD
        self._since_served = _Found()

    def feed(self, line: LogLine) -> bool:
        """Take a line in; returns whether it names a cause."""
        text = line.text
        self._finish(text)
        is_noise = bool(line.is_trouble and LATER_NOISE.search(text))
        is_cause = line.is_trouble and not is_noise and self._look(line)
        is_error = line.level in ("ERROR", "CRITICAL") or (not line.level and is_noise)
        if self._error is None and is_error and "exit code: -15" not in text:  # a worker that was told to end
            self._error, self._error_number = text, line.number
        for pattern, phase in PHASES:
            if pattern.search(text):
                self.phase = phase
                break
        if SERVING.search(text):
            self.has_served = True
            self._since_served = _Found()
        if text.strip():
            if line.level != "WARNING":
                self._said = text
            if text.strip().strip("^~ "):
                self._source = text.strip()
        self._before = text
        return is_cause

    def _look(self, line: LogLine) -> bool:
        is_cause = False
        for index, (cause, pattern) in enumerate(_FAILURES):
            if index in self._since_served.by_pattern:
                continue
            if match := pattern.search(line.text):
                is_cause = True
                candidate = self._candidate(cause, match, line)
                self._since_served.by_pattern[index] = candidate
                self._all.by_pattern.setdefault(index, candidate)
        if self._since_served.exception is None and (match := EXCEPTION.fullmatch(line.text)):
            name = match["name"].rpartition(".")[2]
            found = _Candidate(None, self._exception_words(match), self.phase, line.number, name)
            self._since_served.exception = found
            self._all.exception = self._all.exception or found
            is_cause = True
        return is_cause

    def _candidate(self, cause: str, match: re.Match[str], line: LogLine) -> _Candidate:
        groups = match.groupdict()
        if "words" in groups:
            return _Candidate(cause, one_line(groups["words"]), self.phase, line.number)
        if "field_words" in groups:  # pydantic writes the setting's name on the line above
            words = one_line(f"{self._before.strip()}: {groups['field_words']}")
            return _Candidate(cause, words, self.phase, line.number)
        exception = EXCEPTION.fullmatch(line.text)
        words = self._exception_words(exception) if exception else one_line(line.text)
        if "out of memory. Tried to allocate" in words or "CUDA error: out of memory" in words:
            words = f"{words} (while {self.phase})" if self.phase else words
        candidate = _Candidate(cause, words, self.phase, line.number)
        if "NCCL" in words:  # the reason follows some lines below
            candidate.lines_left = REASON_WITHIN
            self._waiting.append(candidate)
        return candidate

    def _finish(self, text: str) -> None:
        """Add the line after `Last error:` to candidates that wait for NCCL's reason."""
        for candidate in self._waiting:
            candidate.lines_left -= 1
            if candidate.reason_next:
                candidate.words, candidate.lines_left = one_line(f"{candidate.words}: {text}"), 0
            elif text == "Last error:":
                candidate.reason_next = True
        if self._waiting:
            self._waiting = [candidate for candidate in self._waiting if candidate.lines_left > 0]

    def _exception_words(self, match: re.Match[str]) -> str:
        name, words = match["name"].rpartition(".")[2], match["words"]
        if words is None:  # a bare assert: its source line says what was asked
            return one_line(f"{name}: {self._source}" if self._source else name)
        return one_line(words if name in SILENT_NAMES else f"{name}: {words}")

    def failure(self, is_server: bool = False) -> FailureInLog | None:
        """The first cause in the log since the engine last served, or else in all of it; None if there is none.

        `is_server`: the engine died while it served, so errors of single requests are no cause.
        """
        found = self._since_served.first(is_server) or self._all.first(is_server)
        if found is None or (is_server and found.cause is None and found is not self._since_served.exception):
            return None
        if found.cause is not None:
            cause = CAUSES[found.cause]
            kind = cause.kind
            if cause.name == "bad setting":  # pydantic wraps the message of a settings check
                special = classify(found.words)
                cause = cause if special.name == "not in the table" else special
        else:
            cause = classify(found.words, f"{found.name}: ")
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


def is_known(text: str) -> bool:
    """Whether the text of an error line matches a pattern of the tables."""
    return bool(LATER_NOISE.search(text)) or any(pattern.search(text) for _, pattern in (*_FAILURES, *_REFUSALS))


def classify(words: str, name: str = "") -> Cause:
    """Classify a failure by its message, and by the exception's name if given."""
    for table in (_REFUSALS, _FAILURES):
        for cause, pattern in table:
            if pattern.search(name + words) or pattern.search(words):
                return CAUSES[cause]
    return CAUSES["not in the table"]


def one_line(words: str) -> str:
    for advice in (" If reserved but unallocated memory", " See documentation for Memory", " See https://"):
        words = words.partition(advice)[0]
    words = " ".join(words.split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 3] + "..."

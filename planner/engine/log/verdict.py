"""Name a failure and say what to change: `classify(words) -> Cause`, `FailureInLog.advice(version)`.

In: messages of a log. Out: causes of the table in `causes.py`, and sentences. Reads no lines itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from planner.engine.config import FIELDS
from planner.engine.flag_table import lifespan
from planner.engine.flags import flag
from planner.engine.log.cause import Cause, Kind
from planner.engine.log.causes import CAUSES
from planner.engine.log.lines import LogLine, parsed
from planner.engine.log.patterns import FREE_MEMORY, GRAPHS_IN_BUDGET_ADVICE, LATER_NOISE, LONGEST, PHASE_ADVICE
from planner.engine.versions import GRAPHS_IN_BUDGET_SINCE
from planner.errors import EngineCrashed

UNKNOWN = "not in the table"
MAX_WORDS = 400
"""Most characters of a message; torch's out-of-memory text alone would be a page."""

_SIGNS = tuple((cause.name, re.compile(pattern)) for cause in CAUSES.values() for pattern in cause.signs)
INDEX = {pattern.pattern: index for index, (_, pattern) in enumerate(_SIGNS)}
"""Weight of a sign: the smallest counts."""
_ANY_SIGN = re.compile("|".join(re.sub(r"\(\?P<\w+>", "(?:", pattern.pattern) for _, pattern in _SIGNS))
_SAID = tuple((cause.name, re.compile(pattern)) for cause in CAUSES.values() for pattern in cause.said)


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
        return " ".join([self.cause.advice_for(known), *self._figures(), *spans])

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


def signs_of(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Every sign in a line, with the name of its cause."""
    if _ANY_SIGN.search(text):
        for cause, pattern in _SIGNS:
            if match := pattern.search(text):
                yield cause, match


def told_to_end(line: LogLine, phase: str | None, lasted_s: float | None) -> FailureInLog:
    """The end of a start that a signal ended before it served. `lasted_s`: seconds that its log covers."""
    after = "" if lasted_s is None else f" {lasted_s:.0f} s after its first line"
    words = one_line(f"told to end{after}, before it was up: {line.text}")
    return FailureInLog(kind=EngineCrashed, cause=CAUSES["told to end"], words=words, phase=phase, number=line.number)


def is_known(text: str) -> bool:
    """Whether the text of an error line matches a pattern of the tables."""
    return bool(LATER_NOISE.search(text) or _ANY_SIGN.search(text)) or any(p.search(text) for _, p in _SAID)


def classify(words: str, name: str = "") -> Cause:
    """Classify a failure by its message, and by the exception's name if given."""
    whole = name + words
    for table in (_SAID, _SIGNS):
        for cause, pattern in table:
            if pattern.search(whole) or (name and pattern.search(words)):
                return CAUSES[cause]
    return CAUSES[UNKNOWN]


def one_line(words: str) -> str:
    for advice in (" If reserved but unallocated memory", " See documentation for Memory", " See https://"):
        words = words.partition(advice)[0]
    words = " ".join(words.split())
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 3] + "..."

"""No regular expression of planner takes more than linear time, whatever a line is made of.

Each pattern is turned into a text that it matches, and pieces of that text, repeated, are what it is asked to search:
the beginnings that make it start again and again. Eight times the text may take some eight times as long, never 64:
processor seconds are compared, of one thread, and again where they say otherwise, since other work shares its caches.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

import planner
from planner.engine.command.pasted import MODEL_NAME, VERSION_TAG
from planner.engine.command.retyped import _CELL
from planner.engine.command.shell import ASSIGNMENT, FENCE, PROMPT, SERVICE
from planner.engine.log import patterns as log_patterns
from planner.engine.log.causes import CAUSES
from planner.engine.log.lines import _WARNING
from planner.engine.log.patterns import (
    ENDING,
    EXCEPTION,
    FACTS,
    FATAL,
    FRAME,
    LATER_NOISE,
    has_trouble,
    is_dull,
)
from planner.engine.log.settings import _PAIR, _QUALIFIED
from planner.engine.log.verdict import _ANY_SIGN
from planner.model.catalog import HUB_NAME
from planner.units import _QUANTITY

SHORT, FACTOR = 1500, 8
MOST_GROWTH = 22
"""Between 8, which is linear, and 64, which is quadratic."""
LOOKS = 5
"""What takes too long takes too long each time."""
LEAST_S = 0.002
"""Below, clocks say little and nothing is harmful."""
SKIPPED = {"planner.cli.main", "planner.__main__", "planner.simulated.__main__"}


WHOLE = {
    one.pattern
    for one in (
        ASSIGNMENT, ENDING, EXCEPTION, FENCE, FRAME, HUB_NAME, MODEL_NAME, PROMPT, SERVICE, VERSION_TAG, _CELL, _PAIR,
        _QUALIFIED, _QUANTITY, _WARNING,
    )
}  # fmt: skip
"""Not searched, but matched at the beginning."""


def patterns() -> dict[str, re.Pattern[Any]]:
    found: dict[str, re.Pattern[Any]] = {}
    for module in pkgutil.walk_packages(planner.__path__, "planner."):
        if module.name not in SKIPPED:
            for name, value in vars(importlib.import_module(module.name)).items():
                found |= {one.pattern: one for one in _in(value) if not name.startswith("__")}
    tables = [
        *(text for cause in CAUSES.values() for text in (*cause.signs, *cause.said)),
        *(text for texts in FACTS.values() for text in texts),
    ]
    found.pop(_ANY_SIGN.pattern)  # the alternatives are searched one by one
    return {str(text): one for text, one in (found | {text: re.compile(text) for text in tables}).items()}


def test_every_sign_of_a_failure_has_a_word_that_lets_it_be_searched() -> None:
    signs = [sign for cause in CAUSES.values() for sign in cause.signs]
    for sign in (*signs, LATER_NOISE.pattern, FATAL.pattern):
        for text in {"".join(pieces(parser.parse(sign), choice)) for choice in range(40)}:
            assert has_trouble(text) or not re.search(sign, text), (sign, text)


NOT_OF_A_LINE = {
    "REASON",
    "FREE_MEMORY",
    "LONGEST",
    "RAY",
    "VLLM_FRAME",
    "CAPTURE_SIZE",
    "ENDING",
    "STATISTIC",
    "FRAME_PHASES",
}
"""Patterns searched in words, names, frames or the lines of a failure or statistic that were found by another."""


def test_every_line_that_a_pattern_of_logs_matches_has_a_word_that_lets_it_be_read() -> None:
    tables = [value for name, value in vars(log_patterns).items() if name.isupper() and name not in NOT_OF_A_LINE]
    flat = [part for value in tables for part in (value if isinstance(value, tuple) else (value,))]
    found = [one for value in flat for one in _in(value)] + [re.compile(t) for texts in FACTS.values() for t in texts]
    assert len(found) > 60
    for pattern in found:
        for text in {"".join(pieces(parser.parse(pattern.pattern), choice)) for choice in range(40)}:
            assert not is_dull(text) or not pattern.search(text), (pattern.pattern, text)


def _in(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _in(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _in(one)


PATTERNS = patterns()


def pieces(parsed: Any, choice: int) -> Iterator[str]:
    """A text that the pattern matches, in the pieces that its parts match."""
    for kind, value in parsed:
        match str(kind):
            case "LITERAL":
                yield chr(value)
            case "NOT_LITERAL":
                yield "a" if value != ord("a") else "b"
            case "ANY":
                yield "x"
            case "IN":
                yield _member(value)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                yield "".join(pieces(value[2], choice)) * max(1, value[0])
            case "SUBPATTERN":
                yield from pieces(value[3], choice)
            case "BRANCH":
                yield from pieces(value[1][choice % len(value[1])], choice)


def _member(members: Any) -> str:
    negated = str(members[0][0]) == "NEGATE"
    candidates = "a1 _-.Z\t,é" if negated else "a1 _"
    whole = parser.SubPattern(parser.State(), [(parser.IN, members)]) if hasattr(parser, "IN") else None
    for char in (*candidates, *(chr(code) for code in range(33, 127))):
        if _is_member(members, char) is not negated or whole is None:
            return char
    return "a"


def _is_member(members: Any, char: str) -> bool:
    for kind, value in members:
        match str(kind):
            case "LITERAL" if chr(value) == char:
                return True
            case "RANGE" if value[0] <= ord(char) <= value[1]:
                return True
            case "CATEGORY":
                if re.match(
                    {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}.get(str(value).rpartition("_")[2], r"\W"), char
                ):
                    return True
    return False


def attacks(pattern: re.Pattern[Any], length: int) -> Iterator[str]:
    parsed = parser.parse(
        pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode(), pattern.flags & re.X
    )
    for choice in range(6):
        parts: list[str] = []
        for part in pieces(parsed, choice):
            if parts and len(part) == 1 and part.isalpha() and parts[-1].isalpha():
                parts[-1] += part
            else:
                parts.append(part)
        for stop in range(1, len(parts) + 1):
            before, last = "".join(parts[: stop - 1]), parts[stop - 1]
            beginning = before + last
            yield (beginning * (length // max(1, len(beginning)) + 1))[:length]
            yield before + (last * (length // max(1, len(last)) + 1))[:length]


def seconds(pattern: re.Pattern[Any], text: Any) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.thread_time()
        (pattern.fullmatch if pattern.pattern in WHOLE else pattern.search)(text)
        best = min(best, time.thread_time() - begun)
        if best < LEAST_S:
            break
    return best


@pytest.mark.parametrize("text", PATTERNS)
def test_a_pattern_takes_linear_time(text: str) -> None:
    pattern = PATTERNS[text]
    is_bytes = isinstance(pattern.pattern, bytes)
    for long in dict.fromkeys(attacks(pattern, SHORT * FACTOR)):
        data: Any = long.encode() if is_bytes else long
        assert any(grows_linearly(pattern, data) for _ in range(LOOKS)), long[:200]


def grows_linearly(pattern: re.Pattern[Any], data: Any) -> bool:
    taken = seconds(pattern, data)
    if taken <= LEAST_S:
        return True
    return taken <= MOST_GROWTH * max(seconds(pattern, data[: len(data) // FACTOR]), LEAST_S / FACTOR)

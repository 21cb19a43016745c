"""One entry of a trace as a `GivenPrompt`; a bad value is one error with file, line, key and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from planner.errors import InputError
from planner.files import explained
from planner.workload.recorded import TOKENS_PER_WORD, GivenPrompt

MILLISECONDS_FROM = 1e11
"""A number of seconds since 1970 is below this until the year 5138, one of milliseconds above it since 1973."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file: its place, `file:line` or `file: entry N`, and its values by key."""

    where: str
    values: Mapping[str, Any]

    def wrong(self, what: str, allowed: str) -> InputError:
        """The error to raise for this entry."""
        return InputError(f"{self.where}: {what}; allowed: {allowed}")

    def given(self, keys: Mapping[str, str], allowed: str, **more: Any) -> GivenPrompt:
        """The request whose fields stand under `keys` (field -> key of the file). Raises InputError.

        A count may be written as "12" or 12.0. `more`: fields whose values are known already.
        """
        found: dict[str, Any] = {"prompt": None, **more}
        for field, key in keys.items():
            if key not in self.values:
                raise self.wrong(f"{key}: is missing", allowed)
            value = self.values[key]
            if isinstance(value, str):
                value = value.strip()
            found[field] = value
        try:
            return msgspec.convert(found, GivenPrompt, strict=False)
        except msgspec.ValidationError as error:
            path, message = explained(error, GivenPrompt)
            name = keys.get(path.partition("[")[0], path)
            raise self.wrong(f"{name}: {_short(self.values.get(name))}{message}", allowed) from None


def _short(value: Any) -> str:
    return "" if value is None else f"{str(value)[:40]!a}: "


def tokens_of(text: str) -> int:
    """Approximate number of tokens of a text, at least 1."""
    return max(1, round(len(text.split()) * TOKENS_PER_WORD))


def seconds_of(value: Any) -> float:
    """Seconds since 1970 of a date in ISO 8601 (without a zone: UTC) or of a number. Raises ValueError, TypeError."""
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text)
        except ValueError:
            moment = datetime.fromisoformat(text)
            return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("is no time")
    else:
        number = float(value)
    if number != number or abs(number) == float("inf"):
        raise ValueError("is no time")
    return number / 1e3 if abs(number) >= MILLISECONDS_FROM else number

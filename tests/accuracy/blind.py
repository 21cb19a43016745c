"""Starts that were predicted before they ran: what was said then, what the engine logged, what is said now."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.accuracy.starts import BLIND, load_starts

PREFIX = "h200-v1-024h-"


@dataclass(frozen=True, slots=True)
class Blind:
    """The KV cache of one start, in GiB."""

    id: str
    before: float
    """As predicted before the start."""
    is_covered: bool
    """Whether the 90 % interval of that prediction holds it."""
    observed: float
    after: float
    """As predicted by the model of now."""
    predicted_before: dict[str, Any]
    logged: dict[str, Any]

    @property
    def error_before(self) -> float:
        return self.before / self.observed - 1

    @property
    def error_after(self) -> float:
        return self.after / self.observed - 1


def load_blind() -> list[Blind]:
    """The starts of blind.json, answered."""
    records = {record["id"]: record for record in json.loads(BLIND.read_text("utf-8"))["records"]}
    return [_blind(records[start.id], start.answer) for start in load_starts(BLIND)]


def _blind(record: dict[str, Any], answer: dict[str, Any]) -> Blind:
    before, observed = record["predicted_before"], record["observed"]["kv_cache_gib"]
    low, high = before["kv_cache_gib_interval"]
    return Blind(
        id=record["id"].removeprefix(PREFIX),
        before=before["kv_cache_gib"],
        is_covered=low <= observed <= high,
        observed=observed,
        after=answer["kv_cache_gib"],
        predicted_before=before,
        logged=record["observed"],
    )


def summary(found: Sequence[Blind]) -> dict[str, float]:
    """Median absolute errors before and after, and the share of intervals that held."""
    return {
        "before": statistics.median(abs(start.error_before) for start in found),
        "after": statistics.median(abs(start.error_after) for start in found),
        "covered": sum(start.is_covered for start in found) / len(found),
    }


HEADER = ("start", "weights", "activation", "KV logged", "KV before", "held", "KV now")


def lines(found: Sequence[Blind]) -> Iterator[list[str]]:
    """One row a start, the worst prediction first."""
    for start in sorted(found, key=lambda start: -abs(start.error_before)):
        parts = [start.predicted_before[key] / start.logged[key] - 1 for key in ("weights_gib", "activation_peak_gib")]
        held = "yes" if start.is_covered else "no"
        yield [start.id, *(f"{part:+.1%}" for part in parts), f"{start.observed:.2f} GiB", f"{start.error_before:+.1%}",
               held, f"{start.error_after:+.1%}"]  # fmt: skip

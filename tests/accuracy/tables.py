"""Numbers over the starts: errors per component and group, the confusion matrix of the verdict, the outliers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.accuracy.starts import ALL, BEFORE, COMPONENTS, GROUPS, Start

KV_OUTLIER = 0.08
WEIGHTS_OUTLIER = 0.005
OUTCOMES = ("ok", "kv_too_small", "oom", "other_error")
VERDICTS = ("starts", "at risk", "will not start", "error")


@dataclass(frozen=True, slots=True)
class Row:
    component: str
    group: str
    count: int
    median: float
    """Of the absolute relative error."""
    p90: float
    median_absolute: float
    """GiB, or tokens."""
    coverage: float | None
    """Share of the starts inside the 90 % interval."""


def rows(starts: Sequence[Start]) -> list[Row]:
    """One row a component and group that has records, and one over all groups."""
    found = []
    for component in COMPONENTS:
        for group in (BEFORE, *GROUPS, ALL):
            members = [start for start in starts if start.group == group or (group == ALL and start.group != BEFORE)]
            compared = [c for start in members if (c := start.of(component)) is not None]
            if not compared:
                continue
            relative = np.array([abs(c.relative) for c in compared])
            covered = [c.is_covered for c in compared if c.is_covered is not None]
            found.append(
                Row(
                    component,
                    group,
                    len(compared),
                    float(np.median(relative)),
                    float(np.percentile(relative, 90)),
                    float(np.median([abs(c.error) for c in compared])),
                    sum(covered) / len(covered) if covered else None,
                )
            )
    return found


def confusion(starts: Sequence[Start]) -> Counter[tuple[str, str]]:
    """(outcome, verdict) -> how many starts."""
    return Counter((start.outcome, start.verdict) for start in starts if start.has_verdict)


def wrong_verdicts(starts: Sequence[Start]) -> list[Start]:
    """Called safe and failed for memory, or called impossible and started."""
    return [
        start
        for start in starts
        if start.has_verdict
        and (
            (start.outcome in {"kv_too_small", "oom"} and start.verdict == "starts")
            or (start.outcome == "ok" and start.verdict in {"will not start", "error"})
        )
    ]


def outliers(starts: Sequence[Start]) -> list[tuple[Start, str, float]]:
    """Starts whose KV cache or weights are off by more than the limits: (start, component, relative error)."""
    found: list[tuple[Start, str, float]] = []
    for start in starts:
        for component in ("weights", "KV GiB", "KV tokens"):
            compared = start.of(component)
            limit = WEIGHTS_OUTLIER if component == "weights" else KV_OUTLIER
            if compared is None or abs(compared.relative) <= limit:
                continue
            if component == "KV tokens" and any(s is start and name == "KV GiB" for s, name, _ in found):
                continue
            found.append((start, component, compared.relative))
    return sorted(found, key=lambda row: (row[1], -abs(row[2])))

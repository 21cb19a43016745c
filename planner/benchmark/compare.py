"""Compare two benchmark results: each metric's difference with its interval, and whether it is significant.

In: documents written by `planner bench --json` or by `vllm bench serve --save-result`. Out: `BenchComparison`s.
One estimator for both results and for their difference: the mean over the repeats, which is what bench prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeGuard

from planner.benchmark.document import key_of
from planner.benchmark.metric import HEADLINES, RATES, Metric
from planner.errors import InputError
from planner.files import did_you_mean
from planner.statistics import Difference, Interval, compare, compare_intervals
from planner.units import to_ms

MOST = 1e15
"""Largest figure of a document that is taken as one; a larger one is damage."""


@dataclass(frozen=True, slots=True)
class BenchComparison:
    """One metric in both results: latencies in seconds, rates per second."""

    metric: Metric
    first: float
    """Mean over the repeats of the first result."""
    second: float
    difference: Difference
    """The second mean minus the first."""

    @property
    def change(self) -> float:
        """The difference as a share of the first mean; infinite where that is 0."""
        return self._share(self.difference.value)

    @property
    def is_judged(self) -> bool:
        """Whether the difference has an interval."""
        return math.isfinite(self.difference.low) and math.isfinite(self.difference.high)

    @property
    def worse_by(self) -> float:
        """How much worse the second is, as a share of the first; below 0 where it is better."""
        return -self.metric.sign * self.change

    @property
    def surely_worse_by(self) -> float:
        """Lower bound of `worse_by` in the 95 % interval; `worse_by` itself where there is no interval."""
        if not self.is_judged:
            return self.worse_by
        bound = self.difference.high if self.metric.sign > 0 else self.difference.low
        return -self.metric.sign * self._share(bound)

    @property
    def verdict(self) -> str:
        if not self.is_judged:
            return "one sample each: not known"
        if not self.difference.is_significant:
            return "no significant difference"
        return f"{'worse' if self.worse_by > 0 else 'better'} by {abs(self.change):.1%}"

    def _share(self, difference: float) -> float:
        if difference == 0:
            return 0.0
        return difference / self.first if self.first else math.copysign(math.inf, difference)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """One `--fail-on`: a metric, and the share by which it may get worse."""

    metric: Metric
    share: float

    @property
    def words(self) -> str:
        return f"{self.metric.name}:{self.share * 100:g}%"

    def fails(self, comparison: BenchComparison) -> bool:
        """Whether the second result is surely worse by more: the whole 95 % interval lies beyond the tolerance.

        Where there is no interval, as with one run of each, the figures themselves are judged.
        """
        return comparison.surely_worse_by > self.share


def parse_tolerances(written: Iterable[str]) -> list[Tolerance]:
    """Parse `ttft_p95:5%`. Raises InputError."""
    found = []
    for text in written:
        name, colon, percent = text.partition(":")
        if name not in HEADLINES:
            near = did_you_mean(name, HEADLINES) or f"; allowed: {', '.join(HEADLINES)}"
            raise InputError(f"--fail-on {text}: {name!r} is no metric that is compared{near}")
        try:
            share = float(percent.strip().removesuffix("%")) / 100
        except ValueError:
            share = math.nan
        if not colon or not percent.strip().endswith("%") or not 0 <= share <= 1e6:
            raise InputError(f"--fail-on {text}: allowed is METRIC:PERCENT, for example ttft_p95:5%")
        found.append(Tolerance(Metric.parse(name), share))
    return found


def compare_documents(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[BenchComparison]:
    """Compare the second document with the first; both are written by us or by `vllm bench serve`."""
    is_paired = _same_requests(first, second)
    found = []
    for name in HEADLINES:
        a, b = _samples(first, name), _samples(second, name)
        if a and b:
            difference = _difference(a, b, (_half_width(first, name), _half_width(second, name)), is_paired)
            found.append(BenchComparison(Metric.parse(name), fmean(a), fmean(b), difference))
    return found


def judged(comparisons: Sequence[BenchComparison], tolerance: Tolerance) -> BenchComparison:
    """The comparison that a tolerance is about. Raises InputError if the two results do not both have the metric."""
    for one in comparisons:
        if one.metric == tolerance.metric:
            return one
    raise InputError(f"--fail-on {tolerance.words}: the two results do not both have {tolerance.metric.name}")


def comparison_document(
    comparisons: Sequence[BenchComparison],
    names: tuple[str, str],
    judgements: Sequence[tuple[Tolerance, BenchComparison]],
) -> dict[str, Any]:
    """The comparison as data: latencies in seconds, rates per second, changes as shares of the first."""
    return {
        "first": names[0],
        "second": names[1],
        "metrics": [
            {
                "metric": one.metric.name,
                "unit": one.metric.unit,
                "first": one.first,
                "second": one.second,
                "difference": one.difference.value,
                "low": one.difference.low if one.is_judged else None,
                "high": one.difference.high if one.is_judged else None,
                "change": one.change if math.isfinite(one.change) else None,
                "method": one.difference.method,
                "verdict": one.verdict,
            }
            for one in comparisons
        ],
        "fail_on": [
            {
                "metric": tolerance.metric.name,
                "allowed": tolerance.share,
                "worse_by": one.worse_by if math.isfinite(one.worse_by) else None,
                "surely_worse_by": one.surely_worse_by if math.isfinite(one.surely_worse_by) else None,
                "failed": tolerance.fails(one),
            }
            for tolerance, one in judgements
        ],
    }


def _samples(document: Mapping[str, Any], name: str) -> list[float]:
    """The metric's value in each repeat, in seconds or per second; of a document without repeats its one value."""
    repeats = document.get("repeats")
    runs = [run for run in repeats if isinstance(run, Mapping)] if isinstance(repeats, list) else []
    keys = (key_of(name), key_of(name).replace("median_", "p50_"))
    for places in (runs, [document]):
        values = [value for run in places if (value := _first_number(run, keys)) is not None]
        if values:
            return [value if name in RATES else value / to_ms(1.0) for value in values]
    return []


def _first_number(document: Mapping[str, Any], keys: Sequence[str]) -> float | None:
    values = (document.get(key) for key in keys)
    return next((float(value) for value in values if _is_figure(value)), None)


def _is_figure(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST


def _half_width(document: Mapping[str, Any], name: str) -> float | None:
    """Half the width of the interval that the document gives for the metric; None if it gives none."""
    intervals = document.get("intervals")
    written = intervals.get(key_of(name)) if isinstance(intervals, Mapping) else None
    low, high = (written.get("low"), written.get("high")) if isinstance(written, Mapping) else (None, None)
    bounds = [value for value in (low, high) if isinstance(value, int | float) and abs(value) <= MOST]
    if len(bounds) < 2 or bounds[0] > bounds[1]:
        return None
    half = (bounds[1] - bounds[0]) / 2
    return half if name in RATES else half / to_ms(1.0)


def _difference(
    first: Sequence[float], second: Sequence[float], halves: tuple[float | None, float | None], is_paired: bool
) -> Difference:
    if min(len(first), len(second)) >= 2:
        return compare(first, second, is_paired)
    known = [
        Interval(fmean(samples), fmean(samples) - half, fmean(samples) + half, "")
        for samples, half in zip((first, second), halves, strict=True)
        if half is not None
    ]
    return compare_intervals(known[0], known[1]) if len(known) == 2 else compare(first, second)


def _same_requests(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether repeat i of one document sent the same requests as repeat i of the other."""
    return first.get("workload") is not None and first.get("workload") == second.get("workload")

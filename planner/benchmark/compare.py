"""Compare two benchmark results: each metric's difference with its interval, and whether it is significant.

In: documents written by `planner bench --json` or by `vllm bench serve --save-result`. Out: `BenchComparison`s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.benchmark.metric import LATENCIES
from planner.statistics import Difference, Interval, compare, compare_intervals

COMPARED = (
    "request_throughput", "output_throughput", "total_token_throughput",
    *(f"{statistic}_{family}_ms" for family in LATENCIES for statistic in ("mean", "median", "p95", "p99")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchComparison:
    key: str
    first: float
    second: float
    difference: Difference

    @property
    def verdict(self) -> str:
        if self.difference.method == "one sample":
            return "one sample each: not known"
        if not self.difference.is_significant:
            return "no significant difference"
        is_better = (self.difference.value > 0) is not self.key.endswith("_ms")
        change = self.difference.value / self.first if self.first else math.inf
        return f"{'better' if is_better else 'worse'} by {abs(change):.1%}"


def compare_documents(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[BenchComparison]:
    """Compare the second document with the first; both are written by us or by `vllm bench serve`."""
    paired = _same_requests(first, second)
    found = []
    for key in COMPARED:
        a, b = first.get(key), second.get(key)
        if not isinstance(a, int | float) or not isinstance(b, int | float):
            continue
        found.append(BenchComparison(key, float(a), float(b), _difference(key, first, second, paired)))
    return found


def _difference(key: str, first: Mapping[str, Any], second: Mapping[str, Any], paired: bool) -> Difference:
    samples = [[r[key] for r in one.get("repeats", []) if key in r] for one in (first, second)]
    if min(map(len, samples)) >= 2:
        return compare(samples[0], samples[1], paired)
    estimates = [_read_interval(one.get("intervals", {}).get(key)) for one in (first, second)]
    if estimates[0] is None or estimates[1] is None:
        return compare([float(first[key])], [float(second[key])])
    return compare_intervals(estimates[0], estimates[1])


def _read_interval(written: Mapping[str, Any] | None) -> Interval | None:
    if written is None or written.get("low") is None or written.get("high") is None:
        return None
    return Interval(written["value"], written["low"], written["high"], written["method"])


def _same_requests(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether repeat i of one document sent the same requests as repeat i of the other."""
    return first.get("workload") is not None and first.get("workload") == second.get("workload")

"""Lower bounds on a running load's latencies: exact, whatever the requests still to end will show.

In: a load's plans, and its records as they end. A latency still to come is 0 at best, and no statistic below falls when
a value rises, so the statistic over the seen values and zeros for the rest is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.benchmark import MAX_FAILED_FRACTION, METRICS, Metric, RequestRecord
from planner.workload import RequestPlan

RISING = ("mean", "p50", "p90", "p95", "p99")
"""Statistics that do not fall when a value rises; a standard deviation may."""


def has_bound(name: str) -> bool:
    return name in METRICS and Metric.parse(name).statistic in RISING


class Bounds:
    """Lower bounds on the metrics of one load.

    A failed request has no latency; that leaves out a zero, and the bound holds.
    """

    def __init__(self, plans: Sequence[RequestPlan], names: Sequence[str]) -> None:
        """`names`: metrics that have a bound."""
        self._num_requests = len(plans)
        self._num_gaps = sum(max(0, plan.output_tokens - 1) for plan in plans)
        self._families = {metric.family: metric for metric in map(Metric.parse, names)}
        self._seen: dict[str, list[float]] = {family: [] for family in self._families}
        self._failed = 0

    def see(self, record: RequestRecord) -> None:
        if record.error is not None:
            self._failed += 1
            return
        for family, metric in self._families.items():
            self._seen[family] += metric.of(record)

    def least(self, name: str) -> float:
        """The lowest value, in seconds, that this metric of the whole load can still have."""
        metric = Metric.parse(name)
        seen = self._seen[metric.family]
        total = max(self._num_gaps if metric.family == "itl" else self._num_requests, len(seen))
        if not total:
            return 0.0
        if metric.statistic == "mean":
            return sum(seen) / total
        values = np.zeros(total)
        values[: len(seen)] = seen
        return float(metric.of_sample(values))

    @property
    def fails(self) -> bool:
        """Whether more requests have failed than the whole load may lose."""
        return self._failed > MAX_FAILED_FRACTION * self._num_requests

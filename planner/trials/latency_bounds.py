"""Lower bounds on a running load's latencies: exact, whatever the requests still to end will show.

In: a load's plans, and its records as they end. A latency still to come is 0 at best, and no statistic below falls when
a value rises, so the statistic over the seen values and zeros for the rest is a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.benchmark import LATENCIES, MAX_FAILED_FRACTION, RequestRecord
from planner.workload import RequestPlan

RISING = ("mean", "p50", "p90", "p95", "p99")
"""Statistics that do not fall when a value rises; a standard deviation may."""


def has_bound(name: str) -> bool:
    family, _, statistic = name.partition("_")
    return family in LATENCIES and statistic in RISING


class Bounds:
    """Lower bounds on the metrics of one load.

    A failed request has no latency; that leaves out a zero, and the bound holds.
    """

    def __init__(self, plans: Sequence[RequestPlan], names: Sequence[str]) -> None:
        """`names`: metrics that have a bound."""
        self._num_requests = len(plans)
        self._num_gaps = sum(max(0, plan.output_tokens - 1) for plan in plans)
        self._seen: dict[str, list[float]] = {name.partition("_")[0]: [] for name in names}
        self._failed = 0

    def see(self, record: RequestRecord) -> None:
        if record.error is not None:
            self._failed += 1
            return
        for family, values in self._seen.items():
            if family == "itl":
                values += np.diff(record.chunk_s).tolist()
            elif family == "tpot":
                values += [] if record.tpot_s is None else [record.tpot_s]
            else:
                values.append(record.ttft_s if family == "ttft" else record.e2el_s)

    def least(self, name: str) -> float:
        """The lowest value, in seconds, that this metric of the whole load can still have."""
        family, _, statistic = name.partition("_")
        seen = self._seen[family]
        total = max(self._num_gaps if family == "itl" else self._num_requests, len(seen))
        if not total:
            return 0.0
        if statistic == "mean":
            return sum(seen) / total
        values = np.zeros(total)
        values[: len(seen)] = seen
        return float(np.percentile(values, float(statistic[1:])))

    @property
    def fails(self) -> bool:
        """Whether more requests have failed than the whole load may lose."""
        return self._failed > MAX_FAILED_FRACTION * self._num_requests

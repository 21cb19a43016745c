"""One metric as a value: `Metric.parse("ttft_p95")` knows its unit, its direction and how to compute it.

In: a name. Out: a `Metric`. Names stay strings in files and documents; nothing else takes them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from planner.arrays import LazyModule
from planner.benchmark.records import RequestRecord
from planner.units import format_count, format_ms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


LATENCIES = ("ttft", "tpot", "itl", "e2el")
STATISTICS = ("mean", "std", "p50", "p90", "p95", "p99")
RATES = ("request_throughput", "input_throughput", "output_throughput", "total_token_throughput")
METRICS: tuple[str, ...] = (*RATES, *(f"{latency}_{statistic}" for latency in LATENCIES for statistic in STATISTICS))
"""Names an SLO may use: rates per second, latencies in seconds."""
HEADLINES: tuple[str, ...] = (
    *(rate for rate in RATES if rate != "input_throughput"),
    *(f"{latency}_{statistic}" for latency in LATENCIES for statistic in ("mean", "p50", "p95", "p99")),
)
"""Metrics that bench prints and compares."""
MAX_MODEL_LEN = "max_model_len"
"""Context length that a candidate serves, in tokens. No benchmark measures it, but an objective may maximise it."""
CAPACITY, CAPACITY_RATE = "capacity", "capacity_rate"
"""Most load that keeps an objective's limits: in requests in flight, and in requests per second."""
CAPACITIES = (CAPACITY, CAPACITY_RATE)
GOALS = (*METRICS, MAX_MODEL_LEN, *CAPACITIES)
"""Names an objective may use."""
QUEUE = "queue"
"""Time that a request waits for a free slot. A fleet may limit it, a study may not."""
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}


@dataclass(frozen=True, slots=True)
class Metric:
    """A statistic of a latency, a rate, the context length, or a capacity."""

    family: str
    """Latency such as `ttft`; the whole name for a rate, the context length and a capacity."""
    statistic: str = ""
    """`mean`, `std` or a percentile such as `p95`; empty for the others."""

    @classmethod
    def parse(cls, name: str) -> Metric:
        """Parse one of GOALS, or a statistic of QUEUE. Raises ValueError for any other name."""
        if name not in _BY_NAME:
            raise ValueError(f"{name!r} is no metric")
        return _BY_NAME[name]

    @property
    def name(self) -> str:
        return f"{self.family}_{self.statistic}" if self.statistic else self.family

    @property
    def is_rate(self) -> bool:
        return self.family in RATES

    @property
    def is_latency(self) -> bool:
        return self.family in LATENCIES or self.family == QUEUE

    @property
    def percentile(self) -> float | None:
        """95.0 for `p95`; None where the statistic is no percentile."""
        return PERCENTILES.get(self.statistic)

    @property
    def sign(self) -> Literal[1, -1]:
        """1 where more is better (rates, context length, capacities), -1 where less is better (latencies)."""
        return -1 if self.is_latency else 1

    @property
    def unit(self) -> Literal["s", "req/s", "tok/s", "tokens", "in flight"]:
        if self.is_latency:
            return "s"
        if self.family == MAX_MODEL_LEN:
            return "tokens"
        if self.family == CAPACITY:
            return "in flight"
        return "req/s" if self.family in {"request_throughput", CAPACITY_RATE} else "tok/s"

    def of(self, record: RequestRecord) -> list[float]:
        """Values of this latency in one complete request, in seconds: every gap for ITL, none for a one-token TPOT.

        Defined for latencies only; a single request has no rate.
        """
        if self.family == "ttft":
            return [record.ttft_s]
        if self.family == "e2el":
            return [record.e2el_s]
        if self.family == "tpot":
            return [] if record.tpot_s is None else [record.tpot_s]
        if self.family == "itl":
            return [later - earlier for earlier, later in pairwise(record.chunk_s)]
        if self.family == QUEUE:
            return [record.queue_s]
        raise ValueError(f"{self.name} is not seen in a single request")

    def of_sample(self, values: NDArray[np.float64], axis: int | None = None) -> Any:
        """The statistic over one sample of the latency, or along `axis` of an array of samples."""
        if self.percentile is not None:
            return np.percentile(values, self.percentile, axis=axis)
        return values.mean(axis=axis) if self.statistic == "mean" else values.std(axis=axis)

    def format(self, value: float) -> str:
        """The value with its unit, as a person reads it: `507.1 tok/s`, `1.32 s`."""
        if self.is_latency:
            return format_ms(value)
        if self.family == MAX_MODEL_LEN:
            return f"{format_count(value)} tokens"
        if self.family == CAPACITY:  # a part of a request is none
            return f"{format_count(math.floor(value + 1e-9) if value >= 1 else 0)} in flight"
        if self.family == CAPACITY_RATE:
            return f"{value:.3g} requests/s"
        if self.unit == "req/s":
            return f"{value:.3f} req/s"
        return f"{value:,.1f} tok/s".replace(",", " ")


_BY_NAME = {
    metric.name: metric
    for metric in (
        *map(Metric, (*RATES, MAX_MODEL_LEN, *CAPACITIES)),
        *(Metric(family, statistic) for family in (*LATENCIES, QUEUE) for statistic in STATISTICS),
    )
}

"""`MeasuredInstance`: how fast one engine serves, by requests in flight. Fitted from measured load levels.

In: levels (requests in flight, latencies). Out: seconds that a request of mean size takes with n in flight, its time to
first token, and seconds per output token. The engine is a batch server with limited concurrency: requests in flight
share it, and from some number on (the knee) a further one slows the others by as much as it brings.

Latencies between measured levels are interpolated, because each sequence makes a step of an engine longer by about the
same time. Above the highest level throughput stays constant, below the lowest latency does: both are conservative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
KNEE = 0.95
"""Throughput at the knee, as a fraction of the largest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLevel:
    """Latencies of one instance under one load."""

    in_flight: float
    e2el_s: float
    """Mean end-to-end latency of a request."""
    ttft_s: float | None = None
    """Median time to first token, because a first wave that arrives all at once is not what an open loop meets."""
    tpot_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredInstance:
    """Serving speed of one instance. Arrays have an entry for each number in flight; entry 0 equals entry 1."""

    latency_s: Column
    """Latency of a request of mean size at this number in flight, in seconds."""
    ttft_s: Column | None
    tpot_s: Column | None
    max_in_flight: int
    """Most requests in flight; the rest wait in the engine's queue, first come first served."""
    size_cv: float
    """Coefficient of variation of the work in a request: 0 all equal, 1 exponential."""
    ttft_sigma: float = 0.0
    """Standard deviation of the logarithm of the time to first token, at one load."""
    max_queue: int | None = None
    """Most requests waiting; further ones are refused. None: no limit."""
    output_tokens: float | None = None
    """Mean output tokens of a request."""
    measured: tuple[float, float] | None = None
    """Lowest and highest measured number in flight; None if the figures were given."""

    @property
    def throughput(self) -> Column:
        """Requests per second, by the number in flight."""
        return np.arange(self.max_in_flight + 1) / self.latency_s

    @property
    def capacity(self) -> float:
        """Largest throughput at any number in flight, in requests per second."""
        return float(self.throughput.max())

    @property
    def knee(self) -> int:
        """Number in flight from which there is little more throughput to gain."""
        return int(np.argmax(self.throughput >= KNEE * self.capacity))

    def in_flight_at(self, rate_per_s: float) -> float:
        """Approximate number in flight at this rate; the largest possible if the rate is too high."""
        throughput = self.throughput
        after = int(np.argmax(throughput >= rate_per_s))
        if not after:
            return 0.0 if rate_per_s <= 0 else float(self.max_in_flight)
        low, high = float(throughput[after - 1]), float(throughput[after])
        return after - 1 + (rate_per_s - low) / (high - low)


def fitted(
    levels: Sequence[MeasuredLevel],
    max_in_flight: int,
    size_cv: float,
    ttft_sigma: float = 0.0,
    output_tokens: float | None = None,
) -> MeasuredInstance:
    """Fit an instance through measured levels; noise that makes a higher load faster is smoothed out."""
    loads = np.unique([level.in_flight for level in levels])
    by_load = [_mean([level for level in levels if level.in_flight == load]) for load in loads]
    latency = _at_every(loads, [level.e2el_s for level in by_load], max_in_flight)
    ttfts = [level.ttft_s for level in by_load if level.ttft_s is not None]
    tpots = [level.tpot_s for level in by_load if level.tpot_s is not None]
    return MeasuredInstance(
        latency_s=latency,
        ttft_s=_at_every(loads, ttfts, max_in_flight) if len(ttfts) == len(by_load) else None,
        tpot_s=_at_every(loads, tpots, max_in_flight) if len(tpots) == len(by_load) else None,
        max_in_flight=max_in_flight,
        size_cv=size_cv,
        ttft_sigma=ttft_sigma,
        output_tokens=output_tokens,
        measured=(float(loads[0]), float(loads[-1])),
    )


def _mean(same: Sequence[MeasuredLevel]) -> MeasuredLevel:
    """Mean of the levels of one load that was measured more than once."""
    ttfts, tpots = ([t for one in same if (t := getattr(one, name)) is not None] for name in ("ttft_s", "tpot_s"))
    return MeasuredLevel(
        in_flight=same[0].in_flight,
        e2el_s=fmean(one.e2el_s for one in same),
        ttft_s=fmean(ttfts) if len(ttfts) == len(same) else None,
        tpot_s=fmean(tpots) if len(tpots) == len(same) else None,
    )


def _at_every(loads: Column, measured: Sequence[float], max_in_flight: int) -> Column:
    rising = np.maximum.accumulate(np.array(measured))
    numbers = np.arange(max_in_flight + 1)
    return np.interp(numbers, loads, rising) * np.maximum(1.0, numbers / loads[-1])


def given(
    capacity_per_s: float,
    service_s: float,
    max_in_flight: int | None = None,
    size_cv: float = 0.0,
    ttft_s: float | None = None,
    output_tokens: float | None = None,
) -> MeasuredInstance:
    """An instance from plain numbers: a request alone takes `service_s`, and throughput never exceeds the capacity."""
    most = max(1, math.ceil(capacity_per_s * service_s)) if max_in_flight is None else max_in_flight
    slower = np.maximum(1.0, np.arange(most + 1) / (capacity_per_s * service_s))
    return MeasuredInstance(
        latency_s=service_s * slower,
        ttft_s=None if ttft_s is None else ttft_s * slower,
        tpot_s=None,
        max_in_flight=most,
        size_cv=size_cv,
        output_tokens=output_tokens,
    )

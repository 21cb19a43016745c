"""How certain a figure is: intervals, drift and comparison of runs.

In: samples. Out: 95 % `Interval`s and verdicts. Knows nothing of requests or servers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
NUM_BATCHES = 10
NUM_RESAMPLES = 400
DRIFT_FRACTION = 0.05
"""Smallest relative difference between the halves of a run that counts as drift, even if it is significant."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % confidence interval, and the method that gave it."""

    value: float
    low: float
    high: float
    method: str

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def t_quantile(degrees: float, level: float = (1 + CONFIDENCE) / 2) -> float:
    """Quantile of Student's t at `level` above 0.5. `degrees` of freedom are rounded down, which errs on the safe side.

    Found by bisection of the distribution function.
    """
    return _t_quantile(max(1, math.floor(degrees)), level)


@lru_cache(maxsize=1024)
def _t_quantile(degrees: int, level: float) -> float:
    low, high = 0.0, 1.0
    while _t_probability(high, degrees) < level:
        low, high = high, 2 * high
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, degrees) < level else (low, middle)
    return high


def _t_probability(value: float, degrees: int) -> float:
    """Probability that Student's t with whole degrees of freedom is below `value`, which is not negative.

    Source: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan(value / math.sqrt(degrees))
    term = total = math.cos(angle) if degrees % 2 else 1.0
    if degrees == 1:
        total = 0.0
    for k in range(3 if degrees % 2 else 2, degrees - 1, 2):
        term *= math.cos(angle) ** 2 * (k - 1) / k
        total += term
    both = math.sin(angle) * total
    return 0.5 + (2 / math.pi * (angle + both) if degrees % 2 else both) / 2


def t_interval(samples: Sequence[float]) -> Interval:
    """Interval of the mean of independent samples; infinitely wide for a single sample."""
    mean = fmean(samples)
    if len(samples) < 2:
        return Interval(mean, -math.inf, math.inf, "one sample")
    half = t_quantile(len(samples) - 1) * stdev(samples) / math.sqrt(len(samples))
    return Interval(mean, mean - half, mean + half, f"t over {len(samples)} repeats")


def bootstrap_interval(
    samples: Sequence[float], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of `statistic`, which takes an array (num_resamples, n) and reduces axis 1."""
    array = np.asarray(samples, dtype=float)
    value = float(statistic(array[None, :])[0])
    drawn = np.random.default_rng(seed).integers(0, len(array), (NUM_RESAMPLES, len(array)))
    low, high = np.percentile(statistic(array[drawn]), [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2])
    return Interval(value, float(low), float(high), f"bootstrap over {len(array)} requests")


def rate_interval(times_s: Sequence[float], weights: Sequence[float], start_s: float, end_s: float) -> Interval:
    """Interval of a rate per second, from weighted counts in NUM_BATCHES equal parts of the window (batch means)."""
    edges = np.linspace(start_s, end_s, NUM_BATCHES + 1)
    counts, _ = np.histogram(times_s, edges, weights=weights)
    rates = counts / (edges[1] - edges[0])
    interval = t_interval(rates.tolist())
    return Interval(interval.value, interval.low, interval.high, f"batch means of {NUM_BATCHES} parts")


@dataclass(frozen=True, slots=True)
class Drift:
    """Mean of the first half of a run against that of the second."""

    first: float
    second: float
    is_drift: bool
    """Whether the halves differ by more than DRIFT_FRACTION, and significantly."""

    @property
    def change(self) -> float:
        return self.second / self.first - 1 if self.first else 0.0


def drift(samples: Sequence[float]) -> Drift | None:
    """Drift of samples in the order of time; None for fewer than 8 samples."""
    if len(samples) < 8:
        return None
    half = len(samples) // 2
    first, second = list(samples[:half]), list(samples[-half:])
    difference = compare(first, second)
    far = abs(difference.value) > DRIFT_FRACTION * abs(fmean(first))
    return Drift(fmean(first), fmean(second), far and difference.is_significant)


@dataclass(frozen=True, slots=True)
class Difference:
    """The second mean minus the first, with its 95 % interval."""

    value: float
    low: float
    high: float
    method: str

    @property
    def is_significant(self) -> bool:
        return self.low > 0 or self.high < 0


def compare(first: Sequence[float], second: Sequence[float], paired: bool = False) -> Difference:
    """Difference by Welch's t; with `paired` (both ran the same requests in the same order) by t of the differences."""
    value = fmean(second) - fmean(first)
    if paired and len(first) == len(second) >= 2:
        interval = t_interval([b - a for a, b in zip(first, second, strict=True)])
        return Difference(value, interval.low, interval.high, f"paired t over {len(first)} repeats")
    if min(len(first), len(second)) < 2:
        return Difference(value, -math.inf, math.inf, "one sample")
    a, b = stdev(first) ** 2 / len(first), stdev(second) ** 2 / len(second)
    if a + b == 0:
        return Difference(value, value, value, "no spread")
    degrees = (a + b) ** 2 / (a**2 / (len(first) - 1) + b**2 / (len(second) - 1))
    half = t_quantile(degrees) * math.sqrt(a + b)
    return Difference(value, value - half, value + half, f"Welch's t over {len(first)} and {len(second)}")


def kendall_tau(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b: 1 for equal ranking, -1 for opposite; ties in either pull it to 0. NaN if one is constant."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    upper = np.triu_indices(len(first), 1)
    signs_a, signs_b = (np.sign(x[:, None] - x[None, :])[upper] for x in (first, second))
    norm = np.sqrt(float(np.abs(signs_a).sum()) * float(np.abs(signs_b).sum()))
    return float((signs_a * signs_b).sum() / norm) if norm else float("nan")


def compare_intervals(first: Interval, second: Interval) -> Difference:
    """Difference of two estimates without their samples, assumed independent and approximately normal."""
    value = second.value - first.value
    half = math.hypot(first.half_width, second.half_width)
    return Difference(value, value - half, value + half, "from the two intervals")

"""The most load within one launch: which level to load next, and what the levels loaded so far say.

In: `Level`s, each what was seen at one load, and limits on latencies. Out: `Within`: the capacity with its interval, or
the next level to try. A level is kept as its metrics, so that other limits are judged later without a launch. The
levels begin where the caller expects the limit; the room that each left to the limits says how far the next one is,
and once the limit is enclosed the doubt does, as in `search.py`, whose belief this is, with the noise of a launch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.benchmark.capacity.search import ENDS, WIDE, Belief, SaturationWatch, has_backlog, lowest_level
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.metric import METRICS, Metric
from planner.benchmark.metrics import BenchmarkResult, summarize
from planner.benchmark.records import RequestRecord
from planner.benchmark.slo import MAX_FAILED_FRACTION, limits_of

NOISES = (0.01, 0.02, 0.04, 0.08)
"""Possible relative spread of the capacity from one load of a launch to another; all are equally likely at first."""
MOST_LEVELS = 8
"""Most levels of one launch. Where noise leaves the interval wider than asked by then, it stays wider."""
STEPS = (1.1, 2.0)
"""Least and largest ratio of a level to the one before while the limit is not enclosed."""
FAR = 1.3
"""Ratio of two levels that enclose the limit above which the next lies where the rooms say, within INNER."""
NEAR, MOST_ROOM = 0.15, 0.5
"""How near to the likeliest capacity a level's room says where the limit is, and the most of a room, as logarithms."""
SLOPES, SLOPE_WEIGHT = (-8.0, -0.3), 0.001
"""Change of the room's logarithm with the load's, least and largest; and the weight of a slope of -1."""
INNER = (0.2, 0.8)
"""Part of an enclosing pair, as a share of its logarithm, in which the next level lies."""


@dataclass(frozen=True, slots=True)
class Level:
    """One load of a capacity search, with what was seen at it."""

    load: float
    """Requests in flight, or requests per second."""
    num_requests: int
    """Number of requests that were judged, or were to be: without the first wave of a closed loop."""
    failed: int
    metrics: dict[str, float]
    """Metrics by the names of METRICS; those of a level that was stopped are lower bounds on its latencies."""
    share: float = 1.0
    """Fraction of the requests that ended; below 1 the level was stopped, as it could no longer keep the limits."""
    is_growing: bool = False
    """Whether requests arrived faster than they were answered."""

    def keeps(self, limits: Mapping[str, float]) -> bool | None:
        """Whether it kept all limits; None if it was stopped, or lacks a metric, before that was seen."""
        if self.failed > MAX_FAILED_FRACTION * self.num_requests or self.is_growing:
            return False
        room = self.room(limits)
        if room is not None and room < 0:
            return False
        return None if self.share < 1 or not limits.keys() <= self.metrics.keys() else True

    def room(self, limits: Mapping[str, float]) -> float | None:
        """Room to the nearest limit as a logarithm, negative where it is broken; None without any of the metrics."""
        seen = ((self.metrics[one.metric.name], one) for one in limits_of(limits) if one.metric.name in self.metrics)
        return min((math.log(one.bound / max(value, 1e-9)) for value, one in seen), default=None)


def level_of(load: float, records: Sequence[RequestRecord], total: int) -> Level:
    """The level that these records show; `total` is the number of its requests, more where it was stopped."""
    ended = [record for record in records if record.error != STOPPED]
    failed, share = sum(record.error is not None for record in ended), len(ended) / total
    done = [record for record in ended if record.error is None]
    if not done:
        return Level(load, total, failed, {}, share)
    if share < 1:
        return Level(load, total, failed, _least(done, total), share)
    result = summarize(ended)
    metrics = {name: result.metrics[name] for name in METRICS if name in result.metrics}
    return Level(load, total, failed, metrics)


def open_level(load: float, records: Sequence[RequestRecord], total: int) -> Level:
    """The same of an open loop, in which a queue may grow."""
    level = level_of(load, records, total)
    is_growing = level.share == 1 and has_backlog(records)
    return Level(load, level.num_requests, level.failed, level.metrics, level.share, is_growing)


def _least(done: Sequence[RequestRecord], total: int) -> dict[str, float]:
    """Lower bounds on the percentiles and means of a whole level: a latency still to come is 0 at best."""
    found = {}
    for metric in map(Metric.parse, METRICS):
        if not metric.is_latency or metric.family == "itl" or metric.statistic == "std":
            continue
        values = np.zeros(total)
        seen = [value for record in done for value in metric.of(record)]
        values[: len(seen)] = seen
        found[metric.name] = float(metric.of_sample(values))
    return found


class LevelWatch(SaturationWatch):
    """Ends a level of a launch that can no longer keep the limits."""

    def estimate(self, result: BenchmarkResult) -> BenchmarkResult:
        """The result as it is: a stopped level is judged by its records (`level_of`), not by an estimate."""
        return result


# --- where to look ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Within:
    """The capacity of one launch, as its levels show it."""

    value: float | None
    """The likeliest capacity; None if no level kept the limits."""
    low: float
    """Lower end of the 95 % interval, whole for requests in flight; 0 if the capacity may be below every level."""
    high: float
    """Upper end of it; inf if the capacity may be above every level."""
    next: float
    """The level that would tell most."""
    is_enclosed: bool
    """Whether a level kept the limits, or the lowest was tried, and one broke them, or the highest was tried."""

    def is_narrow(self, precision: float, by_rate: bool) -> bool:
        """Whether the interval is at most `precision` of its lower end wide, or two requests in flight."""
        if not self.is_enclosed or self.high == math.inf:
            return False
        return self.high - self.low <= max(precision * self.low, 0.0 if by_rate else 2.0)


def within(levels: Sequence[Level], limits: Mapping[str, float], maximum: float, by_rate: bool) -> Within | None:
    """The capacity that the levels show; None if none of them says anything of these limits.

    `maximum`: the highest level that may be tried.
    """
    if not levels:
        return None
    lowest = min(lowest_level(levels[0].load, by_rate), *(level.load for level in levels))
    belief = Belief(lowest, maximum, NOISES)
    kept, broken = dict[float, float](), dict[float, float]()
    for level in levels:
        if (is_kept := level.keeps(limits)) is None:
            continue
        belief.learn(level.load, is_kept)
        room = level.room(limits)
        (kept if is_kept else broken)[level.load] = 0.0 if room is None else room
    if not kept and not broken:
        return None
    low, high = belief.interval()
    if not by_rate:
        low, high = float(math.floor(low)), math.floor(high) + 1.0 if high < math.inf else high
    highest, least = max(kept, default=None), min(broken, default=None)
    at_end = least <= lowest if highest is None and least is not None else (highest or 0.0) >= maximum
    following = _next(belief, kept, broken, len(levels))
    following = min(maximum, max(lowest, following if by_rate else float(round(following))))
    if not by_rate and following in {highest, least} and (highest is None or least is None):
        following = min(maximum, max(lowest, following + (1 if least is None else -1)))  # less than one request away
    value = highest if least is None or highest is None else _crossing(levels, limits, belief)
    return Within(value, low, high, following, at_end or (highest is not None and least is not None))


def _crossing(levels: Sequence[Level], limits: Mapping[str, float], belief: Belief) -> float:
    """The load at which the room to the limits is expected to be 0, within the middle half of what is believed.

    A line through the rooms of the levels that ran to their end, each weighed by its nearness to the likeliest
    capacity. Verdicts alone would give two launches of near levels the very same value, as if neither had noise.
    """
    low, middle, high = (belief.quantile(share) for share in (0.25, 0.5, 0.75))  # latencies may rise like a cliff
    whole = [(math.log(one.load / middle), one.room(limits)) for one in levels if one.share == 1 and not one.is_growing]
    points = [(x, min(MOST_ROOM, max(-MOST_ROOM, room))) for x, room in whole if room is not None]
    if not points:
        return middle
    weights = [math.exp(-((x / NEAR) ** 2)) + 1e-6 for x, _ in points]
    total = math.fsum(weights)
    x_mean = math.fsum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    room_mean = math.fsum(w * room for w, (_, room) in zip(weights, points, strict=True)) / total
    spread = math.fsum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True)) / total
    along = math.fsum(w * (x - x_mean) * room for w, (x, room) in zip(weights, points, strict=True)) / total
    prior = SLOPE_WEIGHT / len(points)
    slope = (along - prior) / (spread + prior)  # drawn towards -1, as if latency grew with the load
    slope = min(SLOPES[1], max(SLOPES[0], slope))
    return min(high, max(low, middle * math.exp(x_mean - room_mean / slope)))


def _next(belief: Belief, kept: Mapping[float, float], broken: Mapping[float, float], count: int) -> float:
    """The level to try after `count`, by the room that each level left where the limit is not closely enclosed."""
    if not kept or not broken:
        nearest = max(kept) if kept else min(broken)
        room = kept[nearest] if kept else broken[nearest]
        step = min(STEPS[1], max(STEPS[0], math.exp(min(abs(room), 1.0) * STEPS[0])))
        return nearest * step if kept else nearest / step
    below, above = max(kept), min(broken)
    if above / below > FAR:
        left, right = kept[below], broken[above]
        share = left / (left - right) if left > right else 0.5
        return below * (above / below) ** min(INNER[1], max(INNER[0], share))
    low, high = belief.interval()
    is_wide = low == 0 or high / low > WIDE
    return belief.quantile(0.5 if is_wide else ENDS[count % 2])

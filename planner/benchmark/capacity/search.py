"""Find the highest load that keeps an SLO: double the load, then bisect until the interval is narrow enough.

In: how to load the server at a level. Out: `Capacity`: the level, and the interval it lies in. A server is not equally
fast at all times, so a level may keep the SLO now and break it later: each load is one noisy answer to "is the capacity
above this level?", and the next level is where these answers leave it most in doubt. A level that can no longer keep
the SLO is left at once.

Source: QUEST, Watson and Pelli 1983, 10.3758/BF03202828, with the width of the noise unknown too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Literal, TypeAlias

import numpy as np

from planner.benchmark.load.progress import Moment
from planner.benchmark.load.watcher import STOPPED, SilentWatcher
from planner.benchmark.metric import Metric
from planner.benchmark.records import RequestRecord
from planner.benchmark.slo import MAX_FAILED_FRACTION, Limit, limits_of
from planner.statistics import CONFIDENCE

Verdict: TypeAlias = Literal["kept", "broken"]
PRECISION = 0.1
"""Width of an interval that is narrow enough, as a fraction of the capacity: 5 % to each side."""
WIDE = 1.5
ENDS = (0.1, 0.9)
"""Quantiles at which an interval is tried once its ends are less than WIDE apart."""
MAX_LOADS = 20
"""Most loads of one search. Where noise leaves the interval wider than PRECISION by then, it stays wider."""
NOISES = tuple(float(noise) for noise in np.geomspace(0.005, 1.0, 10))
"""Possible relative spread of the capacity from one load to another; all are equally likely at first."""
LAPSE = 0.02
"""Fraction of loads whose result may be arbitrary, for example because the machine stalled."""
BACKLOG_FRACTION = 1.5
"""Mean latency of an open loop's second half over that of its first half above which a queue is growing."""

LoadLevel: TypeAlias = Callable[[float], Sequence[RequestRecord]]
"""Load the server at a level, with other prompts each time. Requests stopped because the level is hopeless have the
error STOPPED. The first wave of a closed loop, which arrives all at once, is left out."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class LevelResult:
    """One load of a level and its judgement."""

    level: float
    judgement: Judgement
    num_requests: int

    @property
    def is_kept(self) -> bool:
        return self.judgement.verdict == "kept"


@dataclass(frozen=True, slots=True)
class Capacity:
    level: float | None
    """Highest level that kept the SLO when tried and is more likely below the capacity than above; None: none."""
    low: float
    """Lower end of the 95 % interval; 0 if the capacity may be below every level."""
    high: float
    """Upper end of the 95 % interval; inf if the capacity may be above every level."""
    levels: tuple[LevelResult, ...]
    """Loads in the order they were tried."""

    @property
    def num_requests(self) -> int:
        return sum(level.num_requests for level in self.levels)

    @property
    def num_contrary(self) -> int:
        """Number of loads that contradict the interval. One may be an accident; more mean that the server changed."""
        return sum(one.level >= self.high if one.is_kept else one.level <= self.low for one in self.levels)

    @property
    def is_steady(self) -> bool:
        return self.num_contrary < 2


class Belief:
    """How likely each capacity and each width of the noise is after the loads so far."""

    def __init__(self, lowest: float, maximum: float, noises: Sequence[float] = NOISES) -> None:
        """`noises`: possible relative spreads of the capacity from one load to another, equally likely at first."""
        self.lowest, self.maximum = lowest, maximum
        self.logs = np.linspace(math.log(lowest / 2), math.log(maximum * 2), 3000)
        self.noises = np.asarray(noises)[:, None]
        self.log_likelihood = np.zeros((len(noises), len(self.logs)))

    def learn(self, level: float, is_kept: bool) -> None:
        away = (self.logs - math.log(level)) / self.noises * (1 if is_kept else -1)
        logistic = 1 / (1 + np.exp(np.clip(-1.702 * away, -50, 50)))  # within 0.01 of the normal distribution
        self.log_likelihood += np.log(LAPSE / 2 + (1 - LAPSE) * logistic)

    def quantile(self, probability: float) -> float:
        weights = np.exp(self.log_likelihood - self.log_likelihood.max()).sum(axis=0)
        cumulated = np.cumsum(weights) / weights.sum()
        return math.exp(float(np.interp(probability, cumulated, self.logs)))

    def interval(self) -> tuple[float, float]:
        low, high = self.quantile((1 - CONFIDENCE) / 2), self.quantile((1 + CONFIDENCE) / 2)
        return (low if low >= self.lowest else 0.0), (high if high <= self.maximum else math.inf)


def find_capacity(
    load: LoadLevel,
    slo: Mapping[str, float],
    start: float,
    maximum: float,
    by_rate: bool = False,
    on_level: Callable[[LevelResult], None] = lambda _: None,
) -> Capacity:
    """Double from `start` until the SLO breaks (or halve until it is kept), then load where the doubt is greatest:
    first in the middle of the likely range; once that is no longer wide, near its ends, to see whether they hold."""
    levels = list[LevelResult]()

    def keeps(level: float) -> bool:
        levels.append(_try_level(load, level, slo, by_rate))
        on_level(levels[-1])
        return levels[-1].is_kept

    belief = search(keeps, start, maximum, by_rate)
    return Capacity(_answer(levels, belief.quantile(0.5)), *_rounded(belief, by_rate), tuple(levels))


def search(keeps: Callable[[float], bool], start: float, maximum: float, by_rate: bool) -> Belief:
    """Ask `keeps` of one level after another until the interval is narrow; out comes what is believed then."""
    belief, count = Belief(lowest_level(start, by_rate), maximum), 0

    def learnt(level: float) -> bool:
        nonlocal count
        is_kept = keeps(level)
        belief.learn(level, is_kept)
        count += 1
        return is_kept

    _enclose(learnt, min(start, maximum), belief.lowest, maximum, by_rate)
    while count < MAX_LOADS and not _is_narrow(*_rounded(belief, by_rate), by_rate):
        low, high = belief.interval()
        is_wide = low == 0 or high / low > WIDE
        level = belief.quantile(0.5 if is_wide else ENDS[count % 2])
        level = min(maximum, max(belief.lowest, level))
        learnt(level if by_rate else float(round(level)))
    return belief


def lowest_level(start: float, by_rate: bool) -> float:
    """The lowest level that a search from `start` tries."""
    return start / 2**10 if by_rate else 1.0


def _enclose(keeps: Callable[[float], bool], start: float, lowest: float, maximum: float, by_rate: bool) -> None:
    level, is_kept = start, keeps(start)
    limit = maximum if is_kept else lowest
    while level != limit:
        level = min(limit, level * 2) if is_kept else max(limit, level / 2 if by_rate else level // 2)
        if keeps(level) != is_kept:
            return


def _rounded(belief: Belief, by_rate: bool) -> tuple[float, float]:
    """The interval, in whole numbers for a concurrency."""
    low, high = belief.interval()
    return (low, high) if by_rate else (math.floor(low), math.floor(high) + 1 if high < math.inf else high)


def _is_narrow(low: float, high: float, by_rate: bool) -> bool:
    return high - low <= max(PRECISION * low, 0 if by_rate else 1)


def _answer(levels: Sequence[LevelResult], likeliest: float) -> float | None:
    kept = [one.level for one in levels if one.is_kept and one.level <= likeliest]
    return max(kept, default=None)


def _try_level(load: LoadLevel, level: float, slo: Mapping[str, float], by_rate: bool) -> LevelResult:
    seen = load(level)
    records = [record for record in seen if record.error != STOPPED]
    judgement = judge_level(records, slo)
    if len(records) < len(seen):
        judgement = Judgement("broken", judgement.why + "; stopped early")
    elif by_rate and judgement.verdict == "kept" and has_backlog(seen):
        judgement = Judgement("broken", "a queue grows: requests arrive faster than they are answered")
    return LevelResult(level, judgement, len(records))


def judge_level(records: Sequence[RequestRecord], slo: Mapping[str, float]) -> Judgement:
    """Judgement of the first limit that is broken, failed requests included; else of the last limit, which is kept."""
    failed = sum(record.error is not None for record in records)
    judgements = [_judge_share("failed requests", failed, len(records), MAX_FAILED_FRACTION)]
    judgements += [_judge_limit(limit, records) for limit in limits_of(slo)]
    return next((one for one in judgements if one.verdict == "broken"), judgements[-1])


def _judge_limit(limit: Limit, records: Sequence[RequestRecord]) -> Judgement:
    """Judge one limit. A percentile is judged by the fraction of requests above the limit."""
    metric = limit.metric
    values = [value for record in records for value in _values(record, metric)]
    if metric.percentile is not None:
        above = sum(not limit.keeps(value) for value in values)
        return _judge_share(metric.name, above, len(values), 1 - metric.percentile / 100)
    if not values:
        return Judgement("broken", f"{metric.name}: no request completed")
    value = pstdev(values) if metric.statistic == "std" else fmean(values)
    return Judgement("kept" if limit.keeps(value) else "broken", limit.judge(value).message)


def _values(record: RequestRecord, metric: Metric) -> list[float]:
    """Values of the metric in one request, in seconds; infinity for a failed request."""
    return [math.inf] if record.error is not None else metric.of(record)


def _judge_share(name: str, above: int, total: int, allowed: float) -> Judgement:
    if not total:
        return Judgement("broken", f"{name}: no request completed")
    text = f"{name}: {above} of {total} above the limit, {allowed:.0%} may be"
    return Judgement("kept" if above / total <= allowed else "broken", text)


def has_backlog(records: Sequence[RequestRecord]) -> bool:
    """Whether requests took ever longer: compares the later half by start with the earlier half."""
    done = sorted((r for r in records if r.error is None), key=lambda record: record.started_s)
    half = len(done) // 2
    if half < 10:
        return False
    return fmean(r.e2el_s for r in done[-half:]) > BACKLOG_FRACTION * fmean(r.e2el_s for r in done[:half])


class SaturationWatch(SilentWatcher):
    """Counts requests above their limits while a level runs, and ends it when it can no longer keep the SLO."""

    def __init__(self, slo: Mapping[str, float], num_requests: int, left_out: Container[int] = ()) -> None:
        self.left_out = left_out
        self.allowed = {
            limit: math.floor(num_requests * (1 - limit.metric.percentile / 100))
            for limit in limits_of(slo)
            if limit.metric.percentile is not None and limit.metric.family != "itl"
        }
        self.above = dict.fromkeys(self.allowed, 0)
        self.failed, self.may_fail = 0, math.floor(num_requests * MAX_FAILED_FRACTION)

    def on_record(self, record: RequestRecord) -> None:
        if record.index in self.left_out:
            return
        self.failed += record.error is not None
        for limit in self.allowed:
            self.above[limit] += not all(map(limit.keeps, _values(record, limit.metric)))

    def stop_reason(self, moment: Moment) -> str | None:  # noqa: ARG002
        return STOPPED if self.is_hopeless() else None

    def is_hopeless(self) -> bool:
        """Whether a limit has more than twice the violations allowed, so that the level fails clearly."""
        over = (self.above[limit] > 2 * allowed + 1 for limit, allowed in self.allowed.items())
        return self.failed > 2 * self.may_fail + 1 or any(over)

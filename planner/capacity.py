"""The highest load under an SLO: doubling, then bisection, each level judged with confidence.

In: how to load the server at a level. Out: `Capacity`: the highest level that kept the SLO and the interval it lies in.
A level is loaded again while its verdict is not sure, and left at once when it can no longer keep the SLO.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal, TypeAlias

from planner.loadgen import STOPPED
from planner.metrics import RequestRecord
from planner.objective import MAX_FAILED_FRACTION
from planner.statistics import CONFIDENCE, t_interval
from planner.units import format_ms

Verdict: TypeAlias = Literal["kept", "broken"]
MAX_ATTEMPTS = 2
"""Loads of one level whose verdict is not sure; then the likelier one counts. Near the edge no number would do."""
RESOLUTION = 0.04
"""Levels closer than this are not told apart."""
BACKLOG_FRACTION = 1.5
"""In an open loop: when the second half of the requests takes so much longer than the first, a queue is growing."""

LoadLevel: TypeAlias = Callable[[float, int], Sequence[RequestRecord]]
"""Load the server at a level; the attempt's number chooses other prompts. Requests that were stopped because the level
is hopeless have the error STOPPED; the first wave of a closed loop, which arrives all at once, is left out."""


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    is_sure: bool
    why: str


@dataclass(frozen=True, slots=True)
class Level:
    """One level as it was judged."""

    level: float
    judgement: Judgement
    attempts: int
    num_requests: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """`level` is the highest that kept the SLO; None: not even the lowest did."""

    level: float | None
    low: float
    """The highest level that surely kept it."""
    high: float
    """The lowest level that surely broke it; infinite where none did."""
    levels: tuple[Level, ...]
    """In the order they were tried."""

    @property
    def num_requests(self) -> int:
        return sum(level.num_requests for level in self.levels)


def find_capacity(
    load: LoadLevel,
    slo: Mapping[str, float],
    start: float,
    maximum: float,
    by_rate: bool = False,
    on_level: Callable[[Level], None] = lambda _: None,
) -> Capacity:
    """Double from `start` until the SLO breaks (or halve until it is kept), then bisect."""
    tried: dict[float, Level] = {}

    def keeps(level: float) -> bool:
        if level not in tried:
            tried[level] = _try_level(load, level, slo, by_rate)
            on_level(tried[level])
        return tried[level].judgement.verdict == "kept"

    lowest = start / 2**10 if by_rate else 1.0
    low: float | None = None
    high = math.inf
    level = min(start, maximum)
    while True:
        if keeps(level):
            low = level
            if level >= maximum or high < math.inf:
                break
            level = min(level * 2, maximum)
        else:
            high = level
            if low is not None or level <= lowest:
                break
            level = max(lowest, level / 2 if by_rate else level // 2)
    while low is not None and high < math.inf and _apart(low, high, by_rate):
        middle = math.sqrt(low * high) if by_rate else float((low + high) // 2)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return _conclude(low, tried)


def _apart(low: float, high: float, by_rate: bool) -> bool:
    return high / low > 1 + RESOLUTION and (by_rate or high - low > 1)


def _conclude(low: float | None, tried: Mapping[float, Level]) -> Capacity:
    """The interval reaches to the nearest levels that are sure."""
    sure = [level for level in tried.values() if level.judgement.is_sure]
    kept = [x.level for x in sure if x.judgement.verdict == "kept" and (low is not None and x.level <= low)]
    broken = [x.level for x in sure if x.judgement.verdict == "broken" and (low is None or x.level > low)]
    return Capacity(low, max(kept, default=0.0), min(broken, default=math.inf), tuple(tried.values()))


def _try_level(load: LoadLevel, level: float, slo: Mapping[str, float], by_rate: bool) -> Level:
    records: list[RequestRecord] = []
    num_sent = 0
    for attempt in range(MAX_ATTEMPTS):
        seen = load(level, attempt)
        records += [record for record in seen if record.error != STOPPED]
        judgement = judge_level(records, slo)
        if len(records) < num_sent + len(seen):
            judgement = Judgement("broken", True, judgement.why + "; stopped early")
        num_sent += len(seen)
        if by_rate and judgement.verdict == "kept" and has_backlog(seen):
            judgement = Judgement("broken", True, "a queue grows: requests arrive faster than they are answered")
        if judgement.is_sure:
            break
    return Level(level, judgement, attempt + 1, len(records))


def judge_level(records: Sequence[RequestRecord], slo: Mapping[str, float]) -> Judgement:
    """The least favourable of all limits, and of the requests that failed."""
    failed = sum(record.error is not None for record in records)
    judgements = [_judge_share("failed requests", failed, len(records), MAX_FAILED_FRACTION)]
    judgements += [_judge_limit(name, limit, records) for name, limit in slo.items()]
    broken = [one for one in judgements if one.verdict == "broken"]
    if broken:
        return next((one for one in broken if one.is_sure), broken[0])
    return next((one for one in judgements[1:] if not one.is_sure), judgements[-1])


def _judge_limit(name: str, limit: float, records: Sequence[RequestRecord]) -> Judgement:
    """A percentile is a share of requests above the limit; a mean has its own interval."""
    family, _, statistic = name.partition("_")
    values = [value for record in records for value in _values(record, family)]
    if statistic.startswith("p"):
        return _judge_share(name, sum(value > limit for value in values), len(values), 1 - float(statistic[1:]) / 100)
    if not values:
        return Judgement("broken", True, f"{name}: no request completed")
    interval = t_interval(values)
    text = f"{name} is {format_ms(interval.value)}, the limit is {format_ms(limit)}"
    verdict: Verdict = "kept" if interval.value <= limit else "broken"
    return Judgement(verdict, interval.high <= limit or interval.low > limit, text)


def _values(record: RequestRecord, family: str) -> list[float]:
    """A failed request has waited for ever."""
    if record.error is not None:
        return [math.inf]
    if family == "ttft":
        return [record.ttft_s]
    if family == "e2el":
        return [record.e2el_s]
    if family == "tpot":
        return [] if record.tpot_s is None else [record.tpot_s]
    return [later - earlier for earlier, later in zip(record.chunk_s, record.chunk_s[1:], strict=False)]


def _judge_share(name: str, above: int, total: int, allowed: float) -> Judgement:
    """Wilson's interval of the share above the limit against the share that may be."""
    if not total:
        return Judgement("broken", True, f"{name}: no request completed")
    low, high = wilson(above, total)
    verdict: Verdict = "kept" if above / total <= allowed else "broken"
    text = f"{name}: {above} of {total} above the limit, {allowed:.0%} may be"
    return Judgement(verdict, high <= allowed or low > allowed, text)


def wilson(count: int, total: int) -> tuple[float, float]:
    """Interval of a share. Source: Wilson 1927, 10.1080/01621459.1927.10502953."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = count / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, centre - half), min(1.0, centre + half)


def has_backlog(records: Sequence[RequestRecord]) -> bool:
    """Whether requests took ever longer: the later half by arrival against the earlier one."""
    done = sorted((r for r in records if r.error is None), key=lambda record: record.started_s)
    half = len(done) // 2
    if half < 10:
        return False
    return fmean(r.e2el_s for r in done[-half:]) > BACKLOG_FRACTION * fmean(r.e2el_s for r in done[:half])


class SaturationWatch:
    """Counts requests above their limits while a level runs; `is_hopeless` when it can no longer keep the SLO."""

    def __init__(self, slo: Mapping[str, float], num_requests: int, left_out: Container[int] = ()) -> None:
        self.left_out = left_out
        self.allowed = {
            name: (limit, math.floor(num_requests * (1 - float(name.partition("_p")[2]) / 100)))
            for name, limit in slo.items()
            if name.partition("_p")[2] and not name.startswith("itl")
        }
        self.above = dict.fromkeys(self.allowed, 0)
        self.failed, self.may_fail = 0, math.floor(num_requests * MAX_FAILED_FRACTION)

    def see(self, record: RequestRecord) -> None:
        if record.index in self.left_out:
            return
        self.failed += record.error is not None
        for name, (limit, _) in self.allowed.items():
            self.above[name] += any(value > limit for value in _values(record, name.partition("_")[0]))

    def is_hopeless(self) -> bool:
        """Twice over what is allowed: plainly, and not by a hair."""
        over = (self.above[name] > 2 * allowed + 1 for name, (_, allowed) in self.allowed.items())
        return self.failed > 2 * self.may_fail + 1 or any(over)

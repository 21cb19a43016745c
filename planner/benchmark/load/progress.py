"""How far a load is while it runs, and how long it will take at least: `Moment` -> `Pace` -> `Projection`.

In: a load's plans and moments of it, live or from the records of one that has ended (`moments_of`). Knows nothing of
trials. Half of a request's work is its prompt, done when its first token arrives, half its answer: this is where a
closed loop's progress is steadiest, whatever the engine runs at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np

from planner.benchmark.metrics import BenchmarkResult
from planner.benchmark.records import RequestRecord
from planner.workload import ClosedLoop, RequestPlan, Workload, limit_of, shape_of

UNSEEN = 0.5
"""Of a request in flight, the most work that may be done and not seen; it is taken as done until the load has turned
over once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A load while it runs. A request that has failed counts as done."""

    elapsed_s: float
    answered: int
    """Requests whose first token has come."""
    finished: int
    input_tokens: int
    """Of the prompts that are answered, as planned."""
    output_tokens: int
    """That have arrived."""

    def __add__(self, other: Moment) -> Moment:
        """Of two shares of one load."""
        return Moment(
            elapsed_s=max(self.elapsed_s, other.elapsed_s),
            answered=self.answered + other.answered,
            finished=self.finished + other.finished,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


NOTHING = Moment(elapsed_s=0.0, answered=0, finished=0, input_tokens=0, output_tokens=0)


def ended(plan: RequestPlan) -> Moment:
    """What one request that has ended adds."""
    return Moment(
        elapsed_s=0.0,
        answered=1,
        finished=1,
        input_tokens=plan.input_tokens,
        output_tokens=plan.output_tokens,
    )


class LoadWatch(Protocol):
    """Decides whether one load has shown enough, and says what the whole of a stopped load would have been."""

    def on_record(self, record: RequestRecord) -> None:
        """Called once for each request that has ended."""

    def stop_reason(self, moment: Moment) -> str | None:
        """Called some times a second: why the load ends now, or None to go on."""

    def estimate(self, result: BenchmarkResult) -> BenchmarkResult:
        """Result of the whole load, given that of the requests that had ended when it was stopped."""


@dataclass(frozen=True, slots=True)
class Projection:
    """What a load would be as a whole, at the pace it has."""

    duration_s: float
    """At least: the last requests, which run with ever fewer beside them, are taken to be as fast as the others."""
    share: float
    """Of the work that is done."""
    since: float = 0.0
    """Share that was done when the pace began to be taken."""

    @property
    def doubt(self) -> float:
        """Standard deviation of the logarithm of the duration, in that of a load's pace from one like part to another.

        As of a Brownian bridge: the pace of the part that was seen, and that of the rest, are means over their lengths.
        """
        if self.share >= 1:
            return 0.0
        return math.sqrt((1 - self.share) * (1 - self.since) / (self.share - self.since))


class Pace:
    """Projects a load from its moments, where the pace so far says something of the rest: in a closed loop of single
    requests whose answers have the planned length. The first requests, which fill the engine, say nothing."""

    def __init__(self, workload: Workload, plans: Sequence[RequestPlan]) -> None:
        shape = shape_of(workload, plans)
        self.num_requests = len(plans)
        self.num_input_tokens = sum(plan.input_tokens for plan in plans)
        self.num_output_tokens = sum(plan.output_tokens for plan in plans)
        self.is_steady = isinstance(shape, ClosedLoop) and workload.turns == 1 and workload.ignore_eos
        self._has_ramp = isinstance(shape, ClosedLoop) and shape.ramp_s > 0
        self._width = limit_of(shape) or len(plans)
        self._full: tuple[float, float] | None = None
        """Time and share when the engine had answered as many requests as are in flight."""

    def share(self, moment: Moment) -> float:
        inputs, outputs = self.num_input_tokens, self.num_output_tokens
        return min(1.0, (moment.input_tokens / inputs + moment.output_tokens / outputs) / 2)

    def project(self, moment: Moment) -> Projection | None:
        """None while the load fills up. Moments come in their order."""
        if not self.is_steady or moment.answered < self._width or not moment.finished:
            return None
        share, in_flight = self.share(moment), self._width / self.num_requests
        if self._full is None:
            self._full = moment.elapsed_s, share
        since_s, since = self._full
        if share - since >= in_flight:
            pace = (share - since) / (moment.elapsed_s - since_s)
            return Projection(moment.elapsed_s + (1 - share) / pace, share, since)
        if self._has_ramp:
            return None
        return Projection(moment.elapsed_s / min(1.0, share + UNSEEN * in_flight), share)


# --- of a load that has ended -----------------------------------------------------------------------------------------

MOMENTS = 200
"""Of a recorded load, so many are looked at."""


def moments_of(records: Sequence[RequestRecord], plans: Sequence[RequestPlan]) -> Iterator[Moment]:
    """A load that has ended, moment by moment; `records` are those of `plans`, in their order."""
    began_s = min(record.started_s for record in records)
    ended_s = np.array([record.finished_s for record in records]) - began_s
    first_s = np.array([r.chunk_s[0] if r.chunk_s else r.finished_s for r in records]) - began_s
    inputs = np.array([plan.input_tokens for plan in plans])
    arrivals = [_arrivals(record, plan) for record, plan in zip(records, plans, strict=True)]
    arrived_s = np.concatenate([times for times, _ in arrivals]) - began_s
    order = np.argsort(arrived_s)
    arrived_s, arrived = arrived_s[order], np.cumsum(np.concatenate([tokens for _, tokens in arrivals])[order])
    for now_s in np.linspace(0, ended_s.max(), MOMENTS + 1)[1:]:
        num = int(np.searchsorted(arrived_s, now_s, side="right"))
        yield Moment(
            elapsed_s=float(now_s),
            answered=int((first_s <= now_s).sum()),
            finished=int((ended_s <= now_s).sum()),
            input_tokens=int(inputs[first_s <= now_s].sum()),
            output_tokens=round(float(arrived[num - 1])) if num else 0,
        )


def _arrivals(record: RequestRecord, plan: RequestPlan) -> tuple[np.ndarray, np.ndarray]:
    """When the planned tokens of an answer came: one with each chunk, what is left of the plan with its end."""
    chunks = record.chunk_s[: plan.output_tokens]
    tokens = np.ones(len(chunks) + 1)
    tokens[-1] = plan.output_tokens - len(chunks)
    return np.array([*chunks, record.finished_s]), tokens


def stopped_after(
    records: Sequence[RequestRecord], plans: Sequence[RequestPlan], watch: LoadWatch
) -> tuple[float, list[RequestRecord]] | None:
    """When `watch` would have stopped a load that has ended, and what had ended by then; None: it would not have."""
    began_s = min(record.started_s for record in records)
    to_see = deque(sorted(records, key=lambda record: record.finished_s))
    seen: list[RequestRecord] = []
    for moment in moments_of(records, plans):
        while to_see and to_see[0].finished_s - began_s <= moment.elapsed_s:
            seen.append(to_see.popleft())
            watch.on_record(seen[-1])
        if to_see and watch.stop_reason(moment) is not None:
            return moment.elapsed_s, seen
    return None


def pace_error(workload: Workload, records: Sequence[RequestRecord]) -> float | None:
    """By how much a finished load's projections were too long, in their `doubt`; None where there were none.

    The root of twice the mean square; those that were too short, the safe side, count as right.
    """
    if any(record.error is not None for record in records):
        return None
    plans = [RequestPlan(record.index, record.input_tokens, record.output_tokens, 0) for record in records]
    pace = Pace(workload, plans)
    duration_s = max(record.finished_s for record in records) - min(record.started_s for record in records)
    projections = [pace.project(moment) for moment in moments_of(records, plans)] if pace.is_steady else []
    errors = [
        max(0.0, math.log(projection.duration_s / duration_s)) / projection.doubt
        for projection in projections
        if projection is not None and projection.share < 1
    ]
    return math.sqrt(2 * fmean(error**2 for error in errors)) if errors else None

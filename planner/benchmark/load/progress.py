"""How far a running load is, and the least time it will take: `Moment` -> `Pace` -> `Projection`.

In: a load's plans and its moments, live or from the records of a finished load (`moments_of`). Knows nothing of
trials. Half of a request's work is its prompt, done when its first token arrives; the other half is its answer. With
this split a closed loop's progress is steadiest, whatever the engine runs at once.
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
"""Upper bound on unseen progress of an in-flight request, as a fraction of its work. Assumed in full until every slot
has been reused once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """State of a running load. A request that has failed counts as done."""

    elapsed_s: float
    answered: int
    """Number of requests whose first token has arrived."""
    finished: int
    input_tokens: int
    """Planned prompt tokens of the answered requests."""
    output_tokens: int
    """Output tokens that have arrived."""

    def __add__(self, other: Moment) -> Moment:
        """State of one load from two shares of it."""
        return Moment(
            elapsed_s=max(self.elapsed_s, other.elapsed_s),
            answered=self.answered + other.answered,
            finished=self.finished + other.finished,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


NOTHING = Moment(elapsed_s=0.0, answered=0, finished=0, input_tokens=0, output_tokens=0)


def ended(plan: RequestPlan) -> Moment:
    """What one finished request adds to the state of its load."""
    return Moment(
        elapsed_s=0.0,
        answered=1,
        finished=1,
        input_tokens=plan.input_tokens,
        output_tokens=plan.output_tokens,
    )


class LoadWatch(Protocol):
    """Decides whether one load has shown enough, and estimates the whole of a stopped load."""

    def on_record(self, record: RequestRecord) -> None:
        """Called once for each request that has ended."""

    def stop_reason(self, moment: Moment) -> str | None:
        """Called several times a second: the reason to end the load now, or None to go on."""

    def estimate(self, result: BenchmarkResult) -> BenchmarkResult:
        """Estimated result of the whole load, given the result of the requests that had ended when it was stopped."""


@dataclass(frozen=True, slots=True)
class Projection:
    """The whole load, projected from its pace so far."""

    duration_s: float
    """Lower bound on the duration: the last requests, with ever fewer beside them, are taken as fast as the others."""
    share: float
    """Fraction of the work that is done."""
    since: float = 0.0
    """Fraction of the work that was done when the pace began to be measured."""

    @property
    def doubt(self) -> float:
        """Standard deviation of the log duration, in units of the spread of a load's pace between equal parts.

        Computed as for a Brownian bridge: the paces of the part seen and of the rest are means over their lengths.
        """
        if self.share >= 1:
            return 0.0
        return math.sqrt((1 - self.share) * (1 - self.since) / (self.share - self.since))


class Pace:
    """Projects a load from its moments. The pace so far predicts the rest only in a closed loop of single requests
    whose answers have the planned length. The first requests, which fill the engine, are not used."""

    def __init__(self, workload: Workload, plans: Sequence[RequestPlan]) -> None:
        shape = shape_of(workload, plans)
        self.num_requests = len(plans)
        self.num_input_tokens = sum(plan.input_tokens for plan in plans)
        self.num_output_tokens = sum(plan.output_tokens for plan in plans)
        self.is_steady = isinstance(shape, ClosedLoop) and workload.turns == 1 and workload.ignore_eos
        self._has_ramp = isinstance(shape, ClosedLoop) and shape.ramp_s > 0
        self._width = limit_of(shape) or len(plans)
        self._full: tuple[float, float] | None = None
        """Seconds elapsed and share done when the engine had answered as many requests as are in flight."""

    def share(self, moment: Moment) -> float:
        inputs, outputs = self.num_input_tokens, self.num_output_tokens
        return min(1.0, (moment.input_tokens / inputs + moment.output_tokens / outputs) / 2)

    def project(self, moment: Moment) -> Projection | None:
        """Project the load; None while it fills up. Call it with moments in order of time."""
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
"""Number of moments, equally spaced, at which a recorded load is looked at."""


def moments_of(records: Sequence[RequestRecord], plans: Sequence[RequestPlan]) -> Iterator[Moment]:
    """Moments of a finished load in order of time; `records` belong to `plans`, in the same order."""
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
    """Arrival times of an answer's planned tokens, and their numbers: one per chunk, the rest at the end."""
    chunks = record.chunk_s[: plan.output_tokens]
    tokens = np.ones(len(chunks) + 1)
    tokens[-1] = plan.output_tokens - len(chunks)
    return np.array([*chunks, record.finished_s]), tokens


def stopped_after(
    records: Sequence[RequestRecord], plans: Sequence[RequestPlan], watch: LoadWatch
) -> tuple[float, list[RequestRecord]] | None:
    """When `watch` would have stopped a finished load, in seconds, and the requests ended by then; None: never."""
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
    """How much too long a finished load's projections were, in units of their `doubt`; None if there were none.

    The root of twice the mean square. Projections that were too short, the safe side, count as right.
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

"""Load shapes: when requests are sent. `ClosedLoop` by concurrency, `OpenLoop` by rate, `Replay` by a trace.

In: a shape, the planned requests, a seed. Out: when each is due, in seconds from the start of the load. `shape_of`
gives the shape of a workload. Knows nothing of HTTP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from planner.arrays import LazyModule
from planner.units import Seconds
from planner.workload.workload import RequestPlan, Workload

if TYPE_CHECKING:
    import numpy as np
else:
    np = LazyModule("numpy")


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`concurrency` requests in flight; each that ends is replaced by the next. They start spread over `ramp_s`."""

    concurrency: int
    ramp_s: float = 0.0


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests arrive whether or not others have ended.

    `burstiness` is vLLM's: the shape parameter of a gamma distribution of gaps. 1 is Poisson, below 1 comes in bursts,
    infinity is a constant gap. With `start_rate_per_s` the rate rises linearly from it to `rate_per_s`, reached at the
    last request.
    """

    rate_per_s: float
    burstiness: float = 1.0
    max_concurrency: int | None = None
    start_rate_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """Each request is due when its trace says, played `speed` times as fast."""

    speed: float = 1.0
    max_concurrency: int | None = None


Shape: TypeAlias = ClosedLoop | OpenLoop | Replay


def shape_of(workload: Workload, plans: Sequence[RequestPlan] = ()) -> Shape:
    """The load shape: a trace with `replay`, else the rate, else a trace if all plans have arrivals, else the loop."""
    w = workload
    if w.replay:
        return Replay(w.trace_speed, w.max_concurrency)
    if w.request_rate is not None:
        return OpenLoop(w.request_rate, w.burstiness, w.max_concurrency, w.start_rate)
    if w.replay is None and plans and all(plan.due_s is not None for plan in plans):
        return Replay(w.trace_speed, w.max_concurrency)
    return ClosedLoop(w.concurrency, w.ramp)


def due_times(shape: Shape, plans: Sequence[RequestPlan], seed: int) -> tuple[float, ...] | None:
    """When each request is due, in seconds from the start; None if each is due as soon as a slot is free."""
    count = len(plans)
    if isinstance(shape, Replay):
        return tuple((plan.due_s or 0.0) / shape.speed for plan in plans)
    if isinstance(shape, ClosedLoop):
        if not shape.ramp_s:
            return None
        joins = min(shape.concurrency, count)
        return tuple(i * shape.ramp_s / max(1, joins) for i in range(joins)) + (0.0,) * (count - joins)
    gaps = _gaps(shape, count, np.random.default_rng((seed, 3)))
    return tuple(np.cumsum(gaps).tolist())


def _gaps(shape: OpenLoop, count: int, rng: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Gaps in seconds, drawn as vllm@0.32 benchmarks/serve.py:get_request; without a ramp their sum is count/rate."""
    start = shape.rate_per_s if shape.start_rate_per_s is None else shape.start_rate_per_s
    rates = start + (shape.rate_per_s - start) * np.arange(count) / max(1, count - 1)
    drawn = np.ones(count) if math.isinf(shape.burstiness) else rng.gamma(shape.burstiness, 1 / shape.burstiness, count)
    gaps = drawn / rates
    return gaps * (count / shape.rate_per_s / gaps.sum()) if shape.start_rate_per_s is None and count else gaps


def limit_of(shape: Shape) -> int | None:
    """Most requests in flight at once; None: no limit."""
    return shape.concurrency if isinstance(shape, ClosedLoop) else shape.max_concurrency


def at_level(shape: Shape, level: float) -> Shape:
    """The shape at another level, its rate (open loop) or concurrency; without a ramp."""
    if isinstance(shape, OpenLoop):
        return OpenLoop(level, shape.burstiness, shape.max_concurrency)
    return ClosedLoop(round(level))


def workload_at(workload: Workload, level: float) -> Workload:
    """The workload at another concurrency or rate, without a ramp.

    The number of requests is scaled along: the same number per slot, or the same duration of arrivals.
    """
    if workload.replay and workload.request_rate is not None:  # the same window, played faster or slower
        speed = workload.trace_speed * level / workload.request_rate
        return msgspec.structs.replace(workload, request_rate=level, trace_speed=speed)
    count = max(1, round(workload.num_requests * level / (workload.request_rate or workload.concurrency)))
    if workload.request_rate is not None:
        return msgspec.structs.replace(workload, request_rate=level, start_rate=None, num_requests=count)
    return msgspec.structs.replace(workload, concurrency=round(level), ramp=Seconds(0.0), num_requests=count)


def sweep(shape: Shape, levels: Sequence[float]) -> tuple[Shape, ...]:
    """The shape at each distinct level, lowest first."""
    return tuple(at_level(shape, level) for level in sorted(set(levels)))


def in_words(shape: Shape) -> str:
    if isinstance(shape, ClosedLoop):
        ramp = f", all joined after {shape.ramp_s:g} s" if shape.ramp_s else ""
        return f"closed loop, {shape.concurrency} in flight{ramp}"
    limit = "" if shape.max_concurrency is None else f", at most {shape.max_concurrency} in flight"
    if isinstance(shape, Replay):
        return f"as the trace sent them, {shape.speed:g} times as fast{limit}"
    kind = {1.0: "Poisson", math.inf: "constant gaps"}.get(shape.burstiness, f"burstiness {shape.burstiness:g}")
    start = "" if shape.start_rate_per_s is None else f"{shape.start_rate_per_s:g} rising to "
    return f"open loop, {start}{shape.rate_per_s:g} requests/s ({kind}){limit}"

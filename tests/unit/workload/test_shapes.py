"""When requests are due."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.workload.shapes import (
    ClosedLoop,
    OpenLoop,
    Replay,
    at_level,
    due_times,
    in_words,
    limit_of,
    shape_of,
    sweep,
)
from planner.workload.workload import RequestPlan, Workload


def plans(count: int, arrivals_s: tuple[float, ...] = ()) -> list[RequestPlan]:
    return [RequestPlan(i, 8, 4, 0, due_s=arrivals_s[i] if arrivals_s else None) for i in range(count)]


def test_a_closed_loop_has_no_times_but_for_its_ramp() -> None:
    assert due_times(ClosedLoop(4), plans(10), 0) is None
    assert due_times(ClosedLoop(4, ramp_s=2.0), plans(6), 0) == (0.0, 0.5, 1.0, 1.5, 0.0, 0.0)


def test_constant_gaps() -> None:
    assert due_times(OpenLoop(4.0, math.inf), plans(3), 0) == pytest.approx((0.25, 0.5, 0.75))


@pytest.mark.parametrize("burstiness", [0.3, 1.0, 5.0, math.inf])
def test_the_rate_is_exact_over_the_run(burstiness: float) -> None:
    times = due_times(OpenLoop(8.0, burstiness), plans(400), 1)
    assert times is not None
    assert times[-1] == pytest.approx(400 / 8.0)
    assert list(times) == sorted(times)


def test_burstiness_is_the_spread_of_gaps() -> None:
    def spread(burstiness: float) -> float:
        gaps = np.diff(due_times(OpenLoop(1.0, burstiness), plans(5000), 2) or ())
        return float(gaps.std() / gaps.mean())

    assert spread(1.0) == pytest.approx(1.0, abs=0.05)  # Poisson
    assert spread(4.0) == pytest.approx(0.5, abs=0.05)  # a gamma of shape k has 1/sqrt(k)
    assert spread(0.25) == pytest.approx(2.0, abs=0.2)


def test_arrivals_are_the_seeds() -> None:
    shape = OpenLoop(3.0)
    assert due_times(shape, plans(20), 5) == due_times(shape, plans(20), 5)
    assert due_times(shape, plans(20), 5) != due_times(shape, plans(20), 6)


def test_a_ramp_ends_at_the_rate() -> None:
    times = due_times(OpenLoop(10.0, math.inf, start_rate_per_s=1.0), plans(10), 0)
    assert times is not None
    assert (times[0], times[-1] - times[-2]) == (pytest.approx(1.0), pytest.approx(0.1))


def test_a_trace_is_replayed() -> None:
    assert due_times(Replay(speed=2.0), plans(3, (0.0, 1.0, 4.0)), 0) == (0.0, 0.5, 2.0)


def test_a_workload_has_a_shape() -> None:
    def of(*arrivals_s: float, **keys: object) -> object:
        asked = Workload(concurrency=5, num_requests=2, **keys)  # type: ignore[arg-type]
        return shape_of(asked, plans(len(arrivals_s), arrivals_s))

    assert of() == ClosedLoop(5)
    assert of(ramp=2.0) == ClosedLoop(5, 2.0)
    assert of(request_rate=2.0, burstiness=0.5, max_concurrency=9, start_rate=1.0) == OpenLoop(2.0, 0.5, 9, 1.0)
    assert of(0.0, 2.5, trace_speed=3.0, max_concurrency=2) == Replay(3.0, 2)
    assert of(0.0, 2.5, request_rate=2.0) == OpenLoop(2.0), "a rate is asked for, whatever the trace had"


def test_sweeps_and_levels() -> None:
    assert sweep(ClosedLoop(9, 3.0), [4, 1, 4]) == (ClosedLoop(1), ClosedLoop(4))
    assert sweep(OpenLoop(1.0, 2.0), [0.5]) == (OpenLoop(0.5, 2.0),)
    assert at_level(ClosedLoop(4), 7.0) == ClosedLoop(7)
    assert at_level(OpenLoop(4.0, 2.0, 9), 7.5) == OpenLoop(7.5, 2.0, 9)


def test_limits_and_words() -> None:
    assert (limit_of(ClosedLoop(3)), limit_of(OpenLoop(1.0)), limit_of(Replay(max_concurrency=2))) == (3, None, 2)
    assert in_words(ClosedLoop(8)) == "closed loop, 8 in flight"
    assert in_words(OpenLoop(2.5)) == "open loop, 2.5 requests/s (Poisson)"
    assert in_words(OpenLoop(2.0, math.inf, 4)) == "open loop, 2 requests/s (constant gaps), at most 4 in flight"

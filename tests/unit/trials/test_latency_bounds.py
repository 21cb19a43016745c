"""What the latencies of a load must come to at least, while it runs."""

from __future__ import annotations

import random

import pytest

from planner.benchmark.metric import LATENCIES
from planner.benchmark.metrics import summarize
from planner.benchmark.records import RequestRecord
from planner.trials.latency_bounds import RISING, Bounds, has_bound
from planner.workload.workload import RequestPlan

NAMES = [f"{latency}_{statistic}" for latency in LATENCIES for statistic in RISING]


def a_load(seed: int, count: int = 40, failing: int = 0) -> tuple[list[RequestPlan], list[RequestRecord]]:
    rng = random.Random(seed)
    plans = [RequestPlan(i, 8, rng.randint(1, 6), 0) for i in range(count)]
    records = []
    for plan in plans:
        started_s, gaps = rng.random(), [rng.expovariate(1.0) for _ in range(plan.output_tokens)]
        chunk_s = tuple(started_s + sum(gaps[: i + 1]) for i in range(len(gaps)))
        fails = plan.index < failing
        records.append(
            RequestRecord(
                index=plan.index,
                started_s=started_s,
                chunk_s=() if fails else chunk_s,
                finished_s=chunk_s[-1],
                input_tokens=8,
                output_tokens=0 if fails else plan.output_tokens,
                error="http 500" if fails else None,
            )
        )
    return plans, sorted(records, key=lambda record: record.finished_s)


@pytest.mark.parametrize("failing", [0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_bound_rises_to_the_final_value_and_never_beyond(seed: int, failing: int) -> None:
    plans, records = a_load(seed, failing=failing)
    final, bounds, before = summarize(records).metrics, Bounds(plans, NAMES), dict.fromkeys(NAMES, 0.0)
    for record in records:
        bounds.see(record)
        for name in NAMES:
            assert before[name] - 1e-12 <= bounds.least(name) <= final[name] + 1e-12
            before[name] = bounds.least(name)
    if not failing:  # of requests that failed the bound still allows for the fastest answer
        for name in ("ttft_mean", "ttft_p50", "e2el_p95", "itl_mean", "itl_p99"):
            assert bounds.least(name) == pytest.approx(final[name])


def test_a_percentile_is_broken_by_as_many_as_it_leaves_out() -> None:
    """Of 100 requests five may be above the 95th percentile, and the sixth cannot."""
    plans = [RequestPlan(i, 8, 2, 0) for i in range(100)]
    bounds = Bounds(plans, ["ttft_p95"])
    seen = []
    for i in range(6):
        bounds.see(
            RequestRecord(index=i, started_s=0.0, chunk_s=(3.0, 3.1), finished_s=3.1, input_tokens=8, output_tokens=2)
        )
        seen.append(bounds.least("ttft_p95") > 2.0)
    assert seen == [False] * 5 + [True]


def test_failures_are_final() -> None:
    plans, records = a_load(0, failing=3)
    bounds = Bounds(plans, [])
    for record in records:
        bounds.see(record)
    assert bounds.fails  # 3 of 40 are more than 5 %
    assert not Bounds(plans, []).fails


def test_only_what_cannot_fall_has_a_bound() -> None:
    assert all(map(has_bound, NAMES))
    assert not any(map(has_bound, ["ttft_std", "output_throughput", "weights_gib"]))

"""The search on servers whose capacity is known, and the verdict on a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from planner.capacity import (
    SaturationWatch,
    find_capacity,
    has_backlog,
    judge_level,
    wilson,
)
from planner.loadgen import STOPPED
from planner.metrics import RequestRecord
from planner.simulated.run import simulate_load, start_engine
from planner.workload import Workload

SLO = {"ttft_p95": 1.0}
E2EL_LIMIT_S = 12.0


def record(index: int = 0, ttft_s: float = 0.5, started_s: float = 0.0, error: str | None = None) -> RequestRecord:
    first_s = started_s + ttft_s
    return RequestRecord(
        index=index, started_s=started_s, chunk_s=(first_s, first_s + 0.1), finished_s=first_s + 0.1, input_tokens=8,
        output_tokens=2, finish_reason="length", error=error,
    )  # fmt: skip


def a_server(capacity: float, spread: float = 0.0, num: int = 100) -> Callable[[float, int], Sequence[RequestRecord]]:
    """TTFT p95 is 1 s at `capacity` and grows with the level; with a spread each request has its own."""

    def load(level: float, attempt: int) -> Sequence[RequestRecord]:
        rng = np.random.default_rng((int(level * 1000), attempt))
        noise = rng.normal(0.0, spread, num)
        return [record(i, max(0.01, level / capacity * 0.999 + noise[i])) for i in range(num)]

    return load


@pytest.mark.parametrize("capacity", [1, 2, 3, 7, 8, 9, 31, 100, 777])
def test_the_known_concurrency_is_found(capacity: int) -> None:
    found = find_capacity(a_server(capacity), SLO, 8, 4096)
    assert found.level is not None
    assert capacity * 0.95 <= found.level <= capacity
    assert found.low <= found.level < found.high


@pytest.mark.parametrize("rate", [0.07, 0.9, 4.3, 250.0])
def test_the_known_rate_is_found(rate: float) -> None:
    found = find_capacity(a_server(rate), SLO, 2.0, 10_000, by_rate=True)
    assert found.level == pytest.approx(rate, rel=0.05)
    assert found.level <= rate


def test_none_keeps_it_and_all_keep_it() -> None:
    never = find_capacity(a_server(0.5), SLO, 8, 64)
    assert (never.level, never.high) == (None, 1.0)
    always = find_capacity(a_server(1e6), SLO, 8, 64)
    assert (always.level, always.high) == (64.0, math.inf)


def test_noise_widens_the_interval_and_asks_again() -> None:
    found = find_capacity(a_server(40, spread=0.2), SLO, 8, 4096)
    assert found.level is not None
    assert found.low <= found.level < found.high
    assert any(level.attempts > 1 for level in found.levels)


def test_a_level_that_was_stopped_is_surely_broken() -> None:
    def load(level: float, attempt: int) -> Sequence[RequestRecord]:  # noqa: ARG001
        return [record(0, 0.1), record(1, error=STOPPED)] if level > 4 else [record(i) for i in range(100)]

    found = find_capacity(load, SLO, 2, 64)
    assert found.level == 4
    assert all(level.judgement.is_sure for level in found.levels)
    assert "stopped early" in next(level.judgement.why for level in found.levels if level.level == 5)


def test_a_growing_queue_breaks_a_rate() -> None:
    def load(level: float, attempt: int) -> Sequence[RequestRecord]:  # noqa: ARG001
        growth = 0.0 if level <= 3 else 0.005
        return [record(i, 0.1 + growth * i, started_s=float(i)) for i in range(100)]

    found = find_capacity(load, SLO, 1.0, 100, by_rate=True)
    assert found.level == pytest.approx(3.0, rel=0.05)
    assert any("queue grows" in level.judgement.why for level in found.levels)
    assert has_backlog([record(i, 0.1 + 0.01 * i, started_s=float(i)) for i in range(40)])
    assert not has_backlog([record(i, started_s=float(i)) for i in range(40)])


def test_verdicts() -> None:
    assert judge_level([record() for _ in range(100)], SLO).is_sure
    few = judge_level([record() for _ in range(10)], SLO)
    assert (few.verdict, few.is_sure) == ("kept", False)  # none of 10 is no proof of 95 %
    mixed = [record(ttft_s=2.0)] * 30 + [record()] * 70
    assert judge_level(mixed, SLO).verdict == "broken"
    assert "30 of 100 above the limit, 5% may be" in judge_level(mixed, SLO).why
    assert judge_level([], SLO).verdict == "broken"
    assert judge_level([record() for _ in range(100)], {"ttft_mean": 0.4}).verdict == "broken"
    assert judge_level([record() for _ in range(100)], {"itl_p99": 0.2}).verdict == "kept"


def test_failed_requests_break_a_level() -> None:
    failed = [record()] * 80 + [record(error="http 500")] * 20
    assert judge_level(failed, {"tpot_p50": 9.0}).verdict == "broken"


def test_wilson_by_hand() -> None:
    assert wilson(0, 100) == (0.0, pytest.approx(0.0370, abs=1e-4))
    assert wilson(5, 100) == (pytest.approx(0.0215, abs=1e-4), pytest.approx(0.1118, abs=1e-4))


def test_the_watch_stops_only_what_is_plainly_lost() -> None:
    watch = SaturationWatch(SLO, 100, left_out={7})
    for _ in range(11):
        watch.see(record(ttft_s=9.0))
        watch.see(record(7, ttft_s=9.0))
    assert not watch.is_hopeless()
    watch.see(record(ttft_s=9.0))
    assert watch.is_hopeless()
    failing = SaturationWatch(SLO, 100)
    for _ in range(12):
        failing.see(record(error="http 500"))
    assert failing.is_hopeless()


def test_the_simulated_servers_capacity(make_problem: Callable[..., object]) -> None:
    """Against a scan of every level: within 5 %, for less than half of the requests."""
    problem = make_problem()
    deployment = problem.deployment(problem.default)  # type: ignore[attr-defined]

    def load(level: float, attempt: int) -> Sequence[RequestRecord]:
        workload = Workload(
            concurrency=int(level), num_requests=5 * int(level) + 20, input_tokens=512, output_tokens=32, seed=attempt,
            warmup_requests=0,
        )  # fmt: skip
        engine = start_engine(deployment, problem.spec.hardware.interconnect, attempt)  # type: ignore[attr-defined]
        records, _ = simulate_load([engine], workload)
        return [one for one in records if one.index >= int(level)]  # without the first wave

    def load_until_hopeless(level: float, attempt: int) -> Sequence[RequestRecord]:
        """As `bench_command.level_loader`: what has not ended by then is stopped."""
        records = load(level, attempt)
        watch = SaturationWatch(slo, len(records))
        seen: list[RequestRecord] = []
        for one in sorted(records, key=lambda record: record.finished_s):
            seen.append(replace(one, error=STOPPED) if watch.is_hopeless() else one)
            watch.see(one)
        return seen

    slo = {"e2el_p95": E2EL_LIMIT_S}
    num_scanned, capacity = 0, 0
    for level in range(1, 129):
        seen = load(float(level), 0)
        num_scanned += len(seen)
        if judge_level(seen, slo).verdict == "broken":
            break
        capacity = level
    assert 30 < capacity < 128, "the limit must be reached for this test to say anything"
    found = find_capacity(load_until_hopeless, slo, 8, 4096)
    assert found.level == pytest.approx(capacity, rel=0.05)
    assert found.num_requests < num_scanned / 2

"""The search on servers whose capacity is known, and the verdict on a level."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from planner.benchmark.capacity.search import (
    MAX_LOADS,
    LoadLevel,
    SaturationWatch,
    find_capacity,
    has_backlog,
    judge_level,
)
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.records import RequestRecord
from planner.benchmark.view import capacity_table
from planner.simulated.load import simulate_load
from planner.simulated.start import start_engine
from planner.workload.workload import Workload

SLO = {"ttft_p95": 1.0}
E2EL_LIMIT_S = 24.0


def record(index: int = 0, ttft_s: float = 0.5, started_s: float = 0.0, error: str | None = None) -> RequestRecord:
    first_s = started_s + ttft_s
    return RequestRecord(
        index=index, started_s=started_s, chunk_s=(first_s, first_s + 0.1), finished_s=first_s + 0.1, input_tokens=8,
        output_tokens=2, finish_reason="length", error=error,
    )  # fmt: skip


def a_server(capacity: float, spread: float = 0.0, num: int = 100) -> LoadLevel:
    """TTFT p95 is 1 s at `capacity` and grows with the level; with a spread each request has its own."""

    rng = np.random.default_rng(int(capacity * 1000))

    def load(level: float) -> Sequence[RequestRecord]:
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
    assert found.level <= 1.002 * rate


def test_none_keeps_it_and_all_keep_it() -> None:
    never = find_capacity(a_server(0.5), SLO, 8, 64)
    assert (never.level, never.high) == (None, 1.0)
    always = find_capacity(a_server(1e6), SLO, 8, 64)
    assert (always.level, always.high) == (64.0, math.inf)


def moody(capacity: float, spread: float, seed: int) -> LoadLevel:
    """A server whose every load has a pace of its own, as on a machine that others use too."""
    rng = np.random.default_rng(seed)

    def load(level: float) -> Sequence[RequestRecord]:
        pace = rng.lognormal(0.0, spread)
        return [record(i, level / capacity * pace) for i in range(10)]

    return load


@pytest.mark.parametrize(("spread", "widest"), [(0.01, 1.2), (0.1, 1.8), (0.3, 2.2)])
def test_the_interval_holds_the_capacity_and_two_searches_agree(spread: float, widest: float) -> None:
    """Of 24 pairs of searches on a noisy server; 95 of 100 intervals are promised."""
    held, agreed, widths = 0, 0, []
    for seed in range(24):
        one, two = (find_capacity(moody(40.5, spread, 2 * seed + i), SLO, 8, 4096) for i in range(2))
        held += (one.low <= 40 < one.high) + (two.low <= 40 < two.high)
        agreed += one.low < two.high and two.low < one.high
        widths.append(one.high / one.low)
    assert held >= 0.9 * 48
    assert agreed >= 0.95 * 24
    assert np.median(widths) < widest, "an interval that holds everything would say nothing"


def test_a_quiet_server_is_known_within_the_precision() -> None:
    found = find_capacity(a_server(40), SLO, 8, 4096)
    assert found.level in (39, 40)
    assert found.low <= 40 < found.high
    assert found.high - found.low <= 4
    assert len(found.levels) < MAX_LOADS


def test_a_load_at_a_bad_moment_is_made_up_for() -> None:
    """One load of a level that is kept at other times."""
    calm, seen = a_server(100), []

    def load(level: float) -> Sequence[RequestRecord]:
        seen.append(level)
        return [record(ttft_s=9.0)] * 100 if len(seen) == 3 else calm(level)

    found = find_capacity(load, SLO, 8, 4096)
    assert seen[2] == 32
    assert found.level == pytest.approx(100, rel=0.05)
    assert found.low <= 100 < found.high


def test_a_server_that_changes_for_good_is_noticed() -> None:
    """As when another program starts on the machine."""
    before, after, seen = a_server(40), a_server(3), []

    def load(level: float) -> Sequence[RequestRecord]:
        seen.append(level)
        return (before if len(seen) <= 5 else after)(level)

    found = find_capacity(load, SLO, 8, 4096)
    assert not found.is_steady
    assert any("speed changed" in note for note in capacity_table(found, "concurrency").notes)
    assert find_capacity(a_server(40), SLO, 8, 4096).is_steady


def test_a_level_that_was_stopped_is_broken() -> None:
    def load(level: float) -> Sequence[RequestRecord]:
        return [record(0, 0.1), record(1, error=STOPPED)] if level > 4 else [record(i) for i in range(100)]

    found = find_capacity(load, SLO, 2, 64)
    assert found.level == 4
    assert "stopped early" in next(level.judgement.why for level in found.levels if level.level == 5)


def test_a_growing_queue_breaks_a_rate() -> None:
    def load(level: float) -> Sequence[RequestRecord]:
        growth = 0.0 if level <= 3 else 0.005
        return [record(i, 0.1 + growth * i, started_s=float(i)) for i in range(100)]

    found = find_capacity(load, SLO, 1.0, 100, by_rate=True)
    assert found.level == pytest.approx(3.0, rel=0.05)
    assert any("queue grows" in level.judgement.why for level in found.levels)
    assert has_backlog([record(i, 0.1 + 0.01 * i, started_s=float(i)) for i in range(40)])
    assert not has_backlog([record(i, started_s=float(i)) for i in range(40)])


def test_verdicts() -> None:
    assert judge_level([record() for _ in range(100)], SLO).verdict == "kept"
    assert judge_level([record(ttft_s=2.0)] * 5 + [record()] * 95, SLO).verdict == "kept"
    mixed = [record(ttft_s=2.0)] * 30 + [record()] * 70
    assert judge_level(mixed, SLO).verdict == "broken"
    assert "30 of 100 above the limit, 5% may be" in judge_level(mixed, SLO).why
    assert judge_level([], SLO).verdict == "broken"
    assert judge_level([record() for _ in range(100)], {"ttft_mean": 0.4}).verdict == "broken"
    assert judge_level([record(), record(ttft_s=0.9)] * 50, {"ttft_std": 0.1}).verdict == "broken"
    assert judge_level([record() for _ in range(100)], {"itl_p99": 0.2}).verdict == "kept"


def test_failed_requests_break_a_level() -> None:
    failed = [record()] * 80 + [record(error="http 500")] * 20
    assert judge_level(failed, {"tpot_p50": 9.0}).verdict == "broken"


def test_the_watch_stops_only_what_is_plainly_lost() -> None:
    watch = SaturationWatch(SLO, 100, left_out={7})
    for _ in range(11):
        watch.on_record(record(ttft_s=9.0))
        watch.on_record(record(7, ttft_s=9.0))
    assert not watch.is_hopeless()
    watch.on_record(record(ttft_s=9.0))
    assert watch.is_hopeless()
    failing = SaturationWatch(SLO, 100)
    for _ in range(12):
        failing.on_record(record(error="http 500"))
    assert failing.is_hopeless()


def test_the_simulated_servers_capacity(make_problem: Callable[..., object]) -> None:
    """Against a scan of every level: within 5 %, for less than half of the requests."""
    problem = make_problem()
    deployment = problem.deployment(problem.default)  # type: ignore[attr-defined]

    seeds = itertools.count()

    def load(level: float) -> Sequence[RequestRecord]:
        seed = next(seeds)
        workload = Workload(
            concurrency=int(level), num_requests=5 * int(level) + 20, input_tokens=512, output_tokens=32, seed=seed,
            warmup_requests=0,
        )  # fmt: skip
        engine = start_engine(deployment, seed)
        records, _ = simulate_load([engine], workload)
        return [one for one in records if one.index >= int(level)]  # without the first wave

    def load_until_hopeless(level: float) -> Sequence[RequestRecord]:
        """As `loads.LevelLoader`: what has not ended by then is stopped."""
        records = load(level)
        watch = SaturationWatch(slo, len(records))
        seen: list[RequestRecord] = []
        for one in sorted(records, key=lambda record: record.finished_s):
            seen.append(replace(one, error=STOPPED) if watch.is_hopeless() else one)
            watch.on_record(one)
        return seen

    slo = {"e2el_p95": E2EL_LIMIT_S}
    num_scanned, capacity = 0, 0
    for level in range(1, 129):
        seen = load(float(level))
        num_scanned += len(seen)
        if judge_level(seen, slo).verdict == "broken":
            break
        capacity = level
    assert 30 < capacity < 128, "the limit must be reached for this test to say anything"
    found = find_capacity(load_until_hopeless, slo, 8, 4096)
    assert found.level == pytest.approx(capacity, rel=0.05)
    assert found.low <= capacity < found.high
    assert found.num_requests < num_scanned / 2

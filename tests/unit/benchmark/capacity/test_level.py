"""The most load within one launch: known capacities are found in few levels, each judged as it was seen."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from planner.benchmark.capacity.level import MOST_LEVELS, Level, level_of, open_level, within
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.records import RequestRecord

LIMITS = {"ttft_p95": 2.0, "tpot_p95": 0.05}
MAXIMUM = 4096.0


def server(capacity: float, noise: float, seed: int) -> Callable[[float], Level]:
    """A server whose TPOT grows with the load and meets its limit at `capacity`, a bit elsewhere in each load."""
    rng = random.Random(seed)

    def load(level: float) -> Level:
        here = capacity * math.exp(rng.gauss(0.0, noise))
        return Level(level, 200, 0, {"ttft_p95": 0.2, "tpot_p95": 0.05 * level / here})

    return load


def searched(load: Callable[[float], Level], start: float, by_rate: bool) -> list[Level]:
    levels, level = list[Level](), start
    while len(levels) < MOST_LEVELS:
        levels.append(load(level))
        found = within(levels, LIMITS, MAXIMUM, by_rate)
        assert found is not None
        if found.is_narrow(0.25, by_rate):
            break
        level = found.next
    return levels


@pytest.mark.parametrize("capacity", [5.0, 37.0, 210.0])
@pytest.mark.parametrize("by_rate", [False, True])
def test_a_known_capacity_lies_in_its_interval_after_few_levels(capacity: float, by_rate: bool) -> None:
    counts, held, errors = [], 0, []
    for seed in range(20):
        start = capacity * math.exp(random.Random(1000 + seed).gauss(0.0, 0.25))
        levels = searched(server(capacity, 0.03, seed), start if by_rate else max(1.0, float(round(start))), by_rate)
        found = within(levels, LIMITS, MAXIMUM, by_rate)
        assert found is not None
        assert found.value is not None
        counts.append(len(levels))
        held += found.low <= capacity <= found.high
        errors.append(abs(math.log(found.value / capacity)))
    assert held >= 18
    assert sum(counts) / len(counts) <= 5.5
    assert sorted(errors)[10] <= 0.05  # less than twice the noise of one load


def test_a_limit_that_every_load_breaks_ends_at_the_lowest() -> None:
    levels = searched(server(0.5, 0.0, 0), 4.0, by_rate=False)
    found = within(levels, LIMITS, MAXIMUM, by_rate=False)
    assert found is not None
    assert (levels[-1].load, found.value, found.is_enclosed) == (1.0, None, True)


def test_a_limit_that_no_load_breaks_ends_at_the_highest() -> None:
    levels = [Level(4096.0, 9, 0, {"ttft_p95": 1.0, "tpot_p95": 0.01})]
    found = within(levels, LIMITS, MAXIMUM, by_rate=False)
    assert found is not None
    assert (found.value, found.is_enclosed, found.high) == (4096.0, True, math.inf)
    assert not found.is_narrow(0.25, by_rate=False)


def test_nothing_is_said_without_levels_or_of_a_metric_that_none_has() -> None:
    assert within([], LIMITS, MAXIMUM, by_rate=False) is None
    assert within([Level(4.0, 9, 0, {"ttft_p95": 1.0})], {"tpot_p95": 1.0}, MAXIMUM, by_rate=False) is None


def record(index: int, ttft_s: float, error: str | None = None, started_s: float = 0.0) -> RequestRecord:
    chunks = (started_s + ttft_s, started_s + ttft_s + 0.1)
    return RequestRecord(
        index=index,
        started_s=started_s,
        chunk_s=chunks,
        finished_s=chunks[-1],
        input_tokens=8,
        output_tokens=2,
        error=error,
    )


def test_a_whole_level_is_judged_by_its_percentiles_and_its_failures() -> None:
    level = level_of(4.0, [record(i, 1.0 + i / 100) for i in range(100)], 100)
    assert level.metrics["ttft_p95"] == pytest.approx(1.9405)
    assert level.keeps({"ttft_p95": 1.95}) is True
    assert level.keeps({"ttft_p95": 1.94}) is False
    assert level.room({"ttft_p95": 1.9405 * math.e}) == pytest.approx(1.0, abs=1e-4)
    failing = level_of(4.0, [record(i, 1.0, "timeout" if i < 6 else None) for i in range(100)], 100)
    assert failing.keeps({"ttft_p95": 9.0}) is False


def test_a_stopped_level_says_only_what_the_rest_cannot_undo() -> None:
    seen = [record(i, 3.0) for i in range(12)] + [record(90 + i, 9.0, STOPPED) for i in range(3)]
    level = level_of(4.0, seen, 100)
    assert level.share == pytest.approx(0.12)
    assert level.keeps({"ttft_p95": 2.0}) is False  # twelve of a hundred are above it, whatever is still to come
    assert level.keeps({"ttft_p95": 4.0}) is None
    assert level.keeps({"ttft_p50": 2.0}) is None
    whole = level_of(4.0, [*seen[:12], *(record(i, 0.5) for i in range(12, 100))], 100)
    assert all(level.metrics[name] <= whole.metrics[name] for name in level.metrics)


def test_a_level_without_a_single_answer_is_broken() -> None:
    level = level_of(4.0, [record(0, 1.0, "timeout")], 1)
    assert (level.metrics, level.keeps(LIMITS), level.room(LIMITS)) == ({}, False, None)


def test_a_growing_queue_breaks_a_rate() -> None:
    steady = [record(i, 0.2, started_s=i) for i in range(40)]
    assert open_level(1.0, steady, 40).keeps({"ttft_p95": 60.0}) is True
    growing = [record(i, 0.2 + i, started_s=i) for i in range(40)]
    assert open_level(1.0, growing, 40).keeps({"ttft_p95": 60.0}) is False

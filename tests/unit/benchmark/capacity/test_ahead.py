"""The loads ahead of a search are those that it then tries, and the time left is what they then take."""

from __future__ import annotations

import pytest

from planner.benchmark.capacity.ahead import LoadsAhead
from planner.benchmark.capacity.search import search


class Clock:
    """A clock of its own."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def followed(capacity: float, by_rate: bool = False) -> tuple[list[tuple[int, float | None]], list[float], float]:
    """Loads and seconds said to be ahead after each load, the levels that were tried, and the seconds of a load."""
    clock, took_s = Clock(), 12.0
    ahead, said, tried = LoadsAhead(8.0, 4096.0, by_rate, clock), list[tuple[int, float | None]](), list[float]()

    def keeps(level: float) -> bool:
        tried.append(level)
        clock.now_s += took_s
        ahead.ended(level, level <= capacity)
        said.append((len(ahead.levels()), ahead.left_s))
        return level <= capacity

    ahead.begins()
    search(keeps, 8.0, 4096.0, by_rate)
    return said, tried, took_s


@pytest.mark.parametrize(("capacity", "by_rate"), [(3, False), (37, False), (700, False), (5.5, True)])
def test_the_count_is_near_from_the_moment_the_capacity_is_enclosed(capacity: float, by_rate: bool) -> None:
    said, tried, took_s = followed(capacity, by_rate)
    kept = [level <= capacity for level in tried]
    enclosed = next(i for i in range(1, len(kept)) if kept[i] != kept[0])
    for done in range(enclosed, len(tried)):
        left = len(tried) - done - 1
        assert abs(said[done][0] - left) <= 5
        assert said[done][1] == pytest.approx(said[done][0] * took_s)
    assert said[-1] == (0, 0.0)


def test_the_time_left_counts_down_and_is_of_the_nearest_level() -> None:
    clock = Clock()
    ahead = LoadsAhead(8.0, 4096.0, False, clock)
    assert (ahead.left_s, ahead.words) == (None, "time left not known yet")
    assert ahead.stage(8) == "load 1, concurrency 8, time left not known yet"
    for level, is_kept, took_s in ((8.0, True, 10.0), (16.0, False, 40.0)):
        ahead.begins()
        clock.now_s += took_s
        ahead.ended(level, is_kept)
    levels = ahead.levels()
    near_8 = sum(abs(level - 8) < abs(level - 11.31) or level < 11.31 for level in levels)
    expected_s = near_8 * 10.0 + (len(levels) - near_8) * 40.0
    assert ahead.left_s == pytest.approx(expected_s)
    clock.now_s += 7.0
    assert ahead.left_s == pytest.approx(expected_s - 7.0)
    assert ahead.words.endswith(f"left, some {len(levels)} loads")
    assert ahead.stage(12.0).startswith("load 3, concurrency 12, about ")

"""The trend of a memory: planted growth is found, noise, steps and a settling start are not growth."""

from __future__ import annotations

import numpy as np
import pytest

from planner.service.verify.growth import Growth, MemoryReading, growth_of, sen_slope
from planner.units import GIB, MIB

SECONDS = 1800.0


def judged(used: np.ndarray, free: float = 10 * GIB) -> Growth:
    at = np.linspace(0, SECONDS, len(used))
    return growth_of([MemoryReading(float(a), float(u), free) for a, u in zip(at, used, strict=True)])


def noise(count: int = 240, size: float = 4 * MIB) -> np.ndarray:
    return np.random.default_rng(1).normal(0, size, count)


def test_planted_growth_is_found_with_its_size() -> None:
    found = judged(2 * GIB + np.linspace(0, 200 * MIB, 240) + noise())
    assert found.verdict == "grows"
    assert found.low < 200 * MIB / SECONDS < found.high
    assert found.slope == pytest.approx(200 * MIB / SECONDS, rel=0.05)
    assert found.full_in_s == pytest.approx(10 * GIB / found.slope)
    assert found.seconds == pytest.approx(SECONDS * 2 / 3, rel=0.01)


def test_growth_that_would_take_longer_than_a_month_is_slow() -> None:
    used = 2 * GIB + np.linspace(0, 60 * MIB, 240) + noise()
    assert judged(used, 50 * GIB).verdict == "grows"
    assert judged(used, 1000 * GIB).verdict == "grows slowly"


@pytest.mark.parametrize(
    "used",
    [
        np.full(240, 2.0 * GIB),
        2 * GIB + noise(),
        2 * GIB + 500 * MIB * (1 - np.exp(-np.linspace(0, 30, 240))),  # it fills its caches and stops
        2 * GIB + np.where(np.arange(240) < 150, 0, 100 * MIB) + noise(),  # the allocator takes one more block
        2 * GIB - np.linspace(0, 200 * MIB, 240),
        2 * GIB + np.linspace(0, 1 * MIB, 240),  # certain, and nothing
    ],
    ids=["flat", "noise", "settles", "one step", "falls", "next to nothing"],
)
def test_what_is_no_growth(used: np.ndarray) -> None:
    found = judged(used)
    assert (found.verdict in {"steady", "rose once"}, found.full_in_s) == (True, None)


def test_growth_in_many_steps_is_growth() -> None:
    assert judged(2 * GIB + np.arange(240) // 20 * 30 * MIB + noise()).verdict == "grows"
    assert judged(2 * GIB + np.where(np.arange(240) < 150, 0, 100 * MIB) + noise()).verdict == "rose once"


def test_a_few_readings_tell_nothing() -> None:
    found = judged(np.linspace(1, 2, 8) * GIB)
    assert found.verdict == "cannot tell"
    assert (found.first_bytes, found.last_bytes, found.peak_bytes) == (GIB, 2 * GIB, 2 * GIB)


def test_the_interval_holds_95_of_100_slopes() -> None:
    rng = np.random.default_rng(2)
    at = np.arange(40.0)
    held = 0
    for _ in range(300):
        _, low, high = sen_slope(list(zip(at, 3 * at + rng.normal(0, 20, 40), strict=True)))
        held += low <= 3 <= high
    assert 0.9 < held / 300 <= 0.99


def test_the_slope_is_that_of_the_method() -> None:
    """The example of scipy.stats.theilslopes of 1.14: x = 0..6, method "separate"."""
    slope, low, high = sen_slope(list(enumerate([0.0, 1.1, 1.9, 3.2, 3.9, 5.0, 20.0])))
    assert slope == pytest.approx(1.02, abs=0.06)
    assert low < 1.0 < high

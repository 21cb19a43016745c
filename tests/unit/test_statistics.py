"""Intervals that hold what they promise, and verdicts that do not cry wolf."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.statistics import (
    Interval,
    bootstrap_interval,
    compare,
    compare_intervals,
    drift,
    kendall_tau,
    rate_interval,
    t_interval,
    t_quantile,
)


@pytest.mark.parametrize(("degrees", "expected"), [(1, 12.706), (2, 4.303), (10, 2.228), (30, 2.042)])
def test_students_t_by_the_table(degrees: int, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize(("degrees", "expected"), [(40, 2.0211), (120, 1.9799), (10_000, 1.9602)])
def test_students_t_beyond_the_table(degrees: int, expected: float) -> None:
    assert t_quantile(degrees) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("degrees", "level", "expected"), [(1, 0.995, 63.657), (9, 0.995, 3.250), (4, 0.95, 2.132)])
def test_students_t_at_other_levels(degrees: int, level: float, expected: float) -> None:
    assert t_quantile(degrees, level) == pytest.approx(expected, abs=1e-3)


def test_between_degrees_the_safe_side_counts() -> None:
    assert t_quantile(2.9) == t_quantile(2)
    assert t_quantile(0.3) == t_quantile(1)


def test_t_interval_by_hand() -> None:
    interval = t_interval([9.0, 10.0, 11.0])
    assert interval.value == 10.0
    assert interval.half_width == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    assert interval.method == "t over 3 repeats"


def test_of_one_sample_nothing_is_known() -> None:
    interval = t_interval([5.0])
    assert (interval.value, interval.low, interval.high) == (5.0, -math.inf, math.inf)


def test_t_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = sum((i := t_interval(rng.normal(100, 5, 4).tolist())).low <= 100 <= i.high for _ in range(1000))
    assert 930 <= held <= 970


def test_bootstrap_holds_the_truth() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for seed in range(200):
        interval = bootstrap_interval(rng.exponential(1.0, 200).tolist(), lambda rows: rows.mean(axis=1), seed)
        held += interval.low <= 1.0 <= interval.high
    assert held >= 180


def test_rate_of_steady_arrivals() -> None:
    times = [i / 10 + 0.05 for i in range(1000)]
    interval = rate_interval(times, [2.0] * 1000, 0.0, 100.0)
    assert interval.value == pytest.approx(20.0)
    assert interval.half_width == pytest.approx(0.0, abs=1e-9)


def test_drift_is_seen_and_noise_is_not() -> None:
    rng = np.random.default_rng(3)
    noise = rng.normal(1.0, 0.1, 100)
    assert drift(noise.tolist()).is_drift is False  # type: ignore[union-attr]
    rising = drift((noise + np.linspace(0, 1, 100)).tolist())
    assert rising is not None
    assert rising.is_drift
    assert rising.change == pytest.approx(0.4, abs=0.1)
    assert drift([1.0] * 7) is None


def test_a_small_change_is_no_drift_however_sure() -> None:
    found = drift([1.0] * 50 + [1.01] * 50)
    assert found is not None
    assert not found.is_drift


def test_compare_sees_a_difference_and_does_not_invent_one() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(500):
        a, b = rng.normal(10, 1, 5).tolist(), rng.normal(10, 1, 5).tolist()
        wrong += compare(a, b).is_significant
    assert wrong <= 40  # 5 % of 500, and chance
    assert compare([10.0, 10.1, 9.9], [12.0, 12.1, 11.9]).is_significant
    assert compare([10.0], [20.0]).is_significant is False  # one sample each says nothing


def test_pairs_take_out_what_both_share() -> None:
    first, second = [10.0, 20.0, 30.0], [11.0, 21.1, 31.05]
    assert not compare(first, second).is_significant
    difference = compare(first, second, paired=True)
    assert difference.is_significant
    assert difference.value == pytest.approx(1.05)


def test_without_spread_a_difference_is_what_it_is() -> None:
    assert compare([1.0, 1.0], [2.0, 2.0]).is_significant
    assert not compare([1.0, 1.0], [1.0, 1.0]).is_significant


def test_intervals_are_compared_as_independent() -> None:
    a, b = Interval(10.0, 7.0, 13.0, ""), Interval(16.0, 12.0, 20.0, "")
    difference = compare_intervals(a, b)
    assert (difference.low, difference.high) == (1.0, 11.0)


def test_kendall_tau_of_known_rankings() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert kendall_tau(a, a * 7) == 1
    assert kendall_tau(a, -a) == -1
    assert kendall_tau(a, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(4 / 6)
    assert kendall_tau(a, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(4 / np.sqrt(6 * 4))

"""The statistics of the finals: what an interval covers when launches differ, and how often luck is called a gain."""

from __future__ import annotations

import math
from statistics import fmean

import pytest

from planner.trials.blocks import LEAST_ROUNDS, Blocks, least_rounds, undecided
from tests.race.coverage import DEFAULT, judged

USUAL = 0.975
NUM_FINALS = 300


@pytest.mark.parametrize("repeats", [1, 5])
@pytest.mark.parametrize("launch", [0.0, 0.01, 0.02, 0.04])
def test_intervals_hold_what_they_promise_whatever_the_noise_of_launches(launch: float, repeats: int) -> None:
    """93 to 97 % and at most 6 % false gains over thousands of finals; 300 of them are within 3 % of that."""
    covered, sure, _ = judged((0.0, 0.0, 0.0), launch, repeats, NUM_FINALS)
    assert 0.92 < covered < 0.985
    assert sure < 0.09


@pytest.mark.parametrize("launch", [0.01, 0.02])
def test_a_single_rival_gets_no_flattering_interval(launch: float) -> None:
    covered, sure, _ = judged((0.05,), launch, 1, NUM_FINALS)
    assert covered > 0.91
    assert sure > 0.7


def test_repeats_of_one_launch_make_no_gain_sure() -> None:
    """Launches that differ by 2 % say the same whether each was measured once or five times."""
    once, five = (judged((0.0, 0.0, 0.0), 0.02, repeats, NUM_FINALS)[1] for repeats in (1, 5))
    assert abs(once - five) < 0.06


def test_rounds_that_all_run_in_leave_enough_to_judge_the_noise_by() -> None:
    assert [least_rounds(count) for count in (2, 3, 4)] == [4, LEAST_ROUNDS, LEAST_ROUNDS]


def test_a_block_hits_all_finalists_alike() -> None:
    """A slow machine in one round changes no comparison; what is left is each finalist's own noise."""
    rounds = [0.0, 0.5, -0.3, 0.1]
    logs = {0: dict(enumerate(rounds)), 1: {i: value + 0.1 for i, value in enumerate(rounds)}}
    gain = Blocks(logs).gain(1, 0, USUAL)
    assert gain.value == pytest.approx(math.expm1(0.1))
    assert gain.high - gain.low < 1e-6


def test_who_missed_a_slow_round_is_not_the_better_for_it() -> None:
    """By plain means the second would be ahead: it was not there when everything was slow."""
    logs = {0: {0: 1.0, 1: 1.0, 2: 0.0}, 1: {0: 0.9, 1: 0.9}, 2: {0: 0.8, 1: 0.8, 2: -0.2}}
    assert fmean(logs[1].values()) > fmean(logs[0].values())
    assert Blocks(logs).gain(0, 1, USUAL).value == pytest.approx(math.expm1(0.1))


def test_a_single_block_says_nothing_for_sure() -> None:
    gain = Blocks({0: {0: 1.0}, 1: {0: 2.0}}).gain(1, 0, USUAL)
    assert gain.low < 0 < gain.high


def test_a_balanced_comparison_is_the_textbooks() -> None:
    """Two finalists in blocks are the paired t test."""
    pairs = [(1.0, 1.2), (2.0, 2.1), (1.5, 1.9), (1.1, 1.2)]
    gain = Blocks({0: dict(enumerate(a for a, _ in pairs)), 1: dict(enumerate(b for _, b in pairs))}).gain(1, 0, USUAL)
    mean, half = 0.2, 3.18245 * 0.141421 / 2
    assert (math.log1p(gain.low), math.log1p(gain.high)) == pytest.approx((mean - half, mean + half), abs=1e-5)


def test_less_is_better_where_the_sign_says_so() -> None:
    logs = {0: {0: 1.0, 1: 1.3, 2: 1.1}, 1: {0: 0.9, 1: 1.4, 2: 0.9}, 2: {0: 2.0, 1: 2.1, 2: 2.2}}
    assert undecided(logs, -1.0, DEFAULT) == (0, 1)
    assert undecided(logs, -1.0, None) == (0, 1)
    assert undecided({0: {0: 1.0}}, 1.0, None) == ()

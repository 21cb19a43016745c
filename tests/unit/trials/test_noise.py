"""Noise is what was measured elsewhere until the study itself launched something several times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.study import Problem
from planner.trials.noise import LAUNCH_NOISE, PRIOR_NOISE, launch_noise

Make = Callable[..., Problem]


def test_without_a_second_launch_it_is_the_prior(make_problem: Make, launch: Any) -> None:
    trials = launch(make_problem(), 3)
    assert launch_noise(trials, 1) == pytest.approx((LAUNCH_NOISE**2 + PRIOR_NOISE**2) ** 0.5)
    assert launch_noise(trials, 4) < launch_noise(trials, 1)


def test_launches_of_one_candidate_teach_it(make_problem: Make, launch: Any) -> None:
    first = launch(make_problem(), 1)[0]
    again = [replace(first, number=i, value=value, repeat_values=()) for i, value in enumerate((80.0, 100.0, 125.0))]
    assert launch_noise(again, 1) > 0.1
    assert launch_noise(again[:1], 1) == launch_noise([], 1)
    alike = [replace(first, number=i, value=100.0, repeat_values=()) for i in range(12)]
    assert launch_noise(alike, 1) < 0.6 * launch_noise([], 1)


def test_other_hosts_and_finals_are_left_out(make_problem: Make, launch: Any) -> None:
    """They differ by more than the noise: by the host's speed, and by their prompts."""
    first = launch(make_problem(), 1)[0]
    machine = replace(first.provenance.machine, host="other")
    elsewhere = replace(first, value=2 * first.value, provenance=replace(first.provenance, machine=machine))
    assert launch_noise([first, elsewhere], 1) == launch_noise([first], 1)

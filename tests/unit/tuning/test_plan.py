"""What a plan says before the first launch: how long search and finals take, and the command that would be run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.service.export.docker_script import docker_command
from planner.study.forecast import Forecast
from planner.tuning.plan import Plan, expected_trial_s, make_plan

Make = Callable[..., Any]


def planned(make_problem: Make, tmp_path: Path, target: int, **options: Any) -> Plan:
    return make_plan(make_problem().spec, tmp_path, target, "docker", **options)


def test_the_finals_are_in_the_plans_time(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 30)
    assert plan.num_finals == 8, "two rounds of the default and three others"
    assert plan.expected_final_s > plan.expected_trial_s, "a launch of the finals has two repeats at least"
    assert plan.time_words.startswith("about ")
    assert ": 30 trials " in plan.time_words
    assert plan.time_words.endswith("(8 launches at most)")
    assert planned(make_problem, tmp_path, 2).num_finals == 4
    assert planned(make_problem, tmp_path, 1).num_finals == 0, "the default alone has no rival"


def test_without_finals_the_plan_says_so(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 30, has_finals=False)
    assert plan.num_finals == 0
    assert plan.time_words.endswith(", no finals")


def test_more_repeats_take_longer(make_problem: Make) -> None:
    forecast = Forecast(make_problem())
    once, twice, thrice = (expected_trial_s(forecast, "docker", repeats) for repeats in (1, 2, 3))
    assert thrice - twice == pytest.approx(twice - once)
    assert expected_trial_s(forecast, "simulated") == 0


def test_the_first_launch_can_be_pasted(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 3)
    pasted = [shlex.split(docker_command(run).replace("\\\n", " ")) for run in plan.first_runs]
    assert pasted == plan.first_launch
    assert all(len(line) < 120 for run in plan.first_runs for line in docker_command(run).splitlines())

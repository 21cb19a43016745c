"""What a plan says before the first launch: how long search and finals take, and the command that would be run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from planner.service.export.docker_script import docker_command
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.trials.finals import expected_heats
from planner.tuning.plan import Plan, make_plan
from planner.units import format_duration

Make = Callable[..., Any]


def planned(make_problem: Make, tmp_path: Path, target: int, **options: Any) -> Plan:
    return make_plan(make_problem().spec, tmp_path, target, "docker", **options)


def test_the_finals_are_in_the_plans_time(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 30)
    assert plan.num_finals == 9, "three rounds of the default and two others"
    search, finals = (format_duration(count * plan.expected_trial_s) for count in (30, 9))
    both = format_duration(39 * plan.expected_trial_s)
    words = f"about {both}: 30 trials {search}, finals {finals} (9 launches, up to 18 until the answer is sure)"
    assert plan.time_words == words
    assert planned(make_problem, tmp_path, 2).num_finals == 8, "four rounds of two"
    assert planned(make_problem, tmp_path, 1).num_finals == 0, "the default alone has no rival"


def test_no_more_finals_are_run_than_the_plan_says(run: Any, study: Path) -> None:
    code, out, _ = run("tune --backend simulated --trials 4 --json --quiet")
    assert code == 0
    launches = sum(len(one["values"]) for one in json.loads(out)["finals"])
    least, most = expected_heats(Problem.of(load_study(study)), 4)
    assert 0 < launches <= most
    assert least <= most


def test_without_finals_the_plan_has_none(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 30, has_finals=False)
    assert plan.num_finals == 0
    assert plan.time_words.endswith(" for 30 trials")


def test_the_first_launch_can_be_pasted(make_problem: Make, tmp_path: Path) -> None:
    plan = planned(make_problem, tmp_path, 3)
    pasted = [shlex.split(docker_command(run).replace("\\\n", " ")) for run in plan.first_runs]
    assert pasted == plan.first_launch
    assert all(len(line) < 120 for run in plan.first_runs for line in docker_command(run).splitlines())

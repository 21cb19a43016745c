"""Hours bound the whole study: the search ends when the finals need what is left, and a resumed one counts on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.study.problem import Problem
from planner.trials import engine_s, expected_heats, heats, num_launched, searched
from planner.trials.durations import wall_s
from planner.tuning.budget import LONGER, Budget, Clock, budget_of
from planner.tuning.plan import Plan, make_plan
from planner.tuning.session import NobodyWatches, tune_study
from planner.units import HOUR_S

Make = Callable[..., Problem]


class Said(NobodyWatches):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def plan_of(problem: Problem, folder: Path, launches: float | None, target: int = 8, **changes: Any) -> Plan:
    """A plan with a budget of hours for so many launches, by the speed of the simulated engine."""
    plan = make_plan(problem.spec, folder, target, "simulated", **changes)
    hours = None if launches is None else launches * changes.get("launch_s", LAUNCH_S) / HOUR_S
    return replace(plan, until=None, budget=Budget(hours=hours))


LAUNCH_S = 51.0
"""Seconds of one simulated launch of the test study, about; the tests hold for a tenth more or less."""


@pytest.mark.parametrize(
    ("hours", "gpu_hours", "words", "launches_s"),
    [
        (None, None, "", math.inf),
        (8.0, None, "8 hours", 8 * HOUR_S),
        (None, 32.0, "32 GPU hours", 8 * HOUR_S),
        (8.0, 16.0, "8 hours, 16 GPU hours", 4 * HOUR_S),
    ],
)
def test_a_budget_bounds_launches_in_a_row(
    hours: float | None, gpu_hours: float | None, words: str, launches_s: float
) -> None:
    budget = Budget(hours=hours, gpu_hours=gpu_hours)
    assert (budget.is_set, budget.words, budget.launches_s(4)) == (bool(words), words, launches_s)


def test_an_option_goes_before_the_studys_own(make_problem: Make) -> None:
    spec = make_problem(budget={"hours": 4, "gpu_hours": 10}).spec
    assert budget_of(spec) == Budget(hours=4, gpu_hours=10)
    assert budget_of(spec, hours=0.5) == Budget(hours=0.5, gpu_hours=10)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_what_is_no_number_of_hours_is_refused(make_problem: Make, value: float) -> None:
    for option, given in (("--hours", {"hours": value}), ("--budget", {"gpu_hours": value})):
        with pytest.raises(
            InputError, match=rf"^{option} \S+: allowed are hours above 0 and up to 100000, for example 8$"
        ):
            budget_of(make_problem().spec, **given)


@pytest.mark.parametrize("written", [{"hours": 0}, {"gpu_hours": -3}, {"hours": float("nan")}, {"days": 1}])
def test_a_study_says_hours_above_zero(make_problem: Make, written: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"^study\.yaml: .*(budget|hours)"):
        make_problem(budget=written)


def test_the_search_ends_when_the_finals_need_the_rest(make_problem: Make, tmp_path: Path) -> None:
    problem, observer = make_problem(), Said()
    plan = plan_of(problem, tmp_path, 14)
    trials = tune_study(plan, observer).trials
    launched = num_launched(searched(trials))
    assert 1 < launched < 8
    assert wall_s(trials) <= (plan.budget.hours or 0) * HOUR_S
    assert len(trials) > launched, "the finals ran"
    (line,) = [line for line in observer.lines if line.startswith("stopped after")]
    assert line.startswith(f"stopped after {launched} of 8 launches: of {plan.budget.words} ")
    assert "the finals need" in line

    again = tune_study(plan, Said()).trials
    assert again == trials, "the hours count on where the study is continued"
    more = tune_study(plan_of(problem, tmp_path, 40), Said()).trials
    assert num_launched(searched(more)) > launched


def test_gpu_hours_count_all_cards(make_problem: Make, tmp_path: Path) -> None:
    plan = plan_of(make_problem(), tmp_path, None, has_finals=False)
    plan = replace(plan, budget=Budget(gpu_hours=4.5 * LAUNCH_S * 2 / HOUR_S))  # two cards
    trials = tune_study(plan, Said()).trials
    assert num_launched(trials) == 4
    assert sum(map(engine_s, trials)) * 2 <= (plan.budget.gpu_hours or 0) * HOUR_S


def test_the_default_is_launched_whatever_is_left(make_problem: Make, tmp_path: Path) -> None:
    plan = plan_of(make_problem(), tmp_path, 0.01)
    trials = tune_study(plan, Said()).trials
    assert [trial.candidate for trial in trials] == [plan.problem.default]
    assert plan.num_expected == 1
    assert "too little to compare anything" in (plan.budget_words or "")


def test_a_round_of_finals_that_does_not_fit_is_left_out(make_problem: Make, tune: Any) -> None:
    """The clock of this test stands still: the trials say what they took."""
    problem = make_problem()
    trials = [
        replace(trial, value=value, repeat_values=(value,))
        for trial, value in zip(tune(problem, 2), (100.0, 101.0), strict=True)
    ]
    each = sum(map(engine_s, trials)) / 2
    assert len(heats(problem, trials)) == 8
    for launches, fits in ((8 / (1 + LONGER) + 0.1, True), (8 / (1 + LONGER) - 0.1, False)):
        clock = Clock(problem, Budget(hours=(2 + launches) * each / HOUR_S), each, trials, now=lambda: 0.0)
        assert clock.may_begin_finals(trials, 8, is_first=True) is fits
        assert not clock.may_begin_finals(trials, 8, is_first=False)
    assert "finals left out: 8 launches" in clock.unsure_words(trials, 8, is_first=True)


def test_time_that_passes_between_launches_counts(make_problem: Make, tune: Any) -> None:
    problem, now = make_problem(), [0.0]
    trials = tune(problem, 1)
    clock = Clock(problem, Budget(hours=1.0), 60.0, trials, now=lambda: now[0])
    before = clock.left_s(trials)
    assert before == pytest.approx(HOUR_S - engine_s(trials[0]))
    now[0] = 600.0
    assert clock.left_s(trials) == pytest.approx(before - 600)
    assert not Clock(problem, Budget(hours=600 / HOUR_S), 60.0, trials).may_begin(trials)


def test_what_is_under_way_takes_gpu_hours(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    trials = tune(problem, 1)
    clock = Clock(problem, Budget(gpu_hours=1.0), 60.0, trials)
    assert clock.left_s(trials, 2) == pytest.approx(clock.left_s(trials) - 2 * engine_s(trials[0]))


def test_the_plan_says_how_far_the_budget_reaches(make_problem: Make, tmp_path: Path) -> None:
    plan = make_plan(make_problem().spec, tmp_path, 30, "docker")
    assert plan.budget_words is None
    count = 10 + expected_heats(plan.problem, 10)[0]
    short = replace(plan, budget=Budget(hours=(count + 0.5) * plan.launch_s / HOUR_S))
    assert short.num_expected == 10
    assert "10 trials of 30, as far as the budget reaches" in short.time_words
    assert short.budget_words == f"{short.budget.words} for all launches, earlier runs and the finals included"
    assert replace(plan, budget=Budget(hours=1e4)).time_words == plan.time_words


@pytest.mark.usefixtures("study")
def test_the_command_takes_hours(run: Any) -> None:
    code, out, _ = run("tune --dry-run --backend simulated --json --hours 8 --budget 12")
    assert code == 0
    assert (json.loads(out)["hours"], json.loads(out)["gpu_hours"]) == (8, 12)
    code, _, err = run("tune --dry-run --backend simulated --hours nan")
    assert (code, err.count("\n")) == (2, 1)

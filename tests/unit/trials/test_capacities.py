"""What levels say of a capacity, for the limits of the launch and for others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from planner.benchmark.capacity.level import Level
from planner.study.problem import Problem
from planner.trials.capacities import answers, capacity_of, start_of
from planner.trials.rejudging import competes, rejudged
from planner.trials.trial import Trial
from planner.trials.wording import outcome_text
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
LEVELS = tuple(
    Level(load, 100, 0, {"ttft_p95": 0.2, "tpot_p95": 0.002 * load, "output_throughput": 30.0 * load})
    for load in (20.0, 25.0, 30.0, 27.0, 24.0, 26.0)
)


def capacity(slo: Mapping[str, str], metric: str = "capacity") -> dict[str, Any]:
    return {"objective": {"metric": metric, "slo": dict(slo)}}


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(**capacity({"tpot_p95": "51ms"}))


@pytest.fixture
def trial(problem: Problem, launch: Any, make_problem: Make) -> Trial:
    """A trial of this capacity, with levels as if it had been launched for it."""
    (made,) = launch(make_problem(), 1)
    return replace(made, asked=problem.objective.asked, levels=LEVELS, value=25.5, repeat_values=(25.5,))


def test_the_capacity_is_where_the_limit_is_met_and_told_by_a_level_that_kept_it(problem: Problem) -> None:
    found = capacity_of(problem, LEVELS)
    assert found is not None
    assert found.value == pytest.approx(25.5, rel=0.03)
    assert found.interval[0] <= 25 < 26 <= (found.interval[1] or 0.0)
    assert found.level.load == 25.0
    assert found.is_enclosed


def test_other_limits_are_judged_by_the_same_levels(problem: Problem, trial: Trial, make_problem: Make) -> None:
    tighter = make_problem(**capacity({"tpot_p95": "45ms", "ttft_p95": "1s"}))
    found = rejudged(forecast_of(tighter), trial)
    assert found.value == pytest.approx(22.5, rel=0.07)
    assert found.metrics == LEVELS[0].metrics
    assert found.is_acceptable
    assert competes(tighter, trial)
    assert rejudged(forecast_of(problem), trial) is trial


def test_limits_beyond_the_levels_need_a_launch(trial: Trial, make_problem: Make) -> None:
    for slo in ({"tpot_p95": "10ms"}, {"tpot_p95": "90ms"}, {"e2el_p95": "9s"}):
        problem = make_problem(**capacity(slo))
        assert not answers(problem, trial)
        assert not competes(problem, trial)
        found = rejudged(forecast_of(problem), trial)
        assert (found.value, found.is_acceptable) == (None, False)


def test_one_load_and_a_search_for_the_most_do_not_answer_each_other(
    problem: Problem, trial: Trial, make_problem: Make, launch: Any
) -> None:
    plain = make_problem()
    (at_one_load,) = launch(plain, 1)
    assert answers(plain, at_one_load)
    assert not answers(problem, at_one_load)
    assert not answers(plain, trial)
    assert not answers(make_problem(**capacity({"tpot_p95": "51ms"}, "capacity_rate")), trial)
    messages = [constraint.message for constraint in rejudged(forecast_of(plain), trial).constraints]
    assert messages == ["output_throughput was not measured"]


def test_a_launch_begins_where_those_before_it_say(problem: Problem, trial: Trial) -> None:
    assert start_of(problem, [], 20.0) == 20.0
    assert start_of(problem, [], None) is None
    past = [replace(trial, number=i, value=value, predicted_value=10.0) for i, value in enumerate((20.0, 30.0, 90.0))]
    assert start_of(problem, past, 8.0) == pytest.approx(24.0)
    broken = replace(trial, value=None)
    assert start_of(problem, [broken], 8.0) == 8.0


def test_no_request_in_flight_keeps_an_impossible_limit(make_problem: Make) -> None:
    problem = make_problem(**capacity({"tpot_p95": "1ms"}))
    levels = [Level(load, 100, 0, {"tpot_p95": 0.002 * load}) for load in (2.0, 1.0)]
    found = capacity_of(problem, levels)
    assert found is not None
    assert (found.value, found.level.load, found.is_enclosed) == (None, 1.0, True)
    assert found.interval[0] == 0.0
    assert (found.interval[1] or 9.0) < 3.0
    endless = capacity_of(problem, [Level(256.0, 100, 0, {"tpot_p95": 0.0005})])
    assert endless is not None
    assert (endless.value, endless.interval[1], endless.is_enclosed) == (256.0, None, True)
    trial = msgspec.json.decode(msgspec.json.encode(endless.interval), type=tuple[float, float | None])
    assert trial == endless.interval


def test_a_trial_of_which_no_load_kept_the_limits_says_which_one(make_problem: Make, launch: Any) -> None:
    problem = make_problem(**capacity({"tpot_p95": "1ms", "ttft_p95": "9s"}))
    (trial,) = launch(problem, 1)
    assert (trial.value, trial.is_acceptable, trial.levels[-1].load) == (None, False, 1.0)
    assert outcome_text(problem, trial).startswith("no load kept the limits: tpot_p95 is ")

"""Starts are judged by the memory's margins, by the launches so far, and by what random launches would risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from planner.study import Problem
from planner.trials import Trial
from planner.tuning.search.starts import SAFE, SUREST, USUAL, Starts, is_worth_the_risk
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
SEARCH = {"max_num_seqs": [8, 32, 128], "gpu_memory_utilization": [0.80, 0.90, 0.96, 0.97], "block_size": [16, 32]}


def _trial(trial: Trial, problem: Problem, row: int, has_started: bool) -> Trial:
    """The trial as if this row had been launched."""
    candidate = problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
    return replace(trial, candidate=candidate, outcome="measured" if has_started else "failed")


def _starts(problem: Problem) -> Starts:
    surrogate = Surrogate(forecast_of(problem))
    return Starts(forecast_of(problem), surrogate.grid_features(), surrogate.features_of)


def _having(problem: Problem, name: str, value: object) -> np.ndarray:
    grid = grid_of(problem)
    return np.array([problem.choices.params(grid.indices[row])[name] == value for row in grid.feasible_rows])


def test_before_any_launch_tight_memory_is_the_doubt(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": SEARCH})
    chances = _starts(problem).chances(grid_of(problem).feasible_rows, [])
    assert chances.max() <= USUAL
    roomy, tight = (_having(problem, "gpu_memory_utilization", value) for value in (0.80, 0.96))
    assert chances[roomy].min() > 0.9
    assert chances[tight].max() < chances[roomy].min()


def test_one_failure_tells_of_all_that_is_as_tight(make_problem: Make, launch: Any) -> None:
    """Launched with 8 sequences, it lowers the chance with 128 at the same memory more than where there is room."""
    problem = make_problem(search_space={"search": SEARCH})
    rows, starts = grid_of(problem).feasible_rows, _starts(problem)
    tight, roomy = (_having(problem, "gpu_memory_utilization", value) for value in (0.96, 0.80))
    many = _having(problem, "max_num_seqs", 128)
    trial = launch(problem, 1)[0]
    failed = _trial(trial, problem, int(rows[tight & ~many][0]), has_started=False)
    fine = _trial(trial, problem, int(rows[roomy & ~many][0]), has_started=True)
    before, after = starts.chances(rows, []), starts.chances(rows, [failed, fine])
    fallen = after / before
    assert fallen[tight & many].max() < fallen[roomy & many].min()


def test_while_few_failed_what_starts_rather_than_not_is_launched() -> None:
    chances = np.array([0.2, 0.55, 0.8, 0.85])  # 40 of 100 rows drawn at random fail
    assert is_worth_the_risk(chances, 0, 1).tolist() == [False, True, True, True]
    assert is_worth_the_risk(chances, 1, 20).tolist() == [False, True, True, True]
    assert is_worth_the_risk(chances, 1, 6).tolist() == [False, False, True, True]


def test_with_as_many_failures_no_launch_is_riskier_than_a_random_one() -> None:
    chances = np.array([0.2, 0.4, 0.6, 0.8])
    assert is_worth_the_risk(chances, 4, 10).tolist() == [False, False, True, True]
    assert is_worth_the_risk(np.array([SAFE, 0.99, 0.99]), 0, 5).all()
    assert is_worth_the_risk(np.array([0.1, 0.1]), 5, 5).all()


def test_more_failures_than_random_leave_the_surest() -> None:
    chances = np.linspace(0.5, 0.9, 101)
    assert is_worth_the_risk(chances, 2, 10).mean() > SUREST
    careful = is_worth_the_risk(chances, 4, 10)
    assert careful.mean() <= SUREST + 0.01
    assert chances[careful].min() >= 0.79

"""Which candidates may be launched again: of enough that were measured, whole and within limits, not too often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.study.problem import Problem
from planner.trials.trial import Trial
from planner.tuning.search.leaders import AGAIN_AFTER, MOST_LAUNCHES, leaders_of
from tests.forecasts import grid_of

MANY = {"search": {"max_num_seqs": [1, 2, 3, 4, 5], "block_size": [16, 32]}}


@pytest.fixture
def seen(make_problem: Callable[..., Problem], launch: Any) -> tuple[Problem, list[Trial]]:
    """AGAIN_AFTER candidates, each measured once."""
    problem = make_problem(search_space=MANY)
    (trial,) = launch(problem)
    rows = grid_of(problem).feasible_rows[:AGAIN_AFTER]
    candidates = [problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row])) for row in rows]
    return problem, [replace(trial, number=i, candidate=one) for i, one in enumerate(candidates)]


def test_enough_candidates_come_first(seen: tuple[Problem, list[Trial]]) -> None:
    problem, trials = seen
    assert len(leaders_of(problem, trials, ())[0]) == AGAIN_AFTER
    assert len(leaders_of(problem, [*trials[1:], trials[1]], ())[0]) == 0, "one of them twice is no further one"


def test_none_is_launched_too_often_or_twice_at_once(seen: tuple[Problem, list[Trial]]) -> None:
    problem, trials = seen
    first, second = (problem.row_of(trial.candidate) for trial in trials[:2])
    often = [*trials, *[trials[0]] * (MOST_LAUNCHES - 1)]
    rows, at = leaders_of(problem, often, [trials[1].candidate])
    assert not {first, second} & set(rows.tolist())
    assert [problem.row_of(often[i].candidate) for i in at] == rows.tolist()


def test_who_was_given_up_is_no_leader(seen: tuple[Problem, list[Trial]]) -> None:
    problem, trials = seen
    given_up = [replace(trials[0], stopped_at=0.5), *trials[1:]]
    assert problem.row_of(trials[0].candidate) not in leaders_of(problem, given_up, ())[0]

"""What is expected of candidates: with calibrations, on the grid, and where a table is replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError

import pytest

from planner.estimate.memory.per_gpu import MemoryFigures
from planner.study.forecast import Forecast
from planner.study.learned import Learned
from planner.study.problem import Problem

Make = Callable[..., Problem]


def test_a_start_makes_another_forecast_and_changes_none(make_problem: Make) -> None:
    problem = make_problem()
    before = Forecast(problem)
    blocks = int(before.deployment(problem.default).memory.num_blocks)
    figures = MemoryFigures(num_blocks=blocks - 100)
    learned = Learned().learn(problem.deployment(problem.default), figures, "a start")
    after = Forecast(problem, learned.calibrations)
    assert int(after.deployment(problem.default).memory.num_blocks) == blocks - 100
    assert int(before.deployment(problem.default).memory.num_blocks) == blocks
    assert before.grid is before.grid
    pairs = zip(before.grid.groups, after.grid.groups, strict=True)
    assert any((one.memory.num_blocks != other.memory.num_blocks).any() for (_, one), (_, other) in pairs)
    with pytest.raises(FrozenInstanceError):
        after.calibrations = {}  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        problem.default = problem.default  # type: ignore[misc]


def test_what_was_not_recorded_breaks_a_rule(make_problem: Make) -> None:
    problem = make_problem()
    rows = problem.choices.index_matrix()
    first, last = (problem.choices.candidate(problem.choices.params(rows[i])) for i in (0, -1))
    limited = Forecast(problem.only([first], first))
    assert Forecast(problem).check(last) == limited.check(first) == ()
    (constraint,) = limited.check(last)
    assert constraint.excess == (rows[0] != rows[-1]).sum()
    assert limited.problem.default == first
    assert problem.recorded is None

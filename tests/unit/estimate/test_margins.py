"""Margins of memory, in standard deviations: what makes memory tighter lowers them, and arrays say what scalars say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.estimate.margins import MOST_MARGIN, start_margins
from planner.study import Problem
from tests.forecasts import grid_of

Make = Callable[..., Problem]
SEARCH = {"gpu_memory_utilization": [0.80, 0.90, 0.96], "max_num_seqs": [8, 128]}


def test_a_larger_budget_leaves_less_outside(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": SEARCH})
    margins = []
    for utilization in SEARCH["gpu_memory_utilization"]:
        params = {"gpu_memory_utilization": utilization, "max_num_seqs": 8}
        margins.append(start_margins(problem.deployment(problem.choices.candidate(params))))
    outside = [float(margin[1]) for margin in margins]
    assert outside == sorted(outside, reverse=True)
    assert outside[0] > 3 > outside[-1]


def test_arrays_say_what_single_candidates_say(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": SEARCH})
    grid = grid_of(problem)
    for rows, deployment in grid.groups:
        columns = [np.broadcast_to(np.asarray(margin), len(rows)) for margin in start_margins(deployment)]
        for i, row in enumerate(rows):
            alone = problem.deployment(problem.choices.candidate(problem.choices.params(grid.indices[row])))
            assert [column[i] for column in columns] == pytest.approx([float(m) for m in start_margins(alone)])
            assert all(abs(column[i]) <= MOST_MARGIN for column in columns)

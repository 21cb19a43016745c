"""What doubt about the speed model's coefficients means for candidates, and what a study's own trials make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.estimate.speed.coefficients import Coefficients, default_coefficients
from planner.study.problem import Problem
from planner.tuning.search.speed_doubts import FACTORS, SpeedDoubts, scaled
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
SEARCH = {"max_num_seqs": [2, 8, 32, 64], "max_num_batched_tokens": [4096, 8192], "enforce_eager": [True, False]}


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(search_space={"search": SEARCH}, workload__concurrency=64, workload__num_requests=256)


def prior_of(problem: Problem) -> Coefficients:
    return default_coefficients(problem.deployment(problem.default).engine, problem.gpu)


def test_what_a_coefficient_moves_is_in_doubt(problem: Problem) -> None:
    """CUDA graphs spare the launches of each layer, so only eager candidates depend on what these take."""
    slopes = SpeedDoubts(forecast_of(problem)).grid["output_throughput"]
    launches = next(i for i, (names, _) in enumerate(FACTORS) if "launch_s_per_layer" in names)
    grid = grid_of(problem)
    eager = np.array([problem.choices.params(indices)["enforce_eager"] for indices in grid.indices])
    assert np.abs(slopes[eager, launches]).max() > 0.01
    assert np.abs(slopes[~eager, launches]).max() == 0
    assert slopes.shape == (len(grid.indices), len(FACTORS))


def test_a_candidate_beside_the_grid_has_the_same_doubts(problem: Problem) -> None:
    doubts, grid = SpeedDoubts(forecast_of(problem)), grid_of(problem)
    on_grid = problem.choices.candidate(problem.choices.params(grid.indices[5]))
    assert doubts.of(on_grid)["tpot_mean"].tolist() == doubts.grid["tpot_mean"][5].tolist()
    assert problem.row_of(problem.default) is None
    beside = doubts.of(problem.default)["output_throughput"]
    assert beside.shape == (len(FACTORS),)
    assert np.abs(beside).max() > 0


def test_a_few_trials_teach_the_machine(problem: Problem, tune: Any) -> None:
    """On a machine with other overheads and bandwidth, what is believed of settings never launched gets nearer."""
    logs = np.zeros(len(FACTORS))
    logs[1], logs[4], logs[5] = -0.3, 0.5, 0.6  # bandwidth, replays of graphs, host
    rows, real = grid_of(problem).feasible_rows, grid_of(problem).predicted(scaled(prior_of(problem), logs))
    trial = tune(problem, 1)[0]
    seen = rows[::3]
    trials = [
        replace(
            trial,
            number=i,
            candidate=problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row])),
            value=float(real["output_throughput"][row]),
            metrics={name: float(values[row]) for name, values in real.items()},
        )
        for i, row in enumerate(seen)
    ]
    unseen = np.setdiff1d(rows, seen)
    truth, surrogate = np.log(real["output_throughput"][unseen]), Surrogate(forecast_of(problem))
    before = float(np.abs(surrogate.believed(unseen, []) - truth).max())
    after = float(np.abs(surrogate.believed(unseen, trials) - truth).max())
    assert before > 0.1
    assert after < before / 3

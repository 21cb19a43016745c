"""The speed model's coefficients after a study's own trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.estimate.speed.coefficients import Coefficients, default_coefficients
from planner.study.problem import Problem
from planner.tuning.search.speed_fit import FACTORS, fit_coefficients, scaled
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
SEARCH = {"max_num_seqs": [2, 8, 32, 64], "max_num_batched_tokens": [4096, 8192], "enforce_eager": [True, False]}


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(search_space={"search": SEARCH}, workload__concurrency=64, workload__num_requests=256)


def prior_of(problem: Problem) -> Coefficients:
    return default_coefficients(problem.deployment(problem.default).engine, problem.gpu)


def test_without_trials_the_priors_hold(problem: Problem) -> None:
    assert fit_coefficients(forecast_of(problem), []) == prior_of(problem)


def test_a_few_trials_teach_the_machine(problem: Problem, tune: Any) -> None:
    """On a machine with other overheads and bandwidth, predictions of settings never seen get nearer."""
    logs = np.zeros(len(FACTORS))
    logs[1], logs[4], logs[5] = -0.3, 0.5, 0.6  # bandwidth, host, host per sequence
    truth = scaled(prior_of(problem), logs)
    rows = grid_of(problem).feasible_rows
    real = grid_of(problem).predicted(truth)
    trial = tune(problem, 1)[0]
    seen = rows[::3]
    trials = [
        replace(
            trial,
            candidate=problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row])),
            value=float(real["output_throughput"][row]),
            metrics={name: float(values[row]) for name, values in real.items()},
        )
        for row in seen
    ]
    unseen = np.setdiff1d(rows, seen)

    def error(coefficients: Coefficients) -> float:
        predicted = grid_of(problem).predicted(coefficients)["output_throughput"][unseen]
        return float(np.abs(np.log(predicted / real["output_throughput"][unseen])).max())

    before, after = error(prior_of(problem)), error(fit_coefficients(forecast_of(problem), trials))
    assert before > 0.1
    assert after < before / 3


def test_absurd_measurements_leave_the_coefficients_finite(problem: Problem, tune: Any) -> None:
    trial = replace(tune(problem, 1)[0], metrics={"output_throughput": 1e12, "tpot_mean": 1e-9})
    fitted = fit_coefficients(forecast_of(problem), [trial])
    assert all(0 < getattr(fitted, name) < 1e3 for names, _ in FACTORS for name in names)

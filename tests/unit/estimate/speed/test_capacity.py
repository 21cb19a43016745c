"""The predicted most load is where the predicted latencies meet their limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest

from planner.estimate.speed.capacity import predict_capacity
from planner.estimate.speed.prediction import predict
from tests.forecasts import forecast_of, grid_of

LIMITS = {"ttft_p95": 2.0, "tpot_p95": 0.1}


def test_it_is_the_load_at_which_a_limit_is_met(make_problem: Callable[..., Any]) -> None:
    problem = make_problem()
    deployment = forecast_of(problem).deployment(problem.default)
    most, rate = predict_capacity(deployment, problem.workload, LIMITS)
    assert 2 < most < 200

    def room(load: float) -> float:
        at = msgspec.structs.replace(problem.workload, concurrency=round(load), num_requests=8 * round(load))
        metrics = predict(deployment, at)
        return min(bound - float(metrics[name]) for name, bound in LIMITS.items())

    assert room(0.8 * most) > 0 > room(1.25 * most)
    at = msgspec.structs.replace(problem.workload, concurrency=round(most), num_requests=8 * round(most))
    assert rate == pytest.approx(predict(deployment, at)["request_throughput"], rel=0.1)


def test_tighter_limits_allow_less_and_impossible_ones_less_than_one(make_problem: Callable[..., Any]) -> None:
    problem = make_problem()
    deployment = forecast_of(problem).deployment(problem.default)
    found = [
        float(predict_capacity(deployment, problem.workload, {"tpot_p95": bound})[0])
        for bound in (1e-3, 1e-2, 0.1, 0.15)
    ]
    assert found == sorted(found)
    assert found[0] < found[1] < 1 < found[2] < found[3]


def test_arrays_give_what_each_candidate_alone_gives(make_problem: Callable[..., Any]) -> None:
    problem = make_problem(
        objective={"metric": "capacity", "slo": {"ttft_p95": "2s", "tpot_p95": "100ms"}},
        search_space={"search": {"max_num_seqs": [4, 16, 64], "max_num_batched_tokens": [4096, 8192]}},
    )
    column = grid_of(problem).predicted()["capacity"]
    each = []
    for row in range(len(column)):
        candidate = problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
        each.append(forecast_of(problem).predicted(candidate)["capacity"])
    np.testing.assert_allclose(column, each)
    assert len(set(each)) > 1

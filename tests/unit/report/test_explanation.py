"""What mattered, what limits, and how right the model was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.report.explanation import effects, limit_of, model_fit
from planner.study.problem import Problem
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
SEARCH = {"max_num_seqs": [2, 8, 32], "block_size": [16, 32], "swap_space": [0, 4]}


def test_what_is_measured_to_matter_comes_first(make_problem: Make, tune: Any) -> None:
    """Four requests at once: 2 sequences halve the throughput, the size of blocks changes nothing."""
    problem = make_problem(search_space={"search": SEARCH}, workload__num_requests=64)
    found = effects(forecast_of(problem), tune(problem, 8))
    assert found[0].name == "max_num_seqs"
    assert found[0].worst == 2
    assert found[0].gain > 0.3
    assert "swap_space" not in {effect.name for effect in found}


def test_what_nobody_launched_is_called_predicted(make_problem: Make, tune: Any) -> None:
    problem = make_problem(search_space={"search": SEARCH}, workload__num_requests=64)
    trials = tune(problem, 8)
    few = [t for t in trials if problem.choices.value_of(t.candidate, "max_num_seqs") != 2]
    by_name = {effect.name: effect for effect in effects(forecast_of(problem), few)}
    assert not by_name["max_num_seqs"].is_launched
    told = next(e for e in effects(forecast_of(problem), trials) if e.name == "max_num_seqs")
    launched = {problem.choices.value_of(t.candidate, "max_num_seqs") for t in trials}
    assert told.is_launched == ({told.best, told.worst} <= launched)


@pytest.mark.parametrize(
    ("settings", "workload", "words"),
    [
        ({"max_num_seqs": 2}, {"concurrency": 8}, "max_num_seqs lets 2 of 8"),
        ({"max_num_seqs": 64}, {"concurrency": 8}, "all 8 offered requests"),
        ({"max_num_seqs": 64, "gpu_memory_utilization": 0.84}, {"concurrency": 64, "input_tokens": 4000}, "KV cache"),
    ],
)
def test_the_limit_is_named(make_problem: Make, settings: dict[str, Any], workload: dict[str, Any], words: str) -> None:
    changes = {f"workload__{key}": value for key, value in workload.items()} | {"workload__num_requests": 64}
    problem = make_problem(
        engine__settings={"dtype": "half", "max_model_len": 8192, "tensor_parallel_size": 1, **settings},
        search_space={"search": {"block_size": [16, 32]}},
        **changes,
    )
    assert words in limit_of(forecast_of(problem), problem.default)


def test_the_models_error_is_a_median_and_needs_three_trials(make_problem: Make, tune: Any) -> None:
    trials = tune(make_problem(), 3)
    exact = [replace(t, predicted_value=100.0 + i, value=(100.0 + i) * 1.1) for i, t in enumerate(trials)]
    fit = model_fit(exact)
    assert fit is not None
    assert (fit.count, fit.tau) == (3, 1.0)
    assert fit.error == pytest.approx(0.1)
    assert model_fit(exact[:2]) is None

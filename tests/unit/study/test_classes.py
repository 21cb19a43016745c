"""Combinations that run alike are one: the member nearest to the defaults stands for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planner.study.classes import heaviest, tied_at_top
from planner.study.forecast import Forecast
from planner.study.loading import load_study
from planner.study.problem import Problem
from tests.forecasts import forecast_of
from tests.places import ROOT

Make = Callable[..., Problem]
FIRST = ROOT / "studies" / "qwen3-32b-awq-4x2080ti"
SEQS = {"search": {"max_num_seqs": [2, 8, 64], "swap_space": [0, 4], "block_size": [16, 32]}}


def settings(forecast: Forecast, rows: Any) -> list[dict[str, Any]]:
    return [forecast.problem.choices.params(forecast.grid.indices[row]) for row in rows]


def test_one_of_a_class_is_asked_and_it_is_the_nearest_to_the_defaults(make_problem: Make) -> None:
    """Four requests in flight: 8 and 64 sequences are alike, and alike the default's 256."""
    forecast = Forecast(make_problem(search_space=SEQS))
    classes = forecast.classes
    assert (len(classes.rows), classes.count) == (12, 4)
    assert settings(forecast, classes.nearest(classes.rows)) == [
        {"max_num_seqs": seqs, "swap_space": 4, "block_size": block}  # 4 GiB is vLLM's own
        for seqs in (2, 8)
        for block in (16, 32)
    ]
    (own,) = [row for row in classes.rows if classes.of_row(int(row)) == classes.default and row % 12 == 6]
    assert settings(forecast, [own]) == [{"max_num_seqs": 8, "swap_space": 4, "block_size": 16}]
    left = classes.nearest(classes.without(classes.rows, {classes.default or 0}))
    assert len(left) == 3
    assert {"max_num_seqs": 8, "swap_space": 4, "block_size": 16} not in settings(forecast, left)


def test_the_plan_says_why(make_problem: Make) -> None:
    notes = Forecast(make_problem(search_space=SEQS)).classes.notes
    assert set(notes) == {"max_num_seqs", "swap_space"}
    assert notes["max_num_seqs"].startswith("some values are alike: ")
    assert notes["swap_space"].startswith("no effect under this load: ")


def test_members_are_predicted_alike_and_none_is_infeasible() -> None:
    forecast = Forecast(Problem.of(load_study(FIRST)))
    classes, predicted = forecast.classes, forecast.grid.predicted()
    assert (forecast.grid.rule[classes.rows] < 0).all()
    assert 1 < classes.count < len(classes.rows) / 6  # swap space alone has three values, prefix caching two
    for column in predicted.values():
        value = column[classes.rows]
        low, high = np.full(classes.count, np.inf), np.full(classes.count, -np.inf)
        np.minimum.at(low, classes.numbers, value)
        np.maximum.at(high, classes.numbers, value)
        assert (high - low <= 1e-9 * np.abs(high)).all()
    assert 1 <= tied_at_top(forecast) <= classes.count


def test_memory_that_the_load_can_fill_keeps_classes_apart(make_problem: Make) -> None:
    space = {"search": {"gpu_memory_utilization": [0.9, 0.92], "max_num_batched_tokens": [4096, 8192]}}
    forecast = Forecast(make_problem(search_space=space))
    assert forecast.classes.count == 2  # 4 prompts of 64 tokens fill no step; memory differs
    full = {"concurrency": 64, "num_requests": 128, "input_tokens": 2000, "output_tokens": 500}
    assert Forecast(make_problem(search_space=space, workload=full)).classes.count == 4


def test_swap_space_is_kept_where_the_engine_swaps(make_problem: Make) -> None:
    swaps = make_problem(search_space=SEQS, engine__extra_args=["--preemption-mode", "swap"])
    assert Forecast(swaps).classes.count == 8
    assert "swap_space" not in Forecast(swaps).classes.notes


def test_a_further_load_counts(make_problem: Make) -> None:
    problem = make_problem(search_space=SEQS, also_at=[1, 32])
    assert heaviest(problem).concurrency == 32
    assert Forecast(problem).classes.count == 6
    assert heaviest(make_problem(also_at=[1, 2])).concurrency == 4


def test_a_replayed_table_keeps_every_row(make_problem: Make) -> None:
    problem = make_problem(search_space=SEQS)
    candidates = [problem.choices.candidate(problem.choices.params(row)) for row in problem.choices.index_matrix()]
    classes = Forecast(problem.only(candidates, candidates[0])).classes
    assert (classes.count, classes.default) == (12, None)


def test_a_default_that_cannot_start_stands_for_none(make_problem: Make) -> None:
    forecast = Forecast(make_problem(engine__settings={"dtype": "half", "tensor_parallel_size": 1}, search_space=SEQS))
    assert forecast.check(forecast.problem.default)
    assert forecast.classes.default is None


@pytest.mark.parametrize("space", [{"search": {"max_num_seqs": [8]}}, {"search": {"block_size": [8, 256]}}])
def test_small_and_empty_grids_have_classes(make_problem: Make, space: dict[str, Any]) -> None:
    forecast = forecast_of(make_problem(search_space=space))
    count = len(forecast.grid.feasible_rows)
    assert forecast.classes.count == len(forecast.classes.nearest(forecast.classes.rows)) <= count
    assert tied_at_top(forecast) == min(count, 1)

"""When the first repeats are enough, and when they are not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.metrics import BenchmarkResult
from planner.problem import Problem
from planner.racing import PRIOR_NOISE, noise_std, race
from planner.trial import Trial

Make = Callable[..., Problem]


def result(value: float, metric: str = "output_throughput") -> BenchmarkResult:
    return BenchmarkResult(
        duration_s=1.0,
        completed=1,
        failed=0,
        total_input_tokens=1,
        total_output_tokens=1,
        metrics={metric: value},
        errors={},
    )


@pytest.fixture
def best(make_problem: Make, tune: Any) -> tuple[Problem, Trial]:
    problem = make_problem()
    (trial,) = tune(problem, 1)
    return problem, replace(trial, value=100.0, repeat_values=(99.0, 101.0))


def test_what_is_surely_worse_stops_after_one_repeat(best: tuple[Problem, Trial]) -> None:
    problem, trial = best
    is_lost = race(problem, [trial])
    assert is_lost([result(80)])
    assert not is_lost([result(98)])
    assert not is_lost([result(120)])


def test_without_a_best_nothing_stops(make_problem: Make) -> None:
    assert not race(make_problem(), [])([result(1e-6)])


def test_a_latency_is_better_when_lower(make_problem: Make, best: tuple[Problem, Trial]) -> None:
    problem = make_problem(objective={"metric": "ttft_p95"})
    is_lost = race(problem, [best[1]])
    assert is_lost([result(130, "ttft_p95")])
    assert not is_lost([result(70, "ttft_p95")])


def test_a_score_races_with_what_is_known_before(make_problem: Make, best: tuple[Problem, Trial]) -> None:
    """Half the throughput at four times the context is worth more; at the same context it is lost."""
    search = {"search": {"max_model_len": [4096, 16384]}}
    weights = {"objective": {"weights": {"output_throughput": 1, "max_model_len": 1}}}
    problem = make_problem(engine__settings={"dtype": "half"}, search_space=search, **weights)
    trial = replace(best[1], value=(100 * 4096) ** 0.5)
    assert race(problem, [trial], {"max_model_len": 4096.0})([result(50)])
    assert not race(problem, [trial], {"max_model_len": 16384.0})([result(50)])
    alone = make_problem(engine__settings={"dtype": "half"}, search_space=search, objective={"metric": "max_model_len"})
    assert not race(alone, [replace(trial, value=16384.0)], {"max_model_len": 4096.0})([result(50)])


def test_noise_comes_from_the_repeats(best: tuple[Problem, Trial]) -> None:
    rng = random.Random(1)
    noisy = [replace(best[1], repeat_values=tuple(100 + rng.gauss(0, 10) for _ in range(4))) for _ in range(20)]
    assert noise_std([]) == PRIOR_NOISE
    assert noise_std(noisy) == pytest.approx(0.1, rel=0.3)


def test_repeats_are_spared_in_a_study(make_problem: Make, tune: Any) -> None:
    """A setting that runs one request at a time is an order of magnitude slower: one repeat says so."""
    problem = make_problem(repeats=3, search_space={"search": {"max_num_seqs": [1, 32]}})
    trials = tune(problem, 3)
    counts = {trial.candidate.engine.max_num_seqs: len(trial.repeat_values) for trial in trials}
    assert counts[None] == 3
    assert counts[1] == 1

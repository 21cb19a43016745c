"""What stands beside the trial to deploy: its price, its risk, and what is as good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.study.problem import Problem
from planner.trials.beside import alike_words, other_loads_words, price_between, price_words, risk_words
from planner.trials.trial import AtLoad, Trial

Make = Callable[..., Problem]


def with_metrics(trial: Trial, **metrics: float) -> Trial:
    return replace(trial, metrics={**trial.metrics, **metrics})


@pytest.fixture
def two(make_problem: Make, launch: Any) -> tuple[Problem, Trial, Trial]:
    problem = make_problem()
    default, other = launch(problem, 2)
    same = {"ttft_p50": 112.0, "ttft_p95": 150.0, "tpot_p50": 0.05, "tpot_p95": 0.06, "e2el_p50": 200.0}
    return problem, with_metrics(default, **same), with_metrics(replace(other, metrics=default.metrics), **same)


def test_the_price_names_what_gets_worse_and_by_how_much(two: tuple[Problem, Trial, Trial]) -> None:
    problem, default, other = two
    worse = with_metrics(other, ttft_p50=184.0, ttft_p95=160.0, tpot_p50=0.04, output_throughput=1.0)
    assert price_words(problem, [default, worse], worse) == "price: TTFT p50 112 s -> 184 s (+64%)"
    assert price_words(problem, [default, worse], default) is None
    assert price_words(problem, [worse], worse) is None
    assert price_between(problem, default, other) == (
        "price: none of TTFT, TPOT, E2EL, output gets worse by 5% or more"
    ), "the objective itself is no price"


def test_a_lost_rate_is_the_price_of_a_latency(make_problem: Make, two: tuple[Problem, Trial, Trial]) -> None:
    _, default, other = two
    problem = make_problem(objective={"metric": "ttft_p50"})
    slower = with_metrics(other, output_throughput=default.metrics["output_throughput"] / 2, ttft_p50=300.0)
    assert "output_throughput" in price_between(problem, default, slower)
    assert "(-50%)" in price_between(problem, default, slower)
    assert "TTFT" not in price_between(problem, default, slower)


def test_a_loss_at_another_load_is_said_the_objectives_own_too(two: tuple[Problem, Trial, Trial]) -> None:
    problem, default, other = two
    seen = {"output_throughput": 100.0, "ttft_p50": 0.2, "tpot_p50": 0.05}
    default = replace(default, at_loads=(AtLoad(1.0, seen), AtLoad(64.0, seen)))
    slower = {**seen, "output_throughput": 47.0, "tpot_p50": 0.051}
    other = replace(other, at_loads=(AtLoad(1.0, slower), AtLoad(64.0, {**seen, "ttft_p50": 0.1}), AtLoad(9.0, seen)))
    words = "at other loads: 1: output_throughput 100.0 tok/s -> 47.0 tok/s (-53%); 64: nothing gets worse"
    assert other_loads_words(problem, [default, other], other) == words
    assert other_loads_words(problem, [default, other], default) is None
    assert other_loads_words(problem, [replace(default, at_loads=()), other], other) is None


def test_what_differs_by_less_than_the_noise_is_as_good(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    values = (100.0, 130.0, 129.5, 200.0)
    trials = [
        replace(trial, value=value, repeat_values=(value,), predicted_value=value)
        for trial, value in zip(launch(problem, 4), values, strict=True)
    ]
    words = alike_words(problem, trials, trials[1])
    assert words is not None
    assert words.endswith("in the search): trial 2")
    assert alike_words(problem, trials, trials[3]) is None


def test_settings_at_risk_say_so_though_they_served(make_problem: Make, launch: Any) -> None:
    calm = make_problem(engine__settings={"dtype": "half", "gpu_memory_utilization": 0.5, "max_model_len": 4096})
    assert risk_words(calm, launch(calm, 1)[0]) is None
    tight = make_problem(engine__settings={"dtype": "half", "gpu_memory_utilization": 0.98, "max_model_len": 4096})
    words = risk_words(tight, launch(calm, 1)[0])
    assert words is None, "it is judged by the trial's own settings"
    trial = replace(launch(calm, 1)[0], candidate=tight.default)
    assert (risk_words(tight, trial) or "").startswith("at risk by the estimate, though it served here: memory outside")

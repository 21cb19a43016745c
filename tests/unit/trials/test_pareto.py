"""Fronts of several metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.errors import InputError
from planner.report.view import loads_table, pareto_table
from planner.study.problem import Problem
from planner.terminal import make_console
from planner.trials.pareto import front, parse_metrics
from planner.trials.trial import Rerun

Make = Callable[..., Problem]
PAIR = ("ttft_p95", "output_throughput")


def test_a_trial_that_is_beaten_in_both_is_left_out(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    trials = tune(problem, 4)
    figures = [(1.0, 100.0), (2.0, 200.0), (2.5, 150.0), (1.0, 90.0)]
    given = [replace(t, metrics=dict(zip(PAIR, pair, strict=True))) for t, pair in zip(trials, figures, strict=True)]
    assert [point.trial.number for point in front(problem, given, PAIR)] == [0, 1]
    assert [point.trial.number for point in front(problem, given, PAIR[::-1])] == [1, 0]


def test_only_trials_of_the_search_that_kept_their_limits_count(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    trials = tune(problem, 2)
    failed = replace(trials[1], outcome="failed")
    again = replace(trials[1], rerun=Rerun(of=1, series="1", round=0), metrics={"ttft_p95": 0.0, PAIR[1]: 1e9})
    assert [point.trial.number for point in front(problem, [trials[0], failed, again], PAIR)] == [0]


def test_the_context_is_a_metric_of_a_front(make_problem: Make, launch: Any) -> None:
    search = {"search": {"max_model_len": [2048, 4096]}}
    problem = make_problem(engine__settings={"dtype": "half", "max_num_seqs": 8}, search_space=search)
    short, long = launch(problem, 3)[1:]
    quick, slow = ({"output_throughput": figure} for figure in (200.0, 100.0))
    pair = ("max_model_len", "output_throughput")
    assert (
        front(problem, [replace(short, metrics=quick), replace(long, metrics=slow)], pair)[0].trial.number
        == long.number
    )
    assert front(problem, [replace(short, metrics=slow), replace(long, metrics=quick)], pair)[1:] == []


def test_every_load_of_a_trial_is_a_point(make_problem: Make, tune: Any) -> None:
    """Fewer requests in flight: slower in all, and each has its first token sooner."""
    problem = make_problem(also_at=[1], workload__num_requests=16)
    (trial,) = tune(problem, 1)
    assert [(point.trial.number, point.load) for point in front(problem, [trial], PAIR)] == [(0, 1.0), (0, None)]
    shown = "\n".join(lines_of(pareto_table(problem, front(problem, [trial], PAIR), PAIR)))
    assert "│     0 │    1 │" in shown
    assert "│     0 │    4 │" in shown
    assert "│     0 │    1 │" in "\n".join(lines_of(loads_table(problem, [trial])))
    assert loads_table(problem, [replace(trial, at_loads=())]) is None


def lines_of(shown: Any) -> list[str]:
    console = make_console()
    with console.capture() as captured:
        console.print(shown)
    return captured.get().splitlines()


@pytest.mark.parametrize("text", ["", "ttft_p95", "ttft_p95,ttft_p95", "ttft_p95,speed"])
def test_a_front_needs_two_known_metrics(text: str) -> None:
    with pytest.raises(InputError, match="--pareto"):
        parse_metrics(text)

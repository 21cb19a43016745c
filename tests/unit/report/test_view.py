"""What a person reads: the tables and sentences, as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from planner.report.view import conclusion, in_short, plan_view, trials_table
from planner.study.problem import Problem
from planner.trials.trial import Failure
from planner.trials.wording import describe
from tests.forecasts import forecast_of

Make = Callable[..., Problem]


def _text(renderable: Any) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(renderable)
    return " ".join(capture.get().split())


@pytest.fixture
def three(make_problem: Make, launch: Any) -> tuple[Problem, list[Any]]:
    """The default at 100 tok/s, a better one, and one that failed."""
    problem = make_problem()
    default, better, failed = launch(problem, 3)
    failure = Failure(kind="EngineOutOfMemory", message="CUDA out of memory")
    return problem, [
        replace(default, value=100.0),
        replace(better, value=125.0),
        replace(failed, value=None, outcome="failed", failure=failure),
    ]


def test_the_plan_counts_what_is_feasible_and_names_what_removes_the_rest(make_problem: Make) -> None:
    problem = make_problem(search_space={"search": {"swap_space": [0, 4], "max_num_batched_tokens": [1024, 4096]}})
    text = _text(plan_view(forecast_of(problem), "about 3 min", "here", "docker", 7))
    assert "candidates 4: 2 feasible, 2 infeasible" in text
    assert "2 by rule: max_num_batched_tokens >= max_model_len without chunked prefill" in text
    assert "no effect on speed: V0 only pins it" in text
    assert "7 on backend docker, sampler planner" in text
    assert "SIMULATED" not in text
    assert "SIMULATED" in _text(plan_view(forecast_of(problem), "", "", "simulated", 1))


def test_candidates_in_words(make_problem: Make) -> None:
    search = {
        "layout": ["2xtp1"],
        "max_num_seqs": [None, 8],
        "enable_prefix_caching": [True, False],
        "block_size": [16],
    }
    problem = make_problem(search_space={"search": search})
    assert describe(problem, problem.default) == "engine defaults: 2 instances, each --tensor-parallel-size 1"
    chosen = problem.choices.candidate(
        {"layout": "2xtp1", "max_num_seqs": 8, "enable_prefix_caching": False, "block_size": 16}
    )
    flags = "--max-num-seqs 8 --block-size 16 --no-enable-prefix-caching"
    assert describe(problem, chosen) == f"2 instances, each --tensor-parallel-size 1 {flags}"


def test_the_table_marks_the_best_and_compares_with_the_default(three: tuple[Problem, list[Any]]) -> None:
    text = _text(trials_table(*three))
    assert "1*" in text
    assert "125.0 tok/s" in text
    assert "+25.0%" in text
    assert "failed: CUDA out of memory" in text


def test_the_conclusion_is_about_best_and_default(three: tuple[Problem, list[Any]]) -> None:
    problem, (default, better, failed) = three
    text = _text(conclusion(forecast_of(problem), [default, better, failed]))
    assert "best: trial 1, output_throughput 125.0 tok/s" in text
    assert "engine defaults: 100.0 tok/s; the best is +25.0%" in text
    assert "SIMULATED" in text
    assert "the engine's defaults are the best" in _text(
        conclusion(forecast_of(problem), [replace(default, value=200.0), better])
    )
    assert "no trial kept every limit" in _text(conclusion(forecast_of(problem), [failed]))
    assert "engine defaults: failed: CUDA out of memory" in _text(
        conclusion(forecast_of(problem), [replace(failed, candidate=problem.default, number=0), better])
    )


def test_in_short_the_result_stands_above_its_table(
    three: tuple[Problem, list[Any]],
) -> None:
    problem, trials = three
    text = _text(in_short(forecast_of(problem), trials, "bash run.sh", "planner report --all", ["wrote run.sh"]))
    places = [text.index(words) for words in ("best: trial 1", "price: ", "flags: ", "run: bash run.sh", "as good: ")]
    assert [*places, text.index("Trials: output_throughput")] == sorted([*places, text.index("Trials: ")])
    assert "what mattered" not in text
    assert "wrote run.sh" in text
    assert "all trials, finals, reasons and origins: planner report --all" in text
    assert "SIMULATED" in text
    only_failed = _text(in_short(forecast_of(problem), trials[2:], ""))
    assert "no trial kept every limit" in only_failed
    assert "run:" not in only_failed

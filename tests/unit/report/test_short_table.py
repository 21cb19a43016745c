"""The short table: at most eight rows, those that run alike in one, and no column that never varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.constraints import Constraint
from planner.report.short_table import MOST_ROWS, short_table, trial_groups
from planner.study.problem import Problem
from planner.study.question import Question, with_question
from planner.trials.trial import Failure, Trial
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
SEQS = [1, 2, 3, 4, 6, 8, 12, 16, 32]
IN_FLIGHT = 4


@pytest.fixture
def many(make_problem: Make, launch: Any) -> tuple[Problem, list[Trial]]:
    """The default and a trial for each of SEQS at four in flight, the more at once the faster."""
    problem = make_problem(
        search_space={"search": {"max_num_seqs": SEQS, "gpu_memory_utilization": [0.85, 0.9]}},
        workload__concurrency=IN_FLIGHT,
    )
    (trial,) = launch(problem, 1)
    made = [replace(trial, number=0, candidate=problem.default, value=50.0)]
    for number, seqs in enumerate(SEQS, 1):
        candidate = problem.choices.candidate({"max_num_seqs": seqs, "gpu_memory_utilization": 0.85})
        made.append(replace(trial, number=number, candidate=candidate, value=100.0 + min(seqs, IN_FLIGHT)))
    return problem, made


def test_what_runs_alike_under_the_load_is_one_row(many: tuple[Problem, list[Trial]]) -> None:
    problem, trials = many
    groups = [[trial.number for trial in group.trials] for group in trial_groups(forecast_of(problem), trials)]
    alike = next(group for group in groups if len(group) > 1)
    assert all(SEQS[number - 1] >= IN_FLIGHT for number in alike)
    assert len(alike) == sum(seqs >= IN_FLIGHT for seqs in SEQS)
    table = short_table(forecast_of(problem), trials)
    assert len(table.rows) == len(groups) <= MOST_ROWS
    row = next(row for row in table.rows if "and" in row.number)
    assert row.settings[0].endswith("others")


def test_the_winner_comes_first_and_the_default_second(many: tuple[Problem, list[Trial]]) -> None:
    problem, trials = many
    first, second, *_ = short_table(forecast_of(problem), trials).rows
    assert "*" in first.number
    assert second.number == "0 (default)"


def test_no_more_than_eight_rows_and_the_rest_is_counted(make_problem: Make, launch: Any) -> None:
    problem = make_problem(
        search_space={"search": {"max_num_batched_tokens": [2048 + 256 * i for i in range(12)]}},
    )
    (trial,) = launch(problem, 1)
    trials = [replace(trial, number=0, candidate=problem.default, value=50.0)]
    for number in range(1, 13):
        candidate = problem.choices.candidate({"max_num_batched_tokens": 2048 + 256 * (number - 1)})
        message = f"reason {number}"
        failure = Failure(kind="EngineDied", message=message)
        trials.append(replace(trial, number=number, candidate=candidate, value=None, outcome="failed", failure=failure))
    table = short_table(forecast_of(problem), trials)
    assert len(table.rows) == MOST_ROWS
    assert table.below[-1] == "not shown: 5 more trials"
    assert "trial 1: failed: reason 1" in table.below


def test_failures_of_one_reason_are_one_row(many: tuple[Problem, list[Trial]]) -> None:
    problem, trials = many
    failure = Failure(kind="EngineOutOfMemory", message="CUDA out of memory")
    failed = [replace(trial, value=None, outcome="failed", failure=failure) for trial in trials[2:]]
    table = short_table(forecast_of(problem), [*trials[:2], *failed])
    assert [row.number for row in table.rows] == ["1*", "0 (default)", "2, 3, 4, 5 and 4 more"]
    assert table.rows[-1].figures[0] == "failed"


def test_the_share_of_drafts_taken_has_a_column_where_some_trial_drafts(many: tuple[Problem, list[Trial]]) -> None:
    problem, (default, one, two, *_) = many
    assert "drafts taken" not in short_table(forecast_of(problem), [default, one, two]).figures
    table = short_table(forecast_of(problem), [default, one, replace(two, draft_acceptance=0.43)])
    place = table.figures.index("drafts taken")
    assert sorted(row.figures[place] for row in table.rows) == ["", "", "43%"]


def test_only_columns_that_vary_and_the_limits_of_each_row(many: tuple[Problem, list[Trial]]) -> None:
    problem, (default, one, two, *_) = many
    broken = Constraint("slo ttft_p95", 0.5, "ttft_p95 is 3 s, the limit is 2 s")
    assert "limits" not in short_table(forecast_of(problem), [default, one, two]).figures
    asked = problem.with_spec(with_question(problem.spec, Question(slo="ttft_p95=2s")))
    table = short_table(forecast_of(asked), [default, one, replace(two, constraints=(broken,))])
    assert table.figures[-1] == "limits"
    assert [row.figures[-1] for row in table.rows] == ["kept", "kept", "broken"]
    assert "TTFT p95" not in table.figures, "the metrics of these trials are all the same"
    slow = replace(two, constraints=(broken,), metrics={**two.metrics, "ttft_p95": 3.0})
    assert "TTFT p95" in short_table(forecast_of(asked), [default, one, slow]).figures
    assert table.settings == ("seqs",), "both trials have the same memory"

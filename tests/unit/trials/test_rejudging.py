"""Stored trials under another question: what a replay under it says, trial by trial, and what they cannot say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner.study.problem import Problem
from planner.trials.racing import Repeats
from planner.trials.ranking import best_trial
from planner.trials.rejudging import competes, other_questions, rejudged
from planner.trials.trial import Trial
from planner.tuning.evaluation import evaluate
from planner.tuning.replay import limited_to, read_records, replayed
from tests.forecasts import forecast_of

Make = Callable[..., Problem]
FIRST: dict[str, Any] = {"metric": "output_throughput", "slo": {"ttft_p95": "9s"}}
OTHERS: list[dict[str, Any]] = [
    {"metric": "output_throughput", "slo": {"tpot_p95": "12ms", "output_throughput": 60}},
    {"metric": "tpot_p50"},
    {"weights": {"output_throughput": 1, "ttft_p95": 0.3}, "slo": {"e2el_p99": "1s"}},
]


def by_replay(problem: Problem, trials: list[Trial], path: Path) -> list[Trial]:
    """The trials as `tune --replay` judges them under the problem's question."""
    path.write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in trials))
    records = read_records(path, problem)
    forecast = limited_to(problem, records)
    measure = replayed(problem, records)
    return [
        evaluate(forecast, trial.candidate, trial.number, measure, lambda *_: None, trial.provenance, Repeats(0, 3))
        for trial in trials
    ]


def judgement(trial: Trial) -> dict[str, Any]:
    return {
        "value": f"{trial.value:.12g}",
        "repeats": [f"{value:.12g}" for value in trial.repeat_values],
        "predicted": f"{trial.predicted_value:.12g}",
        "limits": {constraint.name: constraint for constraint in trial.constraints},
        "given up": trial.stopped_at,
        "acceptable": trial.is_acceptable,
    }


@pytest.mark.parametrize("asked", OTHERS)
def test_it_is_what_a_replay_gives_trial_by_trial(
    make_problem: Make, launch: Any, tmp_path: Path, asked: dict[str, Any]
) -> None:
    trials = launch(make_problem(repeats=3, objective=FIRST), 4)
    trials[2] = replace(trials[2], stopped_at=0.6, repeat_values=trials[2].repeat_values[:1])
    problem = make_problem(repeats=3, objective=asked)
    found = [rejudged(forecast_of(problem), trial) for trial in trials]
    assert [judgement(trial) for trial in found] == [
        judgement(trial) for trial in by_replay(problem, trials, tmp_path / "trials.jsonl")
    ]
    assert [judgement(trial) for trial in found] != [judgement(trial) for trial in trials]
    first = forecast_of(make_problem(repeats=3, objective=FIRST))
    assert [rejudged(first, trial) for trial in trials] == trials


def test_a_limit_is_judged_by_the_worst_repeat_and_failed_requests_stay(make_problem: Make, launch: Any) -> None:
    (trial,) = launch(make_problem(repeats=3), 1)
    worst = max(run["ttft_p95"] for run in trial.repeat_metrics)
    assert worst > trial.metrics["ttft_p95"]
    between = (worst + trial.metrics["ttft_p95"]) / 2
    forecast = forecast_of(make_problem(repeats=3, objective={"slo": {"ttft_p95": between}}))
    assert not rejudged(forecast, trial).is_acceptable
    assert rejudged(forecast, replace(trial, repeat_metrics=())).is_acceptable, "an older version kept the means alone"
    assert "requests complete" in {constraint.name for constraint in rejudged(forecast, trial).constraints}


def test_what_was_not_measured_is_not_kept(make_problem: Make, launch: Any) -> None:
    (trial,) = launch(make_problem(), 1)
    bare = replace(
        trial,
        repeat_metrics=tuple({k: v for k, v in run.items() if k != "tpot_p99"} for run in trial.repeat_metrics),
    )
    found = rejudged(forecast_of(make_problem(objective={"slo": {"tpot_p99": "9s"}})), bare)
    assert [c.message for c in found.constraints if c.excess > 0] == ["tpot_p99 was not measured"]
    assert rejudged(forecast_of(make_problem(objective={"metric": "tpot_p99"})), bare).value is None


def test_who_was_given_up_for_another_question_does_not_compete(make_problem: Make, launch: Any) -> None:
    first, problem = make_problem(objective=FIRST), make_problem(objective=OTHERS[1])
    kept, given_up = launch(first, 2)
    given_up = replace(given_up, stopped_at=0.5, value=9.0)
    assert competes(first, given_up)
    assert not competes(problem, given_up)
    assert competes(problem, kept)
    again = replace(
        given_up, number=2, stopped_at=None, value=1e-6, repeat_values=(1e-6,), asked=problem.objective.asked
    )
    best = best_trial(problem, [kept, given_up, again])
    assert best is not None
    assert best.number == 2, "it is judged by the launch for this question alone"
    assert other_questions(problem, [kept, given_up]) == ["output_throughput; ttft_p95 at most 9 s"]
    assert other_questions(first, [kept, given_up]) == []

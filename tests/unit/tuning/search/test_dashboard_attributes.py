"""What Optuna, its dashboard and pandas show of a study: names with units, words and plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna
import pytest

from planner.benchmark.metric import GOALS
from planner.study.problem import Problem
from planner.trials.trial import Failure
from planner.tuning.search.dashboard_attributes import settings_words, study_words, trial_attributes, with_unit

Make = Callable[..., Problem]


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("output_throughput", "output_throughput_tokens_per_s"),
        ("request_throughput", "request_throughput_per_s"),
        ("ttft_p95", "ttft_p95_s"),
        ("itl_mean", "itl_mean_s"),
        ("max_model_len", "max_model_len_tokens"),
        ("score", "score"),
    ],
)
def test_names_carry_their_unit(metric: str, name: str) -> None:
    assert with_unit(metric) == name


def test_every_metric_has_a_unit() -> None:
    assert all(with_unit(metric) != metric for metric in GOALS)


def test_attributes_are_short_and_plain(make_problem: Make, launch: Any) -> None:
    problem = make_problem(objective={"metric": "ttft_p99", "slo": {"e2el_p90": "1ms"}})
    default, other = launch(problem, 2)
    found = trial_attributes(problem, other)
    assert found["settings"] == settings_words(problem, other.candidate) != ""
    assert all(f"{name}=" in str(found["settings"]) for name in problem.choices.names)
    assert trial_attributes(problem, default)["settings"] == "engine defaults layout=2xtp1"
    assert {"ttft_p99_s", "e2el_p90_s", "output_throughput_tokens_per_s", "predicted_ttft_p99_s"} <= found.keys()
    assert found["ttft_p99_s"] == pytest.approx(other.metrics["ttft_p99"], rel=1e-5)
    assert "e2el_p90 is " in str(found["why"])  # the limit it breaks
    assert (found["backend"], found["outcome"]) == ("SIMULATED", "measured")
    assert all(isinstance(value, str | int | float) and len(str(value)) < 200 for value in found.values())


def test_a_failure_says_why(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    trial = replace(
        launch(problem)[0], outcome="failed", failure=Failure(kind="EngineOutOfMemory", message="no room"), metrics={}
    )
    found = trial_attributes(problem, replace(trial, provenance=replace(trial.provenance, simulated=False)))
    assert (found["why"], found["outcome"]) == ("EngineOutOfMemory: no room", "failed")
    assert found["backend"] == "simulated"
    assert "output_throughput_tokens_per_s" not in found


def test_the_study_says_what_it_is_about(make_problem: Make) -> None:
    assert study_words(make_problem()) == "Qwen3-8B on 2 x RTX 2080 Ti 22GB, vLLM 0.8.5, load custom"


def test_pandas_gets_a_column_for_each(make_problem: Make, tune: Any, storage: str) -> None:
    problem = make_problem()
    trials = tune(problem, 4)
    study = optuna.load_study(study_name=problem.spec.name, storage=storage)
    frame = study.trials_dataframe()
    assert study.user_attrs["about"] == study_words(problem)
    assert list(frame["value_output_throughput_tokens_per_s"]) == [trial.value for trial in trials]
    assert list(frame["params_layout"].dropna()) == [str(trial.candidate.layout) for trial in trials[1:]]
    for name in ("ttft_p95_s", "tpot_p50_s", "kv_cache_tokens", "start_s"):
        assert frame[f"user_attrs_{name}"].dtype.kind in "if", name  # numbers, not text
    assert set(frame["user_attrs_backend"]) == {"SIMULATED"}
    best = frame.sort_values("value_output_throughput_tokens_per_s").iloc[-1]
    assert study.best_trial.number == best["number"]

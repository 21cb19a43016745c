"""The loop: what counts, what stops it, what a trial remembers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from planner.errors import (
    BackendError,
    BenchmarkError,
    Disturbed,
    EngineCrashed,
    EngineRejected,
    EngineStartTimeout,
    InputError,
)
from planner.report.view import conclusion
from planner.study.problem import Problem
from planner.trials.finals import judge_finals
from planner.trials.racing import Repeats
from planner.trials.ranking import best_trial
from planner.trials.trial import default_trial
from planner.tuning.evaluation import LAUNCHES_OF_A_TRIAL
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_finals, run_study
from planner.tuning.measure import Measurement, simulated
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]


def test_a_backend_error_stops_the_study_and_keeps_what_is_finished(
    make_problem: Make, tune: Any, storage: str, watcher: Any
) -> None:
    problem = make_problem()
    works = simulated(forecast_of(problem))

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        if number == 2:
            raise BackendError("Docker Engine does not answer")
        return works(candidate, number, on_stage, repeats)

    with pytest.raises(BackendError):
        tune(problem, 5, measure)
    assert [trial.number for trial in Search.open(forecast_of(problem), storage).trials()] == [0, 1]
    trials = tune(problem, 3, observer=watcher)
    assert [number for number, _ in watcher.asked] == [2]  # the interrupted one, again
    assert [trial.outcome for trial in trials] == ["measured"] * 3


@pytest.mark.parametrize("num_ends", [2, 3])
def test_a_launch_that_others_ended_is_repeated_but_not_for_ever(
    make_problem: Make, tune: Any, storage: str, num_ends: int
) -> None:
    problem = make_problem()
    works, ended = simulated(forecast_of(problem)), iter(range(num_ends))

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        for i in ended:
            raise Disturbed(f"somebody removed its container for the {i + 1}. time")
        return works(candidate, number, on_stage, repeats)

    if num_ends < LAUNCHES_OF_A_TRIAL:
        (trial,) = tune(problem, 1, measure)
        assert trial.outcome == "measured"
        assert [words[-7:] for words in trial.disturbances] == ["1. time", "2. time"]
    else:
        with pytest.raises(BackendError, match="trial 0 was launched 3 times: somebody removed its container"):
            tune(problem, 1, measure)
        assert Search.open(forecast_of(problem), storage).trials() == []


@pytest.mark.parametrize("kind", [EngineRejected, EngineCrashed, EngineStartTimeout, BenchmarkError])
def test_an_engine_that_does_not_serve_is_an_outcome_and_the_study_goes_on(
    make_problem: Make, tune: Any, kind: type[Exception]
) -> None:
    problem = make_problem()
    works = simulated(forecast_of(problem))

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        if number == 0:
            raise kind("no")
        return works(candidate, number, on_stage, repeats)

    default, other = tune(problem, 2, measure)  # a failure is a launch, too
    assert (default.outcome, default.failure.kind, default.value) == ("failed", kind.__name__, None)
    assert other.outcome == "measured"
    assert default_trial(problem, [default, other]) == default
    assert best_trial(problem, [default, other]) == other


def test_a_bug_is_not_an_outcome(make_problem: Make, tune: Any) -> None:
    def measure(*_: Any) -> Measurement:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        tune(make_problem(), 1, measure)


def test_an_infeasible_default_is_told_not_launched_and_not_counted(
    make_problem: Make, tune: Any, watcher: Any
) -> None:
    """The engine's own 256 sequences do not fit beside 64 tokens a step; the searched ones do."""
    problem = make_problem(
        engine__settings={
            "dtype": "half", "max_model_len": 4096, "enable_chunked_prefill": True, "max_num_batched_tokens": 64,
        },
    )  # fmt: skip
    launched = []
    works = simulated(forecast_of(problem))

    def measure(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        launched.append(number)
        return works(candidate, number, on_stage, repeats)

    default, *others = tune(problem, 2, measure, watcher)
    assert (default.number, default.outcome, default.was_launched) == (0, "infeasible", False)
    assert default.constraints[0].name == "max_num_batched_tokens >= max_num_seqs"
    assert launched == [trial.number for trial in others] == [1, 2]


def test_repeats_are_averaged(make_problem: Make, tune: Any) -> None:
    problem = make_problem(repeats=3, workload__input_tokens={"low": 8, "high": 900})
    (trial,) = tune(problem, 1)
    assert len(set(trial.repeat_values)) == 3
    assert trial.value == pytest.approx(sum(trial.repeat_values) / 3)


def test_a_broken_limit_is_measured_and_never_best(make_problem: Make, launch: Any) -> None:
    problem = make_problem(objective={"slo": {"ttft_p95": "1ms"}})
    (trial,) = launch(problem)
    broken = next(constraint for constraint in trial.constraints if constraint.name == "slo ttft_p95")
    assert broken.excess == pytest.approx(trial.metrics["ttft_p95"] / 0.001 - 1)
    assert (trial.outcome, trial.is_acceptable, trial.value > 0) == ("measured", False, True)
    assert best_trial(problem, [trial]) is None


def test_a_trial_says_when_and_on_what(make_problem: Make, storage: str, watcher: Any) -> None:
    problem = make_problem()
    clock = iter([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)])
    (trial,) = run_study(
        problem,
        Search.open(forecast_of(problem), storage),
        LocalExecutor(problem, simulated(forecast_of(problem)), watcher.stage, "simulated", now=lambda: next(clock)),
        1,
        watcher,
    )
    provenance = trial.provenance
    assert provenance.finished_at == "2026-01-02T03:04:05+00:00"
    assert (provenance.simulated, provenance.vllm_version, provenance.gpu) == (True, "0.8.5", "RTX 2080 Ti 22GB")
    assert provenance.image == "vllm/vllm-openai:v0.8.5"
    assert watcher.trials == [trial]
    assert watcher.stages[0] == "starting"


def test_of_equal_trials_the_earlier_is_best_and_latencies_go_down(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    a, b, c = (replace(trial, value=value) for trial, value in zip(launch(problem, 3), (1.0, 2.0, 2.0), strict=True))
    assert best_trial(problem, [a, b, c]) == b
    latency = make_problem(objective={"metric": "ttft_p50"})
    assert best_trial(latency, [a, b, c]) == a
    assert best_trial(problem, []) is None


# --- objectives, on the simulated engine ---

CONTEXT = {
    "engine__settings": {"dtype": "half", "gpu_memory_utilization": 0.9, "enable_chunked_prefill": False},
    "hardware__num_gpus": 1,
    "search_space": {"search": {"max_model_len": [4096, 10240, 16384], "max_num_seqs": [16, 64]}},
    "workload": {
        "concurrency": 64,
        "num_requests": 96,
        "input_tokens": {"low": 64, "high": 400},
        "output_tokens": {"low": 64, "high": 400},
    },
}


def test_the_largest_context_that_keeps_a_throughput_is_found(
    make_problem: Make, tune: Any, storage: str, watcher: Any
) -> None:
    """Longer contexts leave less KV cache, so fewer requests run: the answer is what measuring every context gives."""
    problem = make_problem(**CONTEXT, objective={"metric": "max_model_len", "slo": {"output_throughput": 528}})
    run = simulated(forecast_of(problem))
    measured = {}
    for context in (4096, 10240, 16384):
        candidate = problem.choices.candidate({"max_model_len": context, "max_num_seqs": 64})
        measured[context] = run(candidate, 1, lambda *_: None, Repeats(0, 1)).metrics()["output_throughput"]
    assert [context for context, throughput in measured.items() if throughput >= 528] == [4096, 10240]
    best = best_trial(problem, tune(problem, 4))
    assert best is not None
    assert best.value == 10240
    finals = judge_finals(
        problem,
        run_finals(
            problem,
            Search.open(forecast_of(problem), storage),
            LocalExecutor(problem, run, watcher.stage, "simulated"),
            watcher,
        ),
    )
    assert finals is not None
    assert finals.winner is not None
    assert finals.winner.value == 10240
    assert finals.winner.metrics["output_throughput"] >= 528
    text = " ".join(
        line.plain
        for line in conclusion(forecast_of(problem), Search.open(forecast_of(problem), storage).trials()).renderables[
            1:
        ]
    )
    assert "max_model_len 10 240 tokens (output_throughput" in text
    assert "the largest tried that kept output_throughput at least 528.0 tok/s" in text
    assert "what mattered for output_throughput" in text
    assert "speed model" not in text


def test_a_score_is_pushed_under_limits_from_both_sides(make_problem: Make, tune: Any) -> None:
    objective = {
        "weights": {"output_throughput": 1, "ttft_p95": 0.5},
        "slo": {"request_throughput": "1.5", "e2el_p95": "1min"},
    }
    problem = make_problem(**CONTEXT, objective=objective)
    trials = tune(problem, 5)
    measured = [trial for trial in trials if trial.outcome == "measured"]
    for trial in measured:
        throughput, ttft_s = trial.metrics["output_throughput"], trial.metrics["ttft_p95"]
        assert trial.value == pytest.approx((throughput / ttft_s**0.5) ** (1 / 1.5))
        kept = trial.metrics["request_throughput"] >= 1.5 and trial.metrics["e2el_p95"] <= 60
        assert trial.is_acceptable is kept
    best = best_trial(problem, trials)
    assert best is not None
    assert best.value == max(trial.value for trial in measured if trial.is_acceptable)


def test_a_context_must_be_searched_and_hold_the_workload(make_problem: Make) -> None:
    objective = {"metric": "max_model_len"}
    with pytest.raises(InputError, match="tiny: objective: max_model_len is not searched"):
        Search.open(forecast_of(make_problem(objective=objective)), None)
    short = make_problem(
        engine__settings={"dtype": "half"}, search_space={"search": {"max_model_len": [64, 2048]}}, objective=objective
    )
    assert list(grid_of(short).removed_by().values()) == [1]
    assert short.known(short.choices.candidate({"max_model_len": None}))["max_model_len"] == 40960

"""When a candidate needs no more load, and when it does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from planner.benchmark.load.progress import LoadWatch, Moment
from planner.benchmark.metrics import BenchmarkResult
from planner.benchmark.records import RequestRecord
from planner.study.candidate import Candidate
from planner.study.problem import Problem
from planner.trials.finals import finalists
from planner.trials.racing import LAUNCH_NOISE, PRIOR_NOISE, PRIOR_PACE_NOISE, Race, bar_of, noise_std, race
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.trials.wording import outcome_text
from planner.tuning.evaluation import evaluate
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import simulated
from planner.tuning.replay import limited_to, read_records, replayed
from planner.tuning.search.search import Search
from planner.workload.workload import plan_requests
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
LOAD = {"concurrency": 8, "num_requests": 64, "input_tokens": 64, "output_tokens": 16}
NUM_TOKENS = 64 * 16


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


def other(problem: Problem) -> Candidate:
    return problem.choices.candidate(
        problem.choices.params(grid_of(problem).indices[grid_of(problem).feasible_rows[0]])
    )


def against(problem: Problem, trials: Sequence[Trial], candidate: Candidate) -> Race:
    """The race of a candidate against the best of these."""
    return race(problem, candidate, bar_of(problem, trials, candidate))


@pytest.fixture
def start(make_problem: Make, launch: Any) -> Callable[..., Race]:
    """The race of a candidate against a default of 100 a second."""

    def build(**changes: Any) -> Race:
        problem = make_problem(workload=LOAD, **changes)
        (trial,) = launch(problem)
        trial = replace(trial, value=100.0, repeat_values=(100.0, 100.0), pace_errors=())
        return against(problem, [trial], other(problem))

    return build


# --- between repeats --------------------------------------------------------------------------------------------------


def test_what_is_surely_worse_stops_after_one_repeat(start: Callable[..., Race]) -> None:
    assert start().is_lost([result(80)])
    assert not start().is_lost([result(94)])
    assert not start().is_lost([result(120)])


def test_a_broken_limit_stops_too(start: Callable[..., Race]) -> None:
    slow = replace(result(120), metrics={"output_throughput": 120.0, "ttft_p95": 2.0})
    assert start(objective={"slo": {"ttft_p95": "1s"}}).is_lost([slow])
    assert not start(objective={"slo": {"ttft_p95": "3s"}}).is_lost([slow])


def test_repeats_that_would_tell_no_more_are_spared(make_problem: Make, launch: Any) -> None:
    """What differs between launches stays: after a steady repeat two more add nothing, after an unsteady one much."""
    problem = make_problem()
    trials = [replace(trial, number=i, value=100.0) for i, trial in enumerate(launch(problem, 5))]

    def enough(*repeats: float) -> list[bool]:
        known = [replace(t, repeat_values=repeats if t.number % 2 else repeats[::-1]) for t in trials]
        runs = against(problem, known, other(problem))
        return [runs.is_enough([result(100)] * done, 3) for done in (1, 2)]

    assert enough(100, 100, 100) == [True, True]
    assert enough(98, 100, 102) == [False, True]
    assert enough(90, 100, 110) == [False, False]
    assert not race(problem, other(problem), None).is_enough([result(100)], 3)


def test_without_a_best_nothing_is_lost(make_problem: Make) -> None:
    problem = make_problem()
    assert not race(problem, other(problem), None).is_lost([result(1e-6)])


def test_the_default_runs_to_its_end_and_so_do_all_where_racing_is_off(make_problem: Make, launch: Any) -> None:
    problem, without = make_problem(), make_problem(racing=False)
    trials = [replace(launch(problem)[0], value=100.0, repeat_values=(100.0,))]
    for runs in (against(problem, trials, problem.default), against(without, trials, other(without))):
        assert not runs.is_lost([result(1e-6)])
        assert runs.watch([], plan_requests(problem.workload)) is None


def test_a_latency_is_better_when_lower(start: Callable[..., Race]) -> None:
    runs = start(objective={"metric": "ttft_p95"})
    assert runs.is_lost([result(130, "ttft_p95")])
    assert not runs.is_lost([result(70, "ttft_p95")])


def test_a_score_races_with_what_is_known_before(make_problem: Make, launch: Any) -> None:
    """Half the throughput at four times the context is worth more; at the same context it is lost."""
    space = {"engine__settings": {"dtype": "half"}, "search_space": {"search": {"max_model_len": [4096, 16384]}}}
    problem = make_problem(objective={"weights": {"output_throughput": 1, "max_model_len": 1}}, **space)
    value = (100 * 4096) ** 0.5
    trial = replace(launch(problem)[0], value=value, repeat_values=(value,))
    short, long = (problem.choices.candidate({"max_model_len": length}) for length in (4096, 16384))
    assert against(problem, [trial], short).is_lost([result(50)])
    assert not against(problem, [trial], long).is_lost([result(50)])
    alone = make_problem(objective={"metric": "max_model_len"}, **space)
    assert not against(alone, [replace(trial, value=16384.0)], short).is_lost([result(50)])


def test_noise_comes_from_the_repeats(make_problem: Make, launch: Any) -> None:
    (trial,) = launch(make_problem())
    rng = random.Random(1)
    noisy = [replace(trial, repeat_values=tuple(100 + rng.gauss(0, 10) for _ in range(4))) for _ in range(20)]
    assert noise_std([]) == PRIOR_NOISE
    assert noise_std(noisy) == pytest.approx(0.1, rel=0.3)


def test_prompts_that_are_slow_for_all_are_no_noise(make_problem: Make, launch: Any) -> None:
    """Of each trial the second repeat is 30 % slower: against the best's same repeat nobody differs."""
    problem = make_problem()
    trials = [
        replace(trial, number=i, value=value, repeat_values=(value * 1.15, value * 0.85))
        for i, (trial, value) in enumerate(zip(launch(problem, 4), (90.0, 95.0, 99.0, 100.0), strict=True))
    ]
    runs = against(problem, trials, other(problem))
    assert runs.is_lost([result(84 * 1.15), result(84 * 0.85)])
    assert not runs.is_lost([result(99 * 1.15)])
    assert not runs.is_lost([result(99 * 1.15), result(99 * 0.85)])


def test_a_best_whose_answers_may_be_refused_stops_nobody_but_its_like(make_problem: Make, launch: Any) -> None:
    space = {"search": {"kv_cache_dtype": ["auto", "fp8_e5m2"], "max_num_seqs": [8, 32]}}
    problem = make_problem(search_space=space)
    default, fast = launch(problem)[0], problem.choices.candidate({"kv_cache_dtype": "fp8_e5m2", "max_num_seqs": 32})
    trials = [
        replace(default, value=50.0, repeat_values=(50.0,)),
        replace(default, number=1, candidate=fast, value=100.0, repeat_values=(100.0,)),
    ]
    plain = problem.choices.candidate({"kv_cache_dtype": "auto", "max_num_seqs": 8})
    its_like = problem.choices.candidate({"kv_cache_dtype": "fp8_e5m2", "max_num_seqs": 8})
    assert against(problem, trials, its_like).is_lost([result(60)])
    assert not against(problem, trials, plain).is_lost([result(60)])
    assert against(problem, trials, plain).is_lost([result(40)])


# --- within a repeat --------------------------------------------------------------------------------------------------


def run_load(watch: LoadWatch | None, seconds: np.ndarray[Any, Any]) -> float | None:
    """Tell `watch` of a load whose equal parts take so many seconds; the share at which it stops."""
    assert watch is not None
    for done, elapsed_s in enumerate(np.cumsum(seconds).tolist(), 1):
        share = done / len(seconds)
        moment = Moment(
            elapsed_s=elapsed_s,
            answered=min(64, int(share * 64) + 8),
            finished=int(share * 64),
            input_tokens=int(share * 64 * 64),
            output_tokens=int(share * NUM_TOKENS),
        )
        if done < len(seconds) and watch.stop_reason(moment) is not None:
            return share
    return None


PARTS = 25


def test_a_third_less_is_seen_before_half_of_the_load(make_problem: Make, start: Callable[..., Race]) -> None:
    plans = plan_requests(make_problem(workload=LOAD).workload)
    even = np.full(PARTS, NUM_TOKENS / 100 / PARTS)
    assert run_load(start().watch([], plans), even / 0.7) < 0.5
    assert run_load(start().watch([], plans), even / 0.3) < 0.25
    assert run_load(start().watch([], plans), even / 0.98) is None
    assert run_load(start().watch([], plans), even * 0.8) is None


def test_a_candidate_as_good_as_the_best_is_given_up_once_in_a_hundred(
    make_problem: Make, start: Callable[..., Race]
) -> None:
    """2000 seeded pairs with the noise that the test allows for: between launches, repeats and parts of a repeat."""
    plans = plan_requests(make_problem(workload=LOAD).workload)
    runs, rng, lost = start(), np.random.default_rng(0), 0
    for _ in range(2000):
        launches = rng.normal(0, LAUNCH_NOISE, 2)
        results: list[BenchmarkResult] = []
        for _ in range(2):
            repeats = rng.normal(0, PRIOR_NOISE, 2)
            value = 100 * np.exp(launches[0] - launches[1] + repeats[0] - repeats[1])
            parts = rng.gamma(1 / (PARTS * PRIOR_PACE_NOISE**2), size=PARTS)
            if run_load(runs.watch(results, plans), parts / parts.sum() * NUM_TOKENS / value) is not None:
                lost += 1
                break
            results.append(result(value))
            if len(results) < 2 and runs.is_lost(results):
                lost += 1
                break
    assert 1 <= lost <= 30


def test_a_limit_that_must_break_stops_at_once(make_problem: Make, start: Callable[..., Race]) -> None:
    runs = start(objective={"slo": {"ttft_p95": "1s"}})
    watch = runs.watch([], plan_requests(make_problem(workload=LOAD).workload))
    assert watch is not None
    stopped = []
    for i in range(6):
        watch.on_record(
            RequestRecord(index=i, started_s=0.0, chunk_s=(1.1, 1.2), finished_s=1.2, input_tokens=64, output_tokens=16)
        )
        tokens = 16 * (i + 1)
        stopped.append(
            watch.stop_reason(
                Moment(elapsed_s=1.6, answered=i + 1, finished=i + 1, input_tokens=4 * tokens, output_tokens=tokens)
            )
            is not None
        )
    assert stopped == [False] * 4 + [True] * 2, "of 64 requests four may be above a 95th percentile's limit"


# --- a whole study ----------------------------------------------------------------------------------------------------


def test_a_study_stops_what_surely_loses(make_problem: Make, tune: Any) -> None:
    """A setting that runs one request at a time is an order of magnitude slower: a part of one repeat says so."""
    workload = {"concurrency": 16, "num_requests": 96, "input_tokens": 64, "output_tokens": 64}
    space = {"search": {"max_num_seqs": [1, 32]}}
    problem = make_problem(repeats=3, workload=workload, search_space=space, also_at=[8])
    trials = tune(problem, 3)
    by_seqs = {trial.candidate.engine.max_num_seqs: trial for trial in trials}
    whole, slow = by_seqs[None], by_seqs[1]
    assert (len(whole.repeat_values), whole.stopped_at) == (3, None)
    assert [at.load for at in whole.at_loads] == [8.0]
    assert slow.stopped_at < 0.2
    assert (slow.repeat_values, slow.at_loads) == ((), ())
    assert (slow.outcome, slow.is_acceptable, slow.failed_requests) == ("measured", True, 0)
    assert best_trial(problem, [replace(whole, value=0.1), slow]).number == whole.number, (
        "an estimate is never the best"
    )
    assert slow not in finalists(problem, [whole, replace(slow, value=whole.value)])
    true = evaluate_whole(problem, slow)
    assert slow.value == pytest.approx(true.value, rel=0.1)
    assert "~" in outcome_text(problem, slow)
    assert "~" not in outcome_text(problem, whole)


def evaluate_whole(problem: Problem, trial: Any) -> Any:
    """The same launch without a race."""
    return evaluate(
        forecast_of(problem),
        trial.candidate,
        trial.number,
        simulated(forecast_of(problem)),
        lambda *_: None,
        trial.provenance,
    )


def test_a_limit_of_the_default_is_measured_to_the_end_and_of_others_is_not(make_problem: Make, tune: Any) -> None:
    problem = make_problem(workload=LOAD, objective={"slo": {"ttft_p95": "1ms"}})
    default, other_one = tune(problem, 2)
    assert (default.stopped_at, other_one.stopped_at is None) == (None, False)
    assert not other_one.is_acceptable
    assert other_one.metrics["ttft_p95"] > 0.001


def test_a_stopped_trial_is_replayed_as_one(make_problem: Make, tune: Any, watcher: Any, tmp_path: Path) -> None:
    workload = {"concurrency": 16, "num_requests": 96, "input_tokens": 64, "output_tokens": 64}
    problem = make_problem(workload=workload, search_space={"search": {"max_num_seqs": [1, 32]}})
    trials = tune(problem, 3)
    assert [trial.stopped_at is None for trial in trials].count(False) == 1
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(trial) + b"\n" for trial in trials))
    records = read_records(path, problem)
    problem = limited_to(problem, records).problem
    again = run_study(
        problem,
        Search.open(forecast_of(problem), None),
        LocalExecutor(problem, replayed(problem, records), watcher.stage, "replay"),
        3,
        watcher,
    )
    kept = ("candidate", "value", "metrics", "stopped_at", "at_loads", "benchmark_s", "start_s")
    assert {t.candidate.key: [getattr(t, name) for name in kept] for t in again} == {
        t.candidate.key: [getattr(t, name) for name in kept] for t in trials
    }

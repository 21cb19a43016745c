"""Other settings in one launch: SIMULATED, as the real engine is tested in tests/integration/test_live_on_vllm.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.benchmark.metrics import BenchmarkResult
from planner.errors import EngineCrashed
from planner.launch.backend import Server
from planner.launch.live.knobs import NoKnobsError
from planner.study.problem import Problem
from planner.trials.live_points import LIVE_BIAS, as_trials, live_covariance
from planner.trials.live_run import LivePoint, LiveRun
from planner.trials.racing import Repeats
from planner.tuning import live_settings
from planner.tuning.executor import LocalExecutor
from planner.tuning.live_settings import measure_live, simulate_live
from planner.tuning.loop import run_study
from planner.tuning.measure import Measurement, simulated
from planner.tuning.search.live_choice import corner_of, live_beside
from planner.tuning.search.search import Search
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of, grid_of

Make = Callable[..., Problem]
SPACE = {"search": {"max_num_seqs": [2, 4, 8, 16], "max_num_batched_tokens": [512, 1024, 4096], "block_size": [16, 32]}}
V1: dict[str, Any] = {
    "engine__version": "0.24.0", "engine__settings": {"max_model_len": 1024}, "hardware__gpu": "H200",
    "hardware__num_gpus": 1, "search_space": SPACE, "workload__concurrency": 12, "workload__num_requests": 24,
}  # fmt: skip


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    found: Problem = make_problem(**V1)
    return found


def of(problem: Problem, seqs: int, tokens: int, block: int = 16) -> Any:
    return problem.choices.candidate({"max_num_seqs": seqs, "max_num_batched_tokens": tokens, "block_size": block})


def test_a_simulated_launch_that_was_turned_equals_one_with_these_limits_in_the_same_memory(problem: Problem) -> None:
    forecast = forecast_of(problem)
    launched, other = of(problem, 16, 4096), of(problem, 4, 4096)
    (point,) = simulate_live(forecast, launched, 3, [other]).points
    assert point.candidate == other
    again = simulate_live(forecast, launched, 3, [other]).points
    assert again == (point,)
    (itself,) = simulate_live(forecast, launched, 3, [launched]).points
    assert itself.metrics["output_throughput"] > point.metrics["output_throughput"]
    assert simulate_live(forecast, other, 3, [launched]).points == ()  # limits are only lowered


class Turned:
    """Knobs that remember what they were turned to, and end after so many turns."""

    def __init__(self, turns: int) -> None:
        self.turned: list[dict[str, int]] = []
        self.turns = turns

    def turn(self, base_urls: Any, model: str, values: dict[str, int]) -> None:  # noqa: ARG002
        if len(self.turned) == self.turns:
            raise NoKnobsError("enough")
        self.turned.append(values)


def result(value: float) -> Any:
    metrics = {"output_throughput": value}
    found = BenchmarkResult(
        duration_s=1.0, completed=1, failed=0, total_input_tokens=1, total_output_tokens=1, metrics=metrics, errors={}
    )
    return type("Repeat", (), {"result": found})()


@pytest.mark.parametrize("error", [None, EngineCrashed("it died")])
def test_what_ends_the_live_part_leaves_what_was_measured(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    values = iter([10.0, 20.0, 30.0])

    def measured(session: Any) -> Any:
        assert not session.warmup
        if error is not None and len(knobs.turned) == 2:
            raise error
        return (result(next(values)),)

    monkeypatch.setattr(live_settings, "measure", measured)
    knobs = Turned(2)
    server = Server((), 1.0, knobs)  # type: ignore[arg-type]
    others = [of(problem, 8, 4096), of(problem, 4, 4096), of(problem, 2, 4096)]
    run = measure_live(problem, of(problem, 16, 4096), server, lambda *_: None, others)
    assert len(run.points) == (2 if error is None else 1)
    assert run.ended == ("enough" if error is None else "it died")


def test_a_given_up_launch_measures_nothing_else(problem: Problem) -> None:
    others = (of(problem, 4, 4096),)
    asked = Repeats(0, 1, live=others)
    assert live_settings.live_after(asked, None) == others
    assert live_settings.live_after(asked, 0.4) == ()


def test_the_launch_is_at_the_largest_limits_until_a_setting_was_seen_live(problem: Problem, launch: Any) -> None:
    forecast, rows = forecast_of(problem), grid_of(problem).feasible_rows
    wanted = problem.row_of(of(problem, 4, 1024))
    corner = corner_of(forecast, wanted, rows, ())
    assert corner == problem.row_of(of(problem, 16, 4096))
    (trial,) = launch(problem)
    seen = replace(trial, live=LiveRun(points=(LivePoint(of(problem, 4, 1024), {"output_throughput": 5.0}),)))
    assert corner_of(forecast, wanted, rows, [seen]) == wanted


def test_beside_a_launch_its_own_group_is_measured_and_nothing_twice(problem: Problem, launch: Any) -> None:
    forecast, rows = forecast_of(problem), grid_of(problem).feasible_rows
    (trial,) = launch(problem)
    beside = live_beside(Surrogate(forecast), forecast, of(problem, 16, 4096), rows, [trial])
    assert 3 <= len(beside) <= 5
    assert {one.engine.block_size for one in beside} == {16}
    seen = replace(trial, live=LiveRun(points=tuple(LivePoint(one, {"output_throughput": 5.0}) for one in beside)))
    assert not {*beside} & {*live_beside(Surrogate(forecast), forecast, of(problem, 16, 4096), rows, [seen])}


def test_live_points_share_their_launchs_luck_and_have_a_doubt_of_their_own(problem: Problem, launch: Any) -> None:
    (trial,) = launch(problem)
    trial = replace(
        trial,
        candidate=of(problem, 16, 4096),
        live=LiveRun(
            points=(
                LivePoint(of(problem, 8, 4096), {"output_throughput": 5.0}),
                LivePoint(of(problem, 2, 1024), {"output_throughput": 4.0}),
                LivePoint(of(problem, 2, 512), {}),
            )
        ),
    )
    live = as_trials(problem, [trial])
    assert [(one.value, bias / LIVE_BIAS) for one, bias in live] == [(5.0, 1.0), (4.0, 5.0)]
    covariance: Any = live_covariance([trial], live)
    assert covariance.shape == (3, 3)
    assert covariance[0, 1] == covariance[1, 2] > 0
    assert covariance[0, 0] == 0 < covariance[1, 1] < covariance[2, 2]
    assert live_covariance([trial], []) == 0.0


def test_a_live_search_reports_launches_of_their_own_alone(problem: Problem, watcher: Any, storage: str) -> None:
    forecast = forecast_of(problem)
    search = Search.open(forecast, storage)
    search.is_live = True
    executor = LocalExecutor(problem, simulated(forecast), watcher.stage, "simulated")
    trials = run_study(problem, search, executor, 4, watcher)
    assert sum(len(trial.live.points) for trial in trials) >= 5
    assert len({trial.candidate for trial in trials}) == len(trials)
    assert all(trial.live.seconds > 0 for trial in trials if trial.live.points)
    stored = Search.open(forecast, storage).trials()
    assert [trial.live for trial in stored] == [trial.live for trial in trials]


def test_a_search_with_a_live_bias_still_ends_at_the_best(problem: Problem, watcher: Any, storage: str) -> None:
    """A bias of 10 % is planted at the smallest limits: launches of their own show what is true."""
    forecast = forecast_of(problem)
    honest = simulated(forecast)

    def biased(candidate: Any, number: int, on_stage: Any, repeats: Repeats) -> Measurement:
        found = honest(candidate, number, on_stage, repeats)
        points = tuple(
            replace(
                point,
                metrics={
                    name: value * (1.1 if point.candidate.engine.max_num_seqs == 2 else 1.0)
                    for name, value in point.metrics.items()
                },
            )
            for point in found.live.points
        )
        return replace(found, live=replace(found.live, points=points))

    search = Search.open(forecast, storage)
    search.is_live = True
    trials = run_study(problem, search, LocalExecutor(problem, biased, watcher.stage, "simulated"), 10, watcher)
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value)
    assert best.candidate.engine.max_num_seqs == 16


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--live --sampler random", "sampler planner"),
        ("--live --vllm-version 0.8.5 --gpu 'RTX 2080 Ti 22GB'", "engine V0"),
        ("--live --slo ttft_p95=2s --objective capacity", "searched in each launch already"),
    ],
)
def test_where_it_cannot_be_done_it_is_refused_in_one_line(run: Any, line: str, words: str) -> None:
    gpu = "" if "--gpu" in line else "--gpu H200"
    code, out, err = run(f"tune --model Qwen/Qwen3-8B {gpu} --backend simulated --dry-run {line}")
    assert (code, out, err.count("\n")) == (2, "", err.count("\n"))
    assert words in err


def test_the_plan_says_that_launches_measure_more(run: Any) -> None:
    usual = run("tune --model Qwen/Qwen3-8B --gpu H200 --dry-run --json")
    live = run("tune --model Qwen/Qwen3-8B --gpu H200 --dry-run --live")
    assert usual[0] == live[0] == 0
    assert "live        each launch measures further scheduler settings too" in live[1]

"""The most load of a launch on the simulated engine, whose capacity a dense scan knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from planner.benchmark.capacity.level import MOST_LEVELS, LevelWatch
from planner.benchmark.capacity.search import Capacity, SaturationWatch, find_capacity
from planner.benchmark.load.progress import stopped_after
from planner.benchmark.load.target import target_of
from planner.benchmark.load.watcher import STOPPED
from planner.benchmark.metrics import summarize
from planner.benchmark.records import RequestRecord
from planner.benchmark.session import MEASURING, WARMING_UP, Session
from planner.errors import BenchmarkError, ClientBottleneck
from planner.simulated.load import simulate_load
from planner.simulated.start import start_engine
from planner.study.problem import Problem
from planner.trials.racing import NO_RACE, Repeats
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.tuning.load_levels import live_levels, result_of, search_levels
from planner.tuning.measure import Measurement, simulated
from planner.workload.levels import at_capacity_level, most_load
from planner.workload.shapes import shape_of
from planner.workload.workload import RequestPlan, Workload, plan_requests, plan_warmup
from tests.forecasts import forecast_of, grid_of
from tests.unit.benchmark.test_run import FakeServer, server

__all__ = ["server"]
Make = Callable[..., Problem]
CHANGES: dict[str, Any] = {
    "search_space": {"search": {"max_num_seqs": [8, 16], "layout": ["2xtp1", "1xtp2"]}},
    "workload": {
        "concurrency": 8,
        "num_requests": 48,
        "input_tokens": {"low": 32, "high": 128},
        "output_tokens": {"low": 8, "high": 24},
    },
    "objective": {"metric": "capacity", "slo": {"ttft_p95": "800ms", "tpot_p95": "80ms"}},
}


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(**CHANGES)


def launched(problem: Problem, row: int, start: float | None = None, first: int = 0) -> Measurement:
    candidate = problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
    start = forecast_of(problem).predicted(candidate)[problem.objective.name] if start is None else start
    return simulated(forecast_of(problem))(candidate, row, lambda *_: None, Repeats(first, 1, start=start))


def mean_room(problem: Problem, row: int, load: float) -> float:
    """Room to the limits of a load of many requests, in launches and with prompts that no search has seen."""
    candidate = problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
    deployment = forecast_of(problem).deployment(candidate)
    rooms = []
    for seed in (901, 902):
        workload = at_capacity_level(problem.workload, load, by_rate=False)
        workload = msgspec.structs.replace(workload, seed=seed, num_requests=300 + round(load))
        records, _ = simulate_load([start_engine(deployment, seed + i) for i in range(deployment.instances)], workload)
        metrics = summarize([record for record in records if record.index >= load]).metrics
        rooms.append(min(math.log(bound / metrics[name]) for name, bound in problem.objective.limits.items()))
    return sum(rooms) / len(rooms)


@pytest.mark.parametrize("row", [0, 1, 3])
def test_the_capacity_of_a_setting_lies_in_its_interval(problem: Problem, row: int) -> None:
    found = launched(problem, row)
    assert found.interval is not None
    low, high = found.interval
    value = found.results[0].metrics["capacity"]
    assert high is not None
    assert low <= value <= high
    assert high - low <= max(2.0, 0.3 * low)
    assert mean_room(problem, row, low - 1) > 0 > mean_room(problem, row, high + 1)
    assert 3 <= len(found.levels) <= MOST_LEVELS
    assert found.simulated
    assert found.stopped_at is None


def test_a_rate_is_found_too_and_what_is_told_of_it_kept_the_limits(make_problem: Make) -> None:
    problem = make_problem(**{**CHANGES, "objective": {**CHANGES["objective"], "metric": "capacity_rate"}})
    found = launched(problem, 0)
    assert found.interval is not None
    value = found.results[0].metrics["capacity_rate"]
    assert found.interval[0] <= value <= (found.interval[1] or 0.0)
    assert found.results[0].metrics["ttft_p95"] <= 0.8
    assert found.results[0].metrics["request_throughput"] == pytest.approx(value, rel=0.25)


def test_further_loads_are_measured_after_the_levels_and_not_in_the_finals(make_problem: Make) -> None:
    problem = make_problem(**CHANGES, also_at=[1, 4])
    found = launched(problem, 0, start=26.0)
    assert [at.load for at in found.at_loads] == [1.0, 4.0]
    assert found.at_loads[0].metrics["ttft_p95"] < found.at_loads[1].metrics["ttft_p95"]
    assert launched(problem, 0, start=26.0, first=1000).at_loads == ()


def test_a_start_at_the_capacity_saves_levels_and_the_finals_send_other_prompts(problem: Problem) -> None:
    far, near = launched(problem, 0, start=2.0), launched(problem, 0, start=26.0)
    assert sum(level.num_requests for level in near.levels) < sum(level.num_requests for level in far.levels)
    again = launched(problem, 0, start=26.0, first=1000)
    assert again.levels[0].load == near.levels[0].load
    assert again.levels[0].metrics != near.levels[0].metrics


# --- loads made by hand -----------------------------------------------------------------------------------------------


class Sender:
    """Answers each request after a time that grows with the load; remembers what it was sent."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.seeds: list[int] = []
        self.warmups: list[int] = []
        self.first_plans: list[int] = []

    def __call__(
        self,
        workload: Workload,
        plans: list[RequestPlan],
        watch: LevelWatch,  # noqa: ARG002
        words: str,  # noqa: ARG002
    ) -> list[RequestRecord] | None:
        self.seeds.append(workload.seed)
        self.warmups.append(workload.num_warmup_requests)
        self.first_plans.append(len(plans))
        ttft_s = 0.8 * workload.concurrency / self.capacity
        chunks = (ttft_s, ttft_s + 0.01)
        return [
            RequestRecord(
                index=plan.index, started_s=0.0, chunk_s=chunks, finished_s=chunks[-1], input_tokens=8, output_tokens=2
            )
            for plan in plans
        ]


def test_each_level_has_prompts_of_its_own_and_only_the_first_a_warm_up(problem: Problem) -> None:
    sender = Sender(20.5)
    levels, is_given_up = search_levels(problem, Repeats(0, 1, start=20.0), sender)
    assert not is_given_up
    assert len(set(sender.seeds)) == len(levels) == len(sender.seeds)
    assert sender.warmups == [8, *[0] * (len(levels) - 1)]
    assert [level.num_requests + level.load for level in levels] == sender.first_plans, "a first wave is not judged"
    other = Sender(20.5)
    search_levels(problem, Repeats(1000, 1, start=20.0), other)
    assert not {*other.seeds} & {*sender.seeds}


def test_a_launch_that_is_surely_beaten_ends_once_its_limit_is_enclosed(problem: Problem) -> None:
    class Beats:
        """A race in which only what may reach 40 is still of interest."""

        is_lost = is_enough = watch = NO_RACE.is_lost

        def is_beaten(self, most: float) -> bool:
            return most < 40

    levels, is_given_up = search_levels(problem, Repeats(0, 1, Beats(), 40.0), Sender(10.5))  # type: ignore[arg-type]
    assert is_given_up
    assert {level.keeps(problem.objective.limits) for level in levels} == {True, False}
    assert len(levels) < len(search_levels(problem, Repeats(0, 1, start=40.0), Sender(10.5))[0])


def test_a_level_that_is_sent_again_gets_other_prompts(problem: Problem) -> None:
    class Once(Sender):
        def __call__(self, workload: Workload, plans: Any, watch: Any, words: str) -> list[RequestRecord] | None:
            found = super().__call__(workload, plans, watch, words)
            return None if len(self.seeds) == 1 else found

    sender = Once(20.5)
    levels, _ = search_levels(problem, Repeats(0, 1, start=20.0), sender)
    assert len(sender.seeds) == len(levels) + 1
    assert len(set(sender.seeds)) == len(sender.seeds)


def test_a_load_of_which_nothing_comes_back_is_too_much_unless_none_comes_back(problem: Problem) -> None:
    class Failing(Sender):
        def __call__(self, workload: Workload, plans: Any, watch: Any, words: str) -> list[RequestRecord] | None:
            if workload.concurrency > self.capacity:
                raise BenchmarkError("none of 9 requests completed")
            return super().__call__(workload, plans, watch, words)

    levels, _ = search_levels(problem, Repeats(0, 1, start=30.0), Failing(20.5))
    assert levels[0].keeps(problem.objective.limits) is False
    assert any(level.keeps(problem.objective.limits) for level in levels)
    with pytest.raises(BenchmarkError, match="none of 9"):
        search_levels(problem, Repeats(0, 1, start=3.0), Failing(0.5))


def test_a_client_that_is_the_bottleneck_is_no_broken_limit(problem: Problem) -> None:
    def send(*_: Any) -> list[RequestRecord]:
        raise ClientBottleneck("the client was the bottleneck, twice")

    with pytest.raises(ClientBottleneck):
        search_levels(problem, replace(Repeats(0, 1), start=3.0), send)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def test_levels_are_sent_over_http_and_told_as_they_go_on(make_problem: Make, server: FakeServer) -> None:
    """A server that refuses all requests after those of the first level, which is of five requests in flight."""
    problem = make_problem(
        workload={"concurrency": 2, "num_requests": 8, "warmup_requests": 1, "input_tokens": 9, "output_tokens": 2},
        objective={"metric": "capacity", "slo": {"ttft_p95": "60s"}},
    )
    first = 1 + 5 + 4 * 5  # a warm-up, the first wave and four more
    refuse = lambda handler: handler.reply({"error": "busy"}, 503)  # noqa: E731
    server.answer = lambda body, number: ("length", 2) if number <= first else refuse  # noqa: ARG005
    stages = list[str]()
    session = Session(
        target=target_of([server.url], "tiny", problem.workload, 100),
        shape=shape_of(problem.workload),
        warmup=plan_warmup(problem.workload),
        repeats=[],
        on_stage=lambda stage, done, total: stages.append(stage),  # noqa: ARG005
        has_metrics=False,
    )
    run = live_levels(problem, Repeats(0, 1, start=5.0), session, is_exempt=True)
    found = result_of(problem, run.levels).metrics["capacity"]
    assert 5 <= found < min(level.load for level in run.levels[1:])
    assert (run.is_given_up, run.stopped_at, run.telemetry) == (False, None, ())
    assert [level.keeps(problem.objective.limits) for level in run.levels] == [True, *[False] * (len(run.levels) - 1)]
    assert all(level.failed for level in run.levels[1:])
    assert sum(stage.startswith(WARMING_UP) for stage in dict.fromkeys(stages)) == 1
    assert f"{MEASURING} level 1, 5 in flight" in stages
    prompts = [tuple(body["prompt"]) for body in server.measured]
    assert len(set(prompts)) == len(prompts)


# --- against one capacity search of bench per setting -----------------------------------------------------------------


def searched_by_bench(problem: Problem, row: int) -> tuple[Capacity, int]:
    """`bench --find-capacity` on one simulated engine with this setting, and the number of requests that it took."""
    deployment = forecast_of(problem).deployment(
        problem.choices.candidate(problem.choices.params(grid_of(problem).indices[row]))
    )
    engines = [start_engine(deployment, 11 + i) for i in range(deployment.instances)]
    counts = list[int]()

    def load(level: float) -> list[RequestRecord]:
        workload = at_capacity_level(problem.workload, level, by_rate=False)
        workload = msgspec.structs.replace(workload, seed=500 * (1 + len(counts)), warmup_requests=0)
        plans = plan_requests(workload)
        wave = {plan.index for plan in plans[: round(level)]}
        records, _ = simulate_load(engines, workload)
        watch = SaturationWatch(problem.objective.limits, len(plans) - len(wave), wave)
        stopped = stopped_after(records, plans, watch)
        ended = {record.index for record in (records if stopped is None else stopped[1])}
        counts.append(len(ended))
        judged = [record for record in records if record.index not in wave]
        return [record if record.index in ended else replace(record, error=STOPPED) for record in judged]

    return find_capacity(load, problem.objective.limits, 8.0, most_load(problem.workload, by_rate=False)), sum(counts)


@pytest.mark.prove
def test_the_best_setting_takes_a_fraction_of_the_requests_of_one_bench_search_per_setting(
    make_problem: Make, tune: Callable[..., list[Trial]]
) -> None:
    """Takes a minute; `-s` prints the figures of docs/studies.md."""
    searched = {"max_num_seqs": [4, 8, 16, 64], "layout": ["2xtp1", "1xtp2"], "max_num_batched_tokens": [4096, 8192]}
    problem = make_problem(**{**CHANGES, "search_space": {"search": searched}})
    trials = tune(problem, 12)
    best = best_trial(problem, trials)
    assert best is not None
    assert best.interval is not None
    asked = sum(round(level.num_requests * level.share) + round(level.load) for t in trials for level in t.levels)
    bench = {int(row): searched_by_bench(problem, int(row)) for row in grid_of(problem).feasible_rows}
    most = max(found.level or 0.0 for found, _ in bench.values())
    total = sum(count for _, count in bench.values())
    print(
        f"{len(trials)} launches, {asked} requests; bench {len(bench)} searches, {total} requests: {asked / total:.0%}"
    )
    row = problem.row_of(best.candidate)
    assert row is not None
    assert (bench[row][0].level or 0.0) >= 0.95 * most
    assert asked <= 0.6 * total
    for trial in trials:
        if trial.stopped_at is None and (row := problem.row_of(trial.candidate)) is not None:
            taken = sum(round(level.num_requests * level.share) + round(level.load) for level in trial.levels)
            assert taken <= 0.6 * bench[row][1]

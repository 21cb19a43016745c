"""Other settings measured in a launch that serves: its scheduler's limits are turned, and the load is sent again.

In: a ready server with knobs, or a simulated launch. Out: a `LiveRun`. The launch's own figures come first and are
never touched: an engine that dies here, or takes no limits, ends the live part alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from planner.benchmark import OnStage, Session, measure, summarize, target_of
from planner.errors import BenchmarkError, Disturbed, EngineError
from planner.launch import NoKnobsError, Server, lowered
from planner.simulated import SEEDS_PER_TRIAL, simulate_load, start_live
from planner.study import Candidate, Forecast, Problem
from planner.trials import LivePoint, LiveRun, Repeats
from planner.workload import plan_requests, shape_of

LIVE_FIRST = 600
"""Number of the repeat whose prompts the first live setting gets; no other load of a launch uses it or a later one."""


def live_after(asked: Repeats, stopped_at: float | None) -> tuple[Candidate, ...]:
    """The settings to measure after a launch's own load; none where the launch was given up as surely not the best."""
    return asked.live if stopped_at is None else ()


def measure_live(
    problem: Problem, launched: Candidate, server: Server, on_stage: OnStage, others: Sequence[Candidate]
) -> LiveRun:
    """Turn the engines to each of the other settings and measure the study's load, with prompts of its own each."""
    began, points, ended = time.monotonic(), list[LivePoint](), ""
    for number, other in enumerate(others):
        values = lowered(problem, launched, other)
        if values is None or server.knobs is None:
            continue
        try:
            server.knobs.turn(server.base_urls, problem.spec.serve.name, values)
            (repeat,) = measure(_session(problem, launched, server, _named(on_stage, number, len(others)), number))
        except (NoKnobsError, BenchmarkError, EngineError, Disturbed) as error:
            ended = str(error)
            break
        points.append(LivePoint(other, repeat.result.metrics))
    return LiveRun(points=tuple(points), seconds=time.monotonic() - began if others else 0.0, ended=ended)


def _session(problem: Problem, launched: Candidate, server: Server, on_stage: OnStage, number: int) -> Session:
    """One repeat of the study's load, without a warm-up: the engine has just served it."""
    vocab_size = problem.models[launched.model].vocab_size
    return Session(
        target=target_of(server.base_urls, problem.spec.serve.name, problem.workload, vocab_size),
        shape=shape_of(problem.workload),
        warmup=(),
        repeats=[plan_requests(problem.workload, LIVE_FIRST + number)],
        on_stage=on_stage,
        engine=server,
    )


def _named(on_stage: OnStage, number: int, total: int) -> OnStage:
    return lambda stage, done, of: on_stage(f"{stage} live {number + 1} of {total}", done, of)


def simulate_live(forecast: Forecast, launched: Candidate, trial: int, others: Sequence[Candidate]) -> LiveRun:
    """The same in virtual time: the KV cache and the pace are those of the launch, which trial number `trial` made."""
    problem, began = forecast.problem, forecast.deployment(launched)
    points, seconds, seed = list[LivePoint](), 0.0, SEEDS_PER_TRIAL * trial + problem.workload.seed
    for number, other in enumerate(others):
        if lowered(problem, launched, other) is None:
            continue
        engines = [start_live(began, forecast.deployment(other), seed + i) for i in range(began.instances)]
        load = msgspec.structs.replace(problem.workload, seed=problem.workload.seed + LIVE_FIRST + number)
        records, _ = simulate_load(engines, load)
        points.append(LivePoint(other, summarize(records).metrics))
        seconds += max(record.finished_s for record in records)
    return LiveRun(points=tuple(points), seconds=seconds)

"""One candidate's `Measurement`: launch, warm up, measure, repeat. `live` on a backend, `simulated` in virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from planner.backends.base import Backend, Server
from planner.diagnosis import StartFacts, read_start_facts
from planner.loadgen import run_load
from planner.metrics import METRICS, BenchmarkResult, summarize
from planner.problem import Problem
from planner.simulated.run import simulate_load, start_engine, start_seconds
from planner.space import Candidate
from planner.telemetry import EngineTelemetry, difference, fetch_telemetry
from planner.workload import RequestPlan, plan_requests, plan_warmup

STARTING, WARMING_UP, MEASURING = "starting", "warming up", "measuring"
OnStage: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage and how many of how many requests are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one launched engine taught us."""

    results: tuple[BenchmarkResult, ...]
    """One a repeat."""
    telemetry: tuple[EngineTelemetry, ...]
    """Each instance's own counters over the measured window; empty where it has none."""
    facts: StartFacts | None
    """What the first instance's start-up log said."""
    start_s: float
    benchmark_s: float
    preemptions: int | None
    simulated: bool = False

    def metrics(self) -> dict[str, float]:
        """Means over the repeats."""
        names = [name for name in METRICS if all(name in result.metrics for result in self.results)]
        return {name: sum(r.metrics[name] for r in self.results) / len(self.results) for name in names}


SIMULATED, SIMULATED_WITHIN = "SIMULATED", 4000
"""The simulated engine says so in the first lines of its log, whoever started it."""
SEEDS_PER_TRIAL = 7919
"""Every simulated launch has a pace of its own, as real ones do."""

Measure: TypeAlias = Callable[[Candidate, int, OnStage], Measurement]
"""Measure a candidate as trial `number`. Raises EngineError (its own fault) or BackendError (not its fault)."""


def live(problem: Problem, backend: Backend, should_stop: Callable[[], bool] = lambda: False) -> Measure:
    """Measure on real engines launched by `backend`."""

    def measure(candidate: Candidate, number: int, on_stage: OnStage) -> Measurement:
        on_stage(STARTING, 0, 0)
        with backend.serve(candidate, number) as server:
            return _measure(problem, candidate, server, on_stage, should_stop)

    return measure


def _measure(
    problem: Problem, candidate: Candidate, server: Server, on_stage: OnStage, should_stop: Callable[[], bool]
) -> Measurement:
    vocab_size = problem.models[candidate.model].vocab_size
    name = problem.spec.serve.name
    began = time.monotonic()

    def load(plans: Sequence[RequestPlan], stage: str) -> BenchmarkResult:
        records = run_load(
            server.base_urls,
            name,
            problem.workload,
            vocab_size,
            plans,
            on_progress=lambda done, total: on_stage(stage, done, total),
            should_stop=should_stop,
            is_alive=server.is_alive,
        )
        if should_stop():
            raise KeyboardInterrupt
        if not server.is_alive():
            raise server.death()
        return summarize(records)

    first_log = server.instances[0].log_text()
    facts = read_start_facts(first_log)
    if problem.workload.num_warmup_requests:
        load(plan_warmup(problem.workload), WARMING_UP)
    before = [fetch_telemetry(url) for url in server.base_urls]
    results = tuple(load(plan_requests(problem.workload, i), MEASURING) for i in range(problem.spec.repeats))
    after = [fetch_telemetry(url) for url in server.base_urls]
    windows = [difference(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    preemptions = [window.preemptions for window in windows if window.preemptions is not None]
    return Measurement(
        results=results,
        telemetry=tuple(windows),
        facts=facts,
        start_s=server.start_s,
        benchmark_s=time.monotonic() - began,
        preemptions=sum(preemptions) if preemptions else None,
        simulated=SIMULATED in first_log[:SIMULATED_WITHIN],
    )


def simulated(problem: Problem) -> Measure:
    """Measure on the simulated engine, in virtual time: SIMULATED, seconds of wall time for hours of load."""

    def measure(candidate: Candidate, number: int, on_stage: OnStage) -> Measurement:
        on_stage(STARTING, 0, 0)
        d = problem.deployment(candidate)
        interconnect = problem.spec.hardware.interconnect
        on_stage(MEASURING, 0, problem.workload.num_requests)
        results, preemptions, benchmark_s = [], 0, 0.0
        for repeat in range(problem.spec.repeats):
            workload = msgspec.structs.replace(problem.workload, seed=problem.workload.seed + repeat)
            engines = [
                start_engine(
                    d.model, d.gpu, interconnect, d.engine, d.memory, SEEDS_PER_TRIAL * number + workload.seed + i
                )
                for i in range(d.instances)
            ]
            records, counters = simulate_load(engines, workload)
            results.append(summarize(records))
            preemptions += counters.preemptions
            benchmark_s += max(record.finished_s for record in records)
        return Measurement(
            results=tuple(results),
            telemetry=(),
            facts=None,
            start_s=start_seconds(d.model, d.engine, d.memory),
            benchmark_s=benchmark_s,
            preemptions=preemptions,
            simulated=True,
        )

    return measure

"""One candidate's `Measurement`: launch, then `bench.measure`. `live` on a backend, `simulated` in virtual time.

A measurement in which this client was the bottleneck is done once more, then refused as `ClientBottleneck`; not so on a
simulated or a CPU engine, which take the processor time that the client is judged by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from planner.backends.base import Backend, Server
from planner.bench import MEASURING, WARMING_UP, OnStage, Session, fault_of, measure, measure_again
from planner.diagnosis import StartFacts, read_start_facts
from planner.errors import ClientBottleneck
from planner.load_shapes import shape_of
from planner.loadgen import target_of
from planner.metrics import METRICS, BenchmarkResult, summarize
from planner.problem import Problem
from planner.simulated.run import simulate_load, start_engine, start_seconds
from planner.space import Candidate
from planner.telemetry import EngineTelemetry
from planner.workload import plan_requests, plan_warmup

STARTING = "starting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one launched engine taught us."""

    results: tuple[BenchmarkResult, ...]
    """One a repeat."""
    telemetry: tuple[EngineTelemetry, ...]
    """Each instance's own counters over each repeat; empty where it has none."""
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


__all__ = ["MEASURING", "STARTING", "WARMING_UP", "ClientBottleneck", "Measure", "Measurement", "OnStage"]

SIMULATED, SIMULATED_WITHIN = "SIMULATED", 4000
"""The simulated engine says so in the first lines of its log, whoever started it."""
SEEDS_PER_TRIAL = 7919
"""Every simulated launch has a pace of its own, as real ones do."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Which repeats of the workload are measured; each has prompts of its own, the same for every candidate."""

    first: int
    count: int
    is_enough: Callable[[Sequence[BenchmarkResult]], bool] = lambda results: False  # noqa: ARG005
    """Asked after each but the last: whether the others can be spared."""


Measure: TypeAlias = Callable[[Candidate, int, OnStage, Repeats], Measurement]
"""Measure a candidate as trial `number`. Raises EngineError (its own fault) or BackendError (not its fault)."""


def live(problem: Problem, backend: Backend) -> Measure:
    """Measure on real engines launched by `backend`."""

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        on_stage(STARTING, 0, 0)
        with backend.serve(candidate, number) as server:
            return measure_server(problem, candidate, server, on_stage, repeats)

    return measure


def measure_server(
    problem: Problem, candidate: Candidate, server: Server, on_stage: OnStage, asked: Repeats
) -> Measurement:
    """The study's workload on a ready server. Raises EngineError when it dies, BenchmarkError without numbers."""
    began = time.monotonic()
    first_log = server.instances[0].log_text()
    is_simulated = SIMULATED in first_log[:SIMULATED_WITHIN]

    def check() -> None:
        if not server.is_alive():
            raise server.death()

    def session_of(attempt: int) -> Session:
        first, vocab_size = asked.first + attempt * asked.count, problem.models[candidate.model].vocab_size
        return Session(
            target=target_of(server.base_urls, problem.spec.serve.name, problem.workload, vocab_size),
            shape=shape_of(problem.workload),
            warmup=plan_warmup(problem.workload),
            repeats=[plan_requests(problem.workload, first + i) for i in range(asked.count)],
            is_enough=lambda done: asked.is_enough([repeat.result for repeat in done]),
            on_stage=on_stage,
            is_alive=server.is_alive,
            after_load=check,
        )

    facts = read_start_facts(first_log)
    if is_simulated or problem.gpu.is_cpu:
        repeats = measure(session_of(0))
    else:
        repeats = measure_again(session_of, always=True)
        if fault := fault_of(repeats):
            raise ClientBottleneck(f"the client was the bottleneck, twice: {fault}")
    results = tuple(repeat.result for repeat in repeats)
    windows = [window for repeat in repeats for window in repeat.telemetry]
    preemptions = [window.preemptions for window in windows if window.preemptions is not None]
    return Measurement(
        results=results,
        telemetry=tuple(windows),
        facts=facts,
        start_s=server.start_s,
        benchmark_s=time.monotonic() - began,
        preemptions=sum(preemptions) if preemptions else None,
        simulated=is_simulated,
    )


def simulated(problem: Problem) -> Measure:
    """Measure on the simulated engine, in virtual time: SIMULATED, seconds of wall time for hours of load."""

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        on_stage(STARTING, 0, 0)
        d = problem.deployment(candidate)
        interconnect = problem.spec.hardware.interconnect
        on_stage(MEASURING, 0, problem.workload.num_requests)
        results: list[BenchmarkResult] = []
        preemptions, benchmark_s = 0, 0.0
        for repeat in range(repeats.first, repeats.first + repeats.count):
            if results and repeats.is_enough(results):
                break
            workload = msgspec.structs.replace(problem.workload, seed=problem.workload.seed + repeat)
            pace = SEEDS_PER_TRIAL * number + workload.seed
            engines = [start_engine(d, interconnect, pace + i) for i in range(d.instances)]
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

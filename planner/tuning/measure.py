"""One candidate's `Measurement`: launch, then `bench.measure`. `live` on a backend, `simulated` in virtual time.

A measurement in which this client was the bottleneck is repeated once, then refused as `ClientBottleneck`. Simulated
and CPU engines are exempt: they use the processor time that the client is judged by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from planner.benchmark import (
    MEASURING,
    METRICS,
    WARMING_UP,
    BenchmarkResult,
    Level,
    OnStage,
    Repeat,
    RequestRecord,
    Session,
    fault_of,
    measure,
    measure_again,
    no_watch,
    pace_error,
    stopped_after,
    summarize,
    target_of,
)
from planner.engine import EngineTelemetry, StartFacts, read_start_facts
from planner.errors import ClientBottleneck
from planner.estimate import Deployment
from planner.hardware import Cards
from planner.launch import Backend, Server
from planner.simulated import SEEDS_PER_TRIAL, simulate_load, start_engine, start_seconds
from planner.study import Candidate, Forecast, Problem
from planner.trials import NOT_LIVE, AtLoad, LiveRun, Repeats, capacity_of, share_of
from planner.tuning.live_settings import live_after, measure_live, simulate_live
from planner.tuning.load_levels import LevelRun, live_levels, result_of, virtual_levels
from planner.workload import RequestPlan, Workload, plan_requests, plan_warmup, shape_of, workload_at

STARTING = "starting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What was measured in one launch."""

    results: tuple[BenchmarkResult, ...]
    """One result per repeat."""
    telemetry: tuple[EngineTelemetry, ...]
    """Counters of each instance over each repeat; empty if the engine has none."""
    facts: StartFacts | None
    """Facts from the start-up log of the first instance."""
    start_s: float
    benchmark_s: float
    preemptions: int | None
    warmup_s: float = 0.0
    """Part of `benchmark_s` that the warm-up took."""
    simulated: bool = False
    stopped_at: float | None = None
    """Fraction of all repeats after which the launch was given up; None if it was not."""
    pace_errors: tuple[float, ...] = ()
    """`progress.pace_error` of each repeat that has one."""
    at_loads: tuple[AtLoad, ...] = ()
    levels: tuple[Level, ...] = ()
    """Levels of the search for the most load; empty where one load was sent."""
    interval: tuple[float, float | None] | None = None
    """95 % interval of the most load; None where none was sought."""
    live: LiveRun = NOT_LIVE
    """Other settings measured in the same launch; empty where none was asked for."""

    @staticmethod
    def only_metrics(result: BenchmarkResult) -> dict[str, float]:
        """Metrics of one repeat under the names of METRICS."""
        return {name: result.metrics[name] for name in METRICS if name in result.metrics}

    @property
    def draft_acceptance(self) -> float | None:
        """Share of the drafted tokens that were taken, over all windows; None without drafts."""
        drafted = sum(window.draft_tokens or 0 for window in self.telemetry)
        return sum(window.accepted_tokens or 0 for window in self.telemetry) / drafted if drafted else None

    def metrics(self) -> dict[str, float]:
        """Mean of each metric over the repeats."""
        names = [name for name in METRICS if all(name in result.metrics for result in self.results)]
        return {name: sum(r.metrics[name] for r in self.results) / len(self.results) for name in names}


__all__ = ["MEASURING", "STARTING", "WARMING_UP", "ClientBottleneck", "Measure", "Measurement", "OnStage"]

SIMULATED, SIMULATED_WITHIN = "SIMULATED", 4000
"""Mark that a simulated engine writes at the start of its log, and how many characters are searched for it."""
FURTHER = 500
"""Number of the repeat whose prompts the further loads get; neither the search nor the finals use it."""


def _further(
    problem: Problem, repeats: Repeats, results: Sequence[BenchmarkResult]
) -> Iterator[tuple[float, Workload]]:
    """Further loads to measure, with their workloads; none in the finals or for a candidate that has lost."""
    if results[-1].share == 1 and not repeats.race.is_lost(results):
        yield from _further_of(problem, repeats)


def _further_of(problem: Problem, repeats: Repeats) -> list[tuple[float, Workload]]:
    """Further loads of a candidate that has not lost."""
    loads = problem.spec.also_at if repeats.first == 0 else ()
    return [(load, workload_at(problem.workload, load)) for load in loads]


def _results(repeats: Sequence[Repeat]) -> list[BenchmarkResult]:
    return [repeat.result for repeat in repeats]


Measure: TypeAlias = Callable[[Candidate, int, OnStage, Repeats], Measurement]
"""Measure a candidate as trial `number`. Raises EngineError (its own fault) or BackendError (not its fault)."""


def live(problem: Problem, backend: Backend) -> Measure:
    """Measure on real engines launched by `backend`."""

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        on_stage(STARTING, 0, 0)
        launch = backend.serve(candidate, number, live=True) if repeats.live else backend.serve(candidate, number)
        with launch as server:
            found = measure_server(problem, candidate, server, on_stage, repeats)
            others = live_after(repeats, found.stopped_at)
            return replace(found, live=measure_live(problem, candidate, server, on_stage, others))

    return measure


def measure_server(
    problem: Problem, candidate: Candidate, server: Server, on_stage: OnStage, asked: Repeats
) -> Measurement:
    """Measure the study's workload on a ready server. Raises what `Server.check` does; BenchmarkError if no figures."""
    began = time.monotonic()
    measuring_since: list[float] = []

    def stage(name: str, done: int, total: int) -> None:
        if name.startswith(MEASURING) and not measuring_since:
            measuring_since.append(time.monotonic())
        on_stage(name, done, total)

    first_log = server.instances[0].log_text()
    is_simulated = SIMULATED in first_log[:SIMULATED_WITHIN]

    def session_of(attempt: int) -> Session:
        first, vocab_size = asked.first + attempt * asked.count, problem.models[candidate.model].vocab_size
        return Session(
            target=target_of(server.base_urls, problem.spec.serve.name, problem.workload, vocab_size),
            shape=shape_of(problem.workload),
            warmup=plan_warmup(problem.workload),
            repeats=[plan_requests(problem.workload, first + i) for i in range(asked.count)],
            is_enough=lambda done: asked.race.is_enough(_results(done), asked.count),
            watch_of=lambda done, plans: asked.race.watch(_results(done), plans),
            on_stage=stage,
            engine=server,
        )

    facts = read_start_facts(first_log)
    is_exempt = is_simulated or problem.gpu.is_cpu
    if problem.objective.seeks_load:
        run = live_levels(problem, asked, session_of(0), is_exempt)
        also = [] if run.is_given_up else _further_of(problem, asked)
        at_loads = _measure_at(session_of(0), also)
        found = of_levels(problem, run, facts, server.start_s, time.monotonic() - began)
        warmup_s = (measuring_since or [began])[0] - began
        return replace(found, warmup_s=warmup_s, simulated=is_simulated, at_loads=at_loads)
    if is_exempt:
        repeats = measure(session_of(0))
    else:
        repeats = measure_again(session_of, always=True)
        if fault := fault_of(repeats):
            raise ClientBottleneck(f"the client was the bottleneck, twice: {fault}")
    results = tuple(_results(repeats))
    at_loads = _measure_at(session_of(0), _further(problem, asked, results))
    windows = [window for repeat in repeats for window in repeat.telemetry]
    preemptions = [window.preemptions for window in windows if window.preemptions is not None]
    return Measurement(
        results=results,
        telemetry=tuple(windows),
        facts=facts,
        start_s=server.start_s,
        benchmark_s=time.monotonic() - began,
        warmup_s=(measuring_since or [began])[0] - began,
        preemptions=sum(preemptions) if preemptions else None,
        simulated=is_simulated,
        stopped_at=share_of(asked, results),
        at_loads=at_loads,
        pace_errors=_pace_errors(problem.workload, [repeat.records for repeat in repeats if repeat.result.share == 1]),
    )


def of_levels(
    problem: Problem, run: LevelRun, facts: StartFacts | None, start_s: float, benchmark_s: float
) -> Measurement:
    """What was measured in a launch that searched for its most load."""
    found = capacity_of(problem, run.levels)
    return Measurement(
        results=(result_of(problem, run.levels),),
        telemetry=run.telemetry,
        facts=facts,
        start_s=start_s,
        benchmark_s=benchmark_s,
        preemptions=run.preemptions,
        stopped_at=run.stopped_at,
        levels=run.levels,
        interval=None if found is None else found.interval,
    )


def _measure_at(session: Session, loads: Iterable[tuple[float, Workload]]) -> tuple[AtLoad, ...]:
    """Measure the session's engine at further loads."""

    def at(load: float, workload: Workload) -> AtLoad:
        further = replace(
            session,
            shape=shape_of(workload),
            warmup=(),
            repeats=[plan_requests(workload, FURTHER)],
            on_stage=lambda stage, done, total: session.on_stage(f"{stage} at {load:g}", done, total),
            watch_of=no_watch,
        )
        return AtLoad(load, measure(further)[0].result.metrics)

    return tuple(at(load, workload) for load, workload in loads)


def _pace_errors(workload: Workload, loads: Sequence[Sequence[RequestRecord]]) -> tuple[float, ...]:
    errors = [pace_error(workload, records) for records in loads]
    return tuple(round(error, 4) for error in errors if error is not None)


# --- loads that are known to their end --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EndedEarly:
    """A load that ran to its end, with no early stop."""

    plans: Sequence[RequestPlan]
    records: Sequence[RequestRecord]
    """Records in the order of `plans`."""
    before_s: float = 0.0
    """Duration of the warm-up, in seconds."""

    @property
    def duration_s(self) -> float:
        return max(r.finished_s for r in self.records) - min(r.started_s for r in self.records)


def race_through(
    workload: Workload, repeats: Repeats, run: Callable[[int], EndedEarly]
) -> tuple[tuple[BenchmarkResult, ...], float, tuple[float, ...]]:
    """What `live` would measure of the finished loads that `run(repeat)` returns: results, seconds, pace errors."""
    results: list[BenchmarkResult] = []
    whole: list[Sequence[RequestRecord]] = []
    seconds = 0.0
    for repeat in range(repeats.first, repeats.first + repeats.count):
        if results and (results[-1].share < 1 or repeats.race.is_enough(results, repeats.count)):
            break
        load = run(repeat)
        watch = repeats.race.watch(results, load.plans)
        stopped = None if watch is None else stopped_after(load.records, load.plans, watch)
        if watch is None or stopped is None:
            results.append(summarize(load.records))
            whole.append(load.records)
        else:
            results.append(watch.estimate(summarize(stopped[1])))
        seconds += load.before_s + (load.duration_s if stopped is None else stopped[0])
    return tuple(results), seconds, _pace_errors(workload, whole)


def simulated(forecast: Forecast) -> Measure:
    """Measure on the simulated engine in virtual time: hours of load take seconds. Results are marked SIMULATED."""
    problem = forecast.problem

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        on_stage(STARTING, 0, 0)
        d = forecast.deployment(candidate)
        on_stage(MEASURING, 0, problem.workload.num_requests)
        if problem.objective.seeks_load:
            pace = SEEDS_PER_TRIAL * number + problem.workload.seed
            levels = virtual_levels(problem, repeats, [start_engine(d, pace + i) for i in range(d.instances)])
            also = [] if levels.is_given_up else _further_of(problem, repeats)
            further = [_simulated_at(d, number, load, each) for load, each in also]
            seconds = levels.seconds + sum(took_s for _, took_s in further)
            found = of_levels(problem, levels, None, start_seconds(d.model, d.engine, d.memory), seconds)
            return replace(found, simulated=True, at_loads=tuple(at_load for at_load, _ in further))
        preemptions, warmup_s = 0, 0.0

        def run(repeat: int) -> EndedEarly:
            nonlocal preemptions, warmup_s
            workload = msgspec.structs.replace(problem.workload, seed=problem.workload.seed + repeat)
            pace = SEEDS_PER_TRIAL * number + workload.seed
            engines = [start_engine(d, pace + i) for i in range(d.instances)]
            records, counters = simulate_load(engines, workload)
            preemptions += counters.preemptions
            before_s = min(record.started_s for record in records)
            warmup_s += before_s
            return EndedEarly(plan_requests(workload), records, before_s=before_s)

        results, benchmark_s, errors = race_through(problem.workload, repeats, run)
        at_loads = []
        for load, workload in _further(problem, repeats, results):
            at_load, took_s = _simulated_at(d, number, load, workload)
            at_loads.append(at_load)
            benchmark_s += took_s
        return Measurement(
            results=results,
            telemetry=(),
            facts=None,
            start_s=start_seconds(d.model, d.engine, d.memory),
            benchmark_s=benchmark_s,
            warmup_s=warmup_s,
            preemptions=preemptions,
            simulated=True,
            stopped_at=share_of(repeats, results),
            pace_errors=errors,
            at_loads=tuple(at_loads),
            live=simulate_live(forecast, candidate, number, live_after(repeats, share_of(repeats, results))),
        )

    return measure


def _simulated_at(deployment: Deployment, number: int, load: float, workload: Workload) -> tuple[AtLoad, float]:
    """Trial `number` at a further load, and the seconds of virtual time that it took."""
    engines = [start_engine(deployment, SEEDS_PER_TRIAL * number + i) for i in range(deployment.instances)]
    records, _ = simulate_load(engines, msgspec.structs.replace(workload, seed=workload.seed + FURTHER))
    return AtLoad(load, summarize(records).metrics), max(record.finished_s for record in records)


def measure_here(problem: Problem, backend: Backend, cards: Cards) -> Measure:
    """Measure on this machine. Before each launch leftover engines are removed and the cards must be free."""
    on_engine = live(problem, backend)

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        backend.clean_up()  # leftovers of a planner that died, maybe in this trial
        cards.wait_until_free()
        return on_engine(candidate, number, on_stage, repeats)

    return measure

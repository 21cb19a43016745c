"""The most load of one launch: one level of load after the other, until the limits' place is known well enough.

In: a problem whose objective seeks the load, and engines that serve or simulated ones in virtual time. Out: a
`LevelRun`, and the `BenchmarkResult` that stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from planner.benchmark import (
    MOST_LEVELS,
    BenchmarkResult,
    Level,
    LevelWatch,
    RequestRecord,
    Session,
    level_of,
    measure,
    open_level,
    processes_needed,
    stopped_after,
    within,
)
from planner.engine import EngineTelemetry
from planner.errors import BenchmarkError, ClientBottleneck, InputError
from planner.simulated import SimulatedEngine, simulate_load
from planner.study import Problem
from planner.trials import Repeats, capacity_of
from planner.workload import (
    RequestPlan,
    Workload,
    at_capacity_level,
    first_wave,
    most_load,
    plan_requests,
    shape_of,
)

PRECISION = 0.25
"""Width of the interval at which a launch has levels enough, as a share of the capacity: launches differ too."""
SEEDS_PER_LEVEL, SEEDS_PER_REPEAT = 1009, 1_000_003
"""Distances between the seeds of a launch's levels, and of the finals' rounds, so that no prompt is sent twice."""

SendLevel: TypeAlias = Callable[[Workload, list[RequestPlan], LevelWatch, str], Sequence[RequestRecord] | None]
"""Sends a level's plans and returns the requests that ended, fewer than planned if the watch stopped it; None if the
level must be sent again, with other prompts. Gets its words for the progress too. Raises BenchmarkError if none
completed."""


def search_levels(problem: Problem, asked: Repeats, send: SendLevel) -> tuple[tuple[Level, ...], bool]:
    """Load one level after the other; the levels, and whether the launch was given up as surely not the best.

    Begins at `asked.start`. Raises BenchmarkError if no request of any level completed.
    """
    objective, levels = problem.objective, list[Level]()
    highest = most_load(problem.workload, objective.by_rate)
    start = min(highest, asked.start or 1.0)
    level, error = (start if objective.by_rate else max(1.0, float(round(start)))), None
    while len(levels) < MOST_LEVELS:
        try:
            levels.append(_sent(problem, asked, level, len(levels), send))
        except ClientBottleneck:
            raise
        except BenchmarkError as failure:  # every request failed: this load was too much, or any is
            error, total = failure, at_capacity_level(problem.workload, level, objective.by_rate).num_requests
            levels.append(Level(level, total, total, {}))
        found = within(levels, objective.limits, highest, objective.by_rate)
        if (
            found is None
            or found.is_narrow(PRECISION, objective.by_rate)
            or (found.value is None and found.is_enclosed)
        ):
            break
        if found.value is not None and asked.race.is_beaten(found.high):
            return tuple(levels), True
        level = found.next
    if error is not None and not any(one.metrics for one in levels):
        raise error
    return tuple(levels), False


def _sent(problem: Problem, asked: Repeats, load: float, number: int, send: SendLevel) -> Level:
    attempt = 0
    while (level := _sent_once(problem, asked, load, (number, attempt), send)) is None:
        attempt += 1
    return level


def _sent_once(
    problem: Problem, asked: Repeats, load: float, numbers: tuple[int, int], send: SendLevel
) -> Level | None:
    """The level as sent in one attempt; `numbers`: of the level and of the attempt."""
    objective, (number, attempt) = problem.objective, numbers
    seed = problem.workload.seed + SEEDS_PER_LEVEL * (1 + number + MOST_LEVELS * attempt)
    seed += SEEDS_PER_REPEAT * asked.first
    workload = msgspec.structs.replace(at_capacity_level(problem.workload, load, objective.by_rate), seed=seed)
    if number:
        workload = msgspec.structs.replace(workload, warmup_requests=0)
    try:
        plans = plan_requests(workload, number if workload.prompts is not None else 0)
    except ValueError as error:
        raise InputError(f"{problem.spec.name}: workload: {error}") from None
    wave = {plan.index for plan in plans[: first_wave(load, objective.by_rate)]}
    total = len(plans) - len(wave)
    watch = LevelWatch(objective.limits, total, wave)
    unit = "requests/s" if objective.by_rate else "in flight"
    ended = send(workload, plans, watch, f"level {number + 1}, {load:.3g} {unit}")
    if ended is None:
        return None
    judged = [record for record in ended if record.index not in wave]
    return open_level(load, judged, total) if objective.by_rate else level_of(load, judged, total)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRun:
    """The levels of one launch, and what was seen of the engine meanwhile."""

    levels: tuple[Level, ...]
    is_given_up: bool
    telemetry: tuple[EngineTelemetry, ...] = ()
    """Counters of each instance over each level; empty if the engine has none."""
    preemptions: int | None = None
    seconds: float = 0.0
    """Seconds of all levels, in virtual time where the engine is simulated in it."""

    @property
    def stopped_at(self) -> float | None:
        """Share of the levels that a launch may take after which it was given up; None if it was not."""
        return len(self.levels) / MOST_LEVELS if self.is_given_up else None


def live_levels(problem: Problem, asked: Repeats, session: Session, is_exempt: bool) -> LevelRun:
    """Send the levels to running engines. `session` is that of the study's own load, whose warm-up comes first.

    `is_exempt`: whether the client may be the bottleneck. If it is not, a level in which it was is sent again with the
    processes that it needs, then refused. Raises what the engine's `check` does, ClientBottleneck, BenchmarkError.
    """
    windows, num_processes, warmup = list[EngineTelemetry](), None, session.warmup

    def send(
        workload: Workload, plans: list[RequestPlan], watch: LevelWatch, words: str
    ) -> Sequence[RequestRecord] | None:
        nonlocal num_processes, warmup
        level = replace(
            session,
            shape=shape_of(workload),
            warmup=warmup,
            repeats=[plans],
            is_enough=lambda done: True,  # noqa: ARG005
            watch_of=lambda done, plans: watch,  # noqa: ARG005
            on_stage=lambda stage, done, total: session.on_stage(f"{stage} {words}", done, total),
            target=replace(session.target, seed=workload.seed),
            num_processes=num_processes,
        )
        (repeat,) = measure(level)
        warmup = ()
        if not is_exempt and repeat.client_fault is not None:
            if num_processes is not None:
                raise ClientBottleneck(f"the client was the bottleneck, twice: {repeat.client_fault}")
            num_processes = max(processes_needed(repeat.client), 1 + repeat.client.num_processes)
            return None
        windows.extend(repeat.telemetry)
        return repeat.records

    levels, is_given_up = search_levels(problem, asked, send)
    seen = [window.preemptions for window in windows if window.preemptions is not None]
    return LevelRun(
        levels=levels,
        is_given_up=is_given_up,
        telemetry=tuple(windows),
        preemptions=sum(seen) if seen else None,
    )


def virtual_levels(problem: Problem, asked: Repeats, engines: list[SimulatedEngine]) -> LevelRun:
    """Send the levels to simulated engines, in virtual time."""
    preemptions, seconds = 0, 0.0

    def send(workload: Workload, plans: list[RequestPlan], watch: LevelWatch, words: str) -> Sequence[RequestRecord]:  # noqa: ARG001
        nonlocal preemptions, seconds
        records, counters = simulate_load(engines, workload)
        preemptions += counters.preemptions
        stopped = stopped_after(records, plans, watch)
        seconds += max(r.finished_s for r in records) if stopped is None else stopped[0]
        return records if stopped is None else stopped[1]

    levels, is_given_up = search_levels(problem, asked, send)
    return LevelRun(levels=levels, is_given_up=is_given_up, preemptions=preemptions, seconds=seconds)


def result_of(problem: Problem, levels: Sequence[Level]) -> BenchmarkResult:
    """What the launch shows as one result: its capacity, and the metrics of the level that stands for it."""
    objective = problem.objective
    found = capacity_of(problem, levels)
    level = levels[0] if found is None else found.level
    capacity = {} if found is None or found.value is None else {objective.name: found.value}
    return BenchmarkResult(
        duration_s=0.0,
        completed=max(0 if level.failed else 1, level.num_requests - level.failed),
        failed=level.failed,
        total_input_tokens=0,
        total_output_tokens=0,
        metrics={**level.metrics, **capacity},
        errors={},
    )

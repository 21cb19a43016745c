"""Measures one load level of a capacity search or a sweep, with as many requests as the level needs to settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from planner.benchmark.capacity.search import Capacity, SaturationWatch
from planner.benchmark.client.server import ServerFacts
from planner.benchmark.client.telemetry import wait_until_idle
from planner.benchmark.load.client_health import ClientHealth, client_fault
from planner.benchmark.load.processes import processes_needed
from planner.benchmark.load.progress import Moment
from planner.benchmark.load.send import send_load
from planner.benchmark.metrics import summarize
from planner.benchmark.records import RequestRecord
from planner.benchmark.session import DRAIN_TIMEOUT_S, BenchOptions, check_lengths, target_of
from planner.errors import InputError
from planner.workload import (
    LEVEL_S,
    WAVES,
    ClosedLoop,
    OpenLoop,
    RequestPlan,
    Shape,
    Workload,
    at_level,
    plan_given,
    plan_requests,
    plan_warmup,
)

SEEDS_PER_LOAD = 1000
"""Distance between the seeds of a search's loads, so that each load has prompts of its own."""


class LevelLoader:
    """Loads the server at a level until all is sent or the SLO is out of reach, and checks the client's own health."""

    def __init__(
        self, facts: ServerFacts, workload: Workload, shape: Shape, slo: dict[str, float], options: BenchOptions
    ) -> None:
        self.facts, self.workload, self.shape, self.slo, self.options = facts, workload, shape, slo, options
        self.num_processes = options.client_processes or 1
        self.num_loads = 0
        self.stage: Callable[[float], str] = "loading at {:g}".format
        """Words of the progress while a level is loaded."""
        self.faults: list[tuple[float, str]] = []

    def load(self, level: float) -> Sequence[RequestRecord]:
        """Load the level with prompts of its own; load it again if the client needs more processes than it had."""
        if not self.num_loads and self.workload.num_warmup_requests:
            warmup = plan_warmup(self.workload)
            send_load(target_of(self.facts, self.workload, self.options, [warmup]), warmup, ClosedLoop(len(warmup)))
        seen, client = self._load(level)
        if self.options.client_processes is None and processes_needed(client) > self.num_processes:
            self.num_processes = processes_needed(client)
            seen, client = self._load(level)
        if any(record.error is None for record in seen) and (fault := client_fault(client, summarize(seen))):
            self.faults.append((level, fault))
        return seen

    def _load(self, level: float) -> tuple[list[RequestRecord], ClientHealth]:
        workload, at = self.workload, at_level(self.shape, level)
        wave = 0 if isinstance(at, OpenLoop) else int(level)
        per_level = WAVES * wave or int(level * LEVEL_S)
        self.num_loads += 1
        asked = msgspec.structs.replace(
            workload,
            num_requests=wave + max(workload.num_requests, per_level),
            seed=workload.seed + SEEDS_PER_LOAD * self.num_loads,
        )
        plans = self._plans(asked)
        check_lengths(self.facts, plans)
        target = target_of(self.facts, asked, self.options, [plans])
        first_wave = {plan.index for plan in plans[:wave]}
        watch = _LevelWatch(self, level, SaturationWatch(self.slo, len(plans) - wave, first_wave))
        urls = [self.facts.base_url] if self.facts.has_metrics else []
        wait_until_idle(urls, DRAIN_TIMEOUT_S, self.facts.access)
        load = send_load(target, plans, at, watch, self.num_processes)
        return [record for record in load.records if record.index not in first_wave], load.client

    def _plans(self, asked: Workload) -> list[RequestPlan]:
        """Requests of a load; of recorded prompts the next ones. Raises InputError when they run out."""
        if not self.options.prompts:
            return plan_requests(asked)
        try:
            return plan_given(asked, self.options.prompts, self.num_loads - 1)
        except ValueError as error:
            raise InputError(f"{asked.prompts}: {error}") from None

    def fault_within(self, capacity: Capacity) -> str | None:
        """Why the client was the bottleneck at a level within the interval; levels outside it do not matter."""
        return next((fault for level, fault in self.faults if capacity.low <= level <= capacity.high), None)


@dataclass(frozen=True, slots=True)
class _LevelWatch:
    """Follows the load of one level: tells its progress, and ends it when the SLO is out of reach."""

    loader: LevelLoader
    level: float
    saturation: SaturationWatch

    def on_record(self, record: RequestRecord) -> None:
        self.saturation.on_record(record)

    def on_progress(self, done: int, total: int) -> None:
        self.loader.options.on_stage(self.loader.stage(self.level), done, total)

    def stop_reason(self, moment: Moment) -> str | None:
        return self.saturation.stop_reason(moment)

    def is_alive(self) -> bool:
        return self.saturation.is_alive()

"""Run a workload on simulated engines in virtual time: `simulate_load`.

From event to event: an arrival, or a step of one engine that does more than decode; the decode steps between are taken
at once. In: started `SimulatedEngine`s and a workload. Out: `RequestRecord`s on the virtual clock, and the engines'
counters. Knows nothing of HTTP or of an engine's start.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from planner.benchmark import RequestRecord
from planner.simulated.prompt_blocks import prompt_blocks
from planner.simulated.scheduler import SimulatedEngine
from planner.workload import (
    ClosedLoop,
    RequestPlan,
    Shape,
    Workload,
    conversations,
    due_times,
    limit_of,
    plan_requests,
    plan_warmup,
    shape_of,
)

REFUSED = "refused: longer than the KV cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCounters:
    """Sums over all engines during the measured part of a load."""

    preemptions: int
    prefix_query_tokens: int
    prefix_hit_tokens: int
    kv_usage_peak: float
    """Highest fraction of KV blocks in use on any instance, 0 to 1."""


# --- a load in virtual time -------------------------------------------------------------------------------------------


def simulate_load(engines: list[SimulatedEngine], workload: Workload) -> tuple[list[RequestRecord], LoadCounters]:
    """Warm up, then run the measured requests over all instances, as the load generator does.

    Returns one record per planned request, in the order of the plans, and the engines' counters for these requests.
    """
    loop = _Loop(engines)
    loop.run(plan_warmup(workload), ClosedLoop(workload.concurrency), workload.seed)
    before = [(e.num_preemptions, e.prefix_query_tokens, e.prefix_hit_tokens) for e in engines]
    loop.forget_peaks()
    records = loop.run(plan_requests(workload), shape_of(workload), workload.seed)
    after = [(e.num_preemptions, e.prefix_query_tokens, e.prefix_hit_tokens) for e in engines]
    preemptions, queries, hits = (
        sum(now[i] - then[i] for now, then in zip(after, before, strict=True)) for i in range(3)
    )
    counters = LoadCounters(
        preemptions=preemptions,
        prefix_query_tokens=queries,
        prefix_hit_tokens=hits,
        kv_usage_peak=loop.kv_usage_peak,
    )
    return records, counters


@dataclass(slots=True)
class _Flight:
    plan: RequestPlan
    following: list[RequestPlan]
    """The conversation's later turns."""
    started_s: float
    chunk_s: list[float]


class _EngineInFlight:
    """One engine with its own clock. Up to `event_s` it only decodes; there something else may happen."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self.engine = engine
        self.clock_s = 0.0
        self.event_s = math.inf
        """Begin of the next step that may do more than decode; infinite without work."""
        self.planned_s: list[float] = []
        """Ends of the decode steps that come next; only the last of them may end requests."""
        self.num_certain = 0
        """Number of these that begin before the next arrival."""
        self.is_planned = False
        """Whether a plan was made since the engine changed; without decode steps in it, the next step does more."""
        self.arriving: list[_Flight] = []
        """Requests sent but not yet added to the engine (it takes them before each step), in order of time."""
        self.flights: dict[str, _Flight] = {}
        self.num_sent = 0
        self.kv_usage_peak = 0.0

    def send(self, flight: _Flight) -> None:
        self.num_sent += 1
        self.flights[str(flight.plan.index)] = flight
        insort(self.arriving, flight, key=lambda other: other.started_s)
        self._find_event()

    def proceed(self) -> tuple[list[_Flight], tuple[str, ...]]:
        """Go to the event and through its step: the requests that ended, and the ids of those that were refused."""
        if finished := self._decode():
            return self._ended(finished), ()
        if self._take_arrivals() or not self.is_planned:
            self._plan()
        if self.planned_s:
            self._find_event()
            return [], ()
        outcome = self.engine.step()
        self.clock_s += outcome.elapsed_s
        for request_id in outcome.emitted:
            self.flights[request_id].chunk_s.append(self.clock_s)
        return self._ended((*outcome.finished, *outcome.refused)), outcome.refused

    def _ended(self, request_ids: Sequence[str]) -> list[_Flight]:
        """After a step that may have ended these requests."""
        self.kv_usage_peak = max(self.kv_usage_peak, self.engine.kv_usage)
        self.is_planned = False
        if not self.arriving:
            self._plan()
        self._find_event()
        return [self.flights.pop(request_id) for request_id in request_ids]

    def _plan(self) -> None:
        self.planned_s = self.engine.plan_decodes(self.clock_s)
        self.is_planned = True

    def _decode(self) -> list[str]:
        """Do the certain steps and go to the event; ids of the requests that the last planned step ended, if it is one
        of them: then the clock shows its end."""
        planned_s, count, finished = self.planned_s, self.num_certain, list[str]()
        self.clock_s = self.event_s
        if not count:
            return finished
        engine, ids = self.engine, self.engine.running_ids
        is_last = count == len(planned_s) and engine.plan_finishes
        engine.decode(count - is_last)
        self.kv_usage_peak = max(self.kv_usage_peak, engine.kv_usage)
        if is_last:
            engine.decode(1)
            finished = engine.finish()
            self.clock_s = planned_s[-1]
        ends_s = planned_s[:count]
        for request_id in ids:
            self.flights[request_id].chunk_s += ends_s
        self.planned_s, self.num_certain, self.is_planned = [], 0, False
        return finished

    def _take_arrivals(self) -> int:
        """Add the requests that have arrived by now; their number."""
        engine, taken = self.engine, 0
        for flight in self.arriving:
            if flight.started_s > self.clock_s:
                break
            plan, taken = flight.plan, taken + 1
            hashes = prompt_blocks(plan, engine.block_size) if engine.caches else ()
            engine.add(str(plan.index), plan.input_tokens, plan.output_tokens, block_hashes=hashes)
        del self.arriving[:taken]
        return taken

    def _find_event(self) -> None:
        """Set the next event: the begin of the first step that may do more than decode, or is after an arrival."""
        planned_s = self.planned_s
        self.num_certain = 0
        if not self.engine.has_work:
            self.event_s = max(self.clock_s, self.arriving[0].started_s) if self.arriving else math.inf
            return
        before = len(planned_s)
        if planned_s:
            self.num_certain = before
            before -= self.engine.plan_finishes
            if self.arriving:
                first_s = self.arriving[0].started_s
                begun = 0 if first_s <= self.clock_s else bisect_left(planned_s, first_s) + 1
                if begun < self.num_certain:
                    self.num_certain = before = begun
        self.event_s = planned_s[before - 1] if before else self.clock_s


class _Loop:
    """Requests in flight over several engines; the engine whose event is the first goes next."""

    def __init__(self, engines: list[SimulatedEngine]) -> None:
        self.instances = [_EngineInFlight(engine) for engine in engines]
        self.events_s = [math.inf] * len(engines)
        """Next event of each instance, in seconds."""
        self.loads = [(0, 0, i) for i in range(len(engines))]
        """Of each instance: requests in flight, requests sent, its number."""
        self.now_s = 0.0

    @property
    def kv_usage_peak(self) -> float:
        """Highest fraction of KV blocks in use on any instance since `forget_peaks`."""
        return max(instance.kv_usage_peak for instance in self.instances)

    def forget_peaks(self) -> None:
        for instance in self.instances:
            instance.kv_usage_peak = 0.0

    def run(self, plans: list[RequestPlan], shape: Shape, seed: int) -> list[RequestRecord]:
        """Run the plans. A slot takes one conversation at a time, and the next one as soon as it is due."""
        due = due_times(shape, plans, seed) or (0.0,) * len(plans)
        due_s = {plan.index: self.now_s + after_s for plan, after_s in zip(plans, due, strict=True)}
        talks = sorted(conversations(plans), key=lambda talk: due_s[talk[0].index])
        todo, free_s, done = deque(talks), [self.now_s] * (limit_of(shape) or len(talks)), dict[int, RequestRecord]()
        while len(done) < len(plans):
            while todo and free_s and (due_s[todo[0][0].index] <= min(self.events_s)):
                talk = todo.popleft()
                self._send(talk, max(due_s[talk[0].index], heappop(free_s)))
            event_s = min(self.events_s)
            number = self.events_s.index(event_s)
            for ended in self._proceed(number, done):
                if ended.following:
                    self._send(ended.following, self.instances[number].clock_s)
                else:
                    heappush(free_s, self.instances[number].clock_s)
        self.now_s = max(instance.clock_s for instance in self.instances)
        return [done[plan.index] for plan in plans]

    def _send(self, talk: list[RequestPlan], now_s: float) -> None:
        """Send the conversation's first turn to the least loaded instance, as the load generator does."""
        plan, *following = talk
        _, _, number = min(self.loads)
        instance = self.instances[number]
        instance.send(_Flight(plan, following, now_s, []))
        self._told(number)

    def _proceed(self, number: int, done: dict[int, RequestRecord]) -> list[_Flight]:
        """Let one instance go to its next event; returns the requests that ended there."""
        instance = self.instances[number]
        ended, refused = instance.proceed()
        for flight in ended:
            is_refused = str(flight.plan.index) in refused
            done[flight.plan.index] = _record(flight, instance.clock_s, is_refused=is_refused)
        self._told(number)
        return ended

    def _told(self, number: int) -> None:
        """Note what an instance's event and load are now."""
        instance = self.instances[number]
        self.events_s[number] = instance.event_s
        self.loads[number] = (len(instance.flights), instance.num_sent, number)


def _record(flight: _Flight, now_s: float, is_refused: bool) -> RequestRecord:
    return RequestRecord(
        index=flight.plan.index,
        started_s=flight.started_s,
        chunk_s=tuple(flight.chunk_s),
        finished_s=now_s,
        input_tokens=flight.plan.input_tokens,
        output_tokens=len(flight.chunk_s),
        finish_reason="length",
        error=REFUSED if is_refused else None,
    )

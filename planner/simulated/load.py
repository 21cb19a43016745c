"""Run a workload on simulated engines in virtual time: `simulate_load`.

In: started `SimulatedEngine`s and a workload. Out: `RequestRecord`s on the virtual clock, and the engines' counters.
Knows nothing of HTTP or of an engine's start.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush

from planner.benchmark import RequestRecord
from planner.simulated.scheduler import SimulatedEngine
from planner.workload import (
    ClosedLoop,
    GivenPrompt,
    RequestPlan,
    Shape,
    Workload,
    block_hashes,
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
    loop.kv_usage_peak = 0.0
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
    instance: int
    started_s: float
    chunk_s: list[float]


class _Loop:
    """Requests in flight over several engines. Each engine has its own clock; the one furthest behind steps next."""

    def __init__(self, engines: list[SimulatedEngine]) -> None:
        self.engines = engines
        self.clock_s = [0.0] * len(engines)
        self.arriving: list[list[_Flight]] = [[] for _ in engines]
        """Per engine, requests sent but not yet added to it (it takes them before each step), in order of time."""
        self.in_flight = [0] * len(engines)
        self.num_sent = [0] * len(engines)
        self.flights: dict[str, _Flight] = {}
        self.kv_usage_peak = 0.0
        self.now_s = 0.0

    def run(self, plans: list[RequestPlan], shape: Shape, seed: int) -> list[RequestRecord]:
        """Run the plans. A slot takes one conversation at a time, and the next one as soon as it is due."""
        due = due_times(shape, plans, seed) or (0.0,) * len(plans)
        due_s = {plan.index: self.now_s + after_s for plan, after_s in zip(plans, due, strict=True)}
        talks = sorted(conversations(plans), key=lambda talk: due_s[talk[0].index])
        todo, free_s, done = deque(talks), [self.now_s] * (limit_of(shape) or len(talks)), dict[int, RequestRecord]()
        while todo or self.flights:
            horizon_s = min((self._next_s(i) for i in self._busy()), default=math.inf)
            while todo and free_s and (due_s[todo[0][0].index] <= horizon_s):
                talk = todo.popleft()
                self._send(talk, max(due_s[talk[0].index], heappop(free_s)))
                horizon_s = min(self._next_s(i) for i in self._busy())
            instance = min(self._busy(), key=self._next_s)
            self.clock_s[instance] = self._next_s(instance)
            for ended in self._step(instance, done):
                if ended.following:
                    self._send(ended.following, self.clock_s[instance])
                else:
                    heappush(free_s, self.clock_s[instance])
        self.now_s = max(self.clock_s)
        return [done[plan.index] for plan in plans]

    def _busy(self) -> list[int]:
        return [i for i in range(len(self.engines)) if self.arriving[i] or self.engines[i].has_work]

    def _next_s(self, instance: int) -> float:
        """Virtual time at which this instance's next step begins, in seconds."""
        if self.engines[instance].has_work:
            return self.clock_s[instance]
        return max(self.clock_s[instance], self.arriving[instance][0].started_s)

    def _send(self, talk: list[RequestPlan], now_s: float) -> None:
        """Send the conversation's first turn to the least loaded instance, as the load generator does."""
        plan, *following = talk
        target = min(range(len(self.engines)), key=lambda i: (self.in_flight[i], self.num_sent[i]))
        self.in_flight[target] += 1
        self.num_sent[target] += 1
        flight = _Flight(plan, following, target, now_s, [])
        self.flights[str(plan.index)] = flight
        insort(self.arriving[target], flight, key=lambda other: other.started_s)

    def _step(self, instance: int, done: dict[int, RequestRecord]) -> list[_Flight]:
        """Run one step of one engine; returns the requests that it ended."""
        engine, arriving = self.engines[instance], self.arriving[instance]
        while arriving and arriving[0].started_s <= self.clock_s[instance]:
            plan = arriving.pop(0).plan
            hashes = _block_hashes(plan, engine.block_size)
            engine.add(str(plan.index), plan.input_tokens, plan.output_tokens, block_hashes=hashes)
        outcome = engine.step()
        self.clock_s[instance] += outcome.elapsed_s
        self.kv_usage_peak = max(self.kv_usage_peak, engine.kv_usage)
        now_s = self.clock_s[instance]
        for request_id in outcome.emitted:
            self.flights[request_id].chunk_s.append(now_s)
        ended = [self.flights.pop(request_id) for request_id in (*outcome.finished, *outcome.refused)]
        for flight in ended:
            self.in_flight[instance] -= 1
            is_refused = str(flight.plan.index) in outcome.refused
            done[flight.plan.index] = _record(flight, now_s, is_refused=is_refused)
        return ended


def _block_hashes(plan: RequestPlan, block_size: int) -> list[int]:
    """Hashes of the prompt's full blocks that others may share: a shared prefix, turns, blocks of a trace, texts."""
    if (blocks := plan.blocks) is not None or plan.prompt is not None:
        ids, tokens, salt = (blocks.ids, blocks.tokens, blocks.salt) if blocks is not None else ((), 0, 0)
        given = GivenPrompt(plan.prompt, None, None, plan.input_tokens, ids, tokens)
        return [hash((salt, block)) for block in block_hashes(given, block_size)]
    shared = list(range(plan.shared_prefix_tokens // block_size))
    if plan.conversation is None:
        return shared
    own = range(len(shared), plan.input_tokens // block_size)
    return shared + [hash((plan.conversation, plan.shared_prefix_tokens, block)) for block in own]


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

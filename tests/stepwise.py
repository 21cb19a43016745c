"""The reference of the simulated engine: every step scheduled, timed and recorded on its own, as it was written first.

`planner.simulated` advances runs of decode steps at once and must give the same results: a property compares both
(tests/properties/test_simulator_properties.py), tests/benchmarks/simulator.py their speed. It is not to be made fast.

Source: vllm@0.8.5 core/scheduler.py:_schedule_default, _schedule_chunked_prefill, core/block_manager.py (V0);
v1/core/sched/scheduler.py:schedule, v1/core/kv_cache_manager.py (V1).
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from planner.benchmark import RequestRecord
from planner.estimate import WATERMARK_FRACTION, Step, StepModel, prefill_pairs
from planner.simulated.load import REFUSED, LoadCounters
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

NOISE = 0.01
"""Relative spread of step durations, and of the pace of launches of the same configuration."""
FRONTEND_QUEUE_S = 0.1
"""Lag of the API server, in seconds, beyond which the closed loop waits for it."""


class StepwisePool:
    """KV blocks. A block with a hash can be shared; without a user it stays cached until evicted (oldest first)."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.num_used = 0
        self._users: dict[int, int] = {}
        self._unused: dict[int, None] = {}  # in order of release

    @property
    def num_free(self) -> int:
        """Number of blocks that can be taken, including cached ones without a user."""
        return self.num_blocks - self.num_used

    def num_hits(self, hashes: Sequence[int]) -> int:
        """Number of hashes from the start that are cached without a gap."""
        for i, block in enumerate(hashes):
            if block not in self._users and block not in self._unused:
                return i
        return len(hashes)

    def num_unused(self, hashes: Sequence[int]) -> int:
        """Number of these blocks that are cached without a user: sharing them reduces `num_free`."""
        return sum(block in self._unused for block in hashes)

    def share(self, hashes: Sequence[int]) -> None:
        for block in hashes:
            if block in self._unused:
                del self._unused[block]
                self.num_used += 1
            self._users[block] = self._users.get(block, 0) + 1

    def take(self, count: int) -> None:
        """Take blocks without a hash; evicts cached ones when nothing else is left."""
        self.num_used += count
        while self._unused and self.num_used + len(self._unused) > self.num_blocks:
            del self._unused[next(iter(self._unused))]

    def name(self, block: int) -> bool:
        """Give one taken block its hash. False if another block already has it; this one then stays without a hash."""
        if block in self._users or block in self._unused:
            return False
        self._users[block] = 1
        return True

    def release(self, num_nameless: int, hashes: Sequence[int]) -> None:
        self.num_used -= num_nameless
        for block in reversed(hashes):  # the end of a prompt is forgotten before its beginning
            self._users[block] -= 1
            if not self._users[block]:
                del self._users[block]
                self._unused[block] = None
                self.num_used -= 1


@dataclass(slots=True, eq=False)
class _Sequence:
    request_id: str
    input_tokens: int
    output_tokens: int
    block_hashes: Sequence[int]
    emitted: int = 0
    computed: int = 0
    """Number of tokens whose keys and values are in the cache."""
    num_blocks: int = 0
    num_named: int = 0
    """Number of block hashes handled so far: shared, given to a block, or already held by another block."""
    shared: list[int] = field(default_factory=list)
    """Hashes of the blocks that this sequence uses and that have a hash."""

    @property
    def num_new(self) -> int:
        """Number of tokens to compute before the next one can be emitted; 1 while decoding."""
        return self.input_tokens + self.emitted - self.computed

    @property
    def is_decoding(self) -> bool:
        return self.emitted > 0 and self.num_new == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StepwiseOutcome:
    """Outcome of one step. Each request id in `emitted` got one token; those in `finished` are among them."""

    elapsed_s: float
    emitted: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    preempted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """Ids of requests too long for the KV cache or, unchunked, for one batch; vLLM finishes these without a token."""
    prefill_tokens: int = 0
    decode_seqs: int = 0


class StepwiseEngine:
    """One engine. `add` requests, then `step` while it `has_work`; each step returns what it did and its duration."""

    def __init__(self, steps: StepModel, num_blocks: int, seed: int = 0) -> None:
        engine = steps.engine
        self.steps = steps
        self.pool = StepwisePool(num_blocks)
        self.block_size = int(engine.block_size)
        self.max_num_seqs = int(engine.max_num_seqs)
        self.max_num_batched_tokens = int(engine.max_num_batched_tokens)
        self.is_v0 = engine.generation == "V0"
        self.starts_whole = bool(engine.starts_whole_prompts)
        self.mixes = not self.is_v0 or bool(engine.enable_chunked_prefill)
        """Whether prompts and decodes share a step."""
        self.caches = bool(engine.enable_prefix_caching)
        self.num_kept_free = int(WATERMARK_FRACTION * num_blocks) if self.is_v0 else 0
        self.num_preemptions = 0
        self.prefix_query_tokens = 0
        self.prefix_hit_tokens = 0
        self._waiting: deque[_Sequence] = deque()
        self._running: list[_Sequence] = []
        self._rng = np.random.default_rng(seed)
        self._pace = float(self._rng.lognormal(0.0, NOISE))
        self._frontend_behind_s = 0.0

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """Fraction of the KV blocks in use, 0 to 1."""
        return self.pool.num_used / self.pool.num_blocks

    def add(
        self,
        request_id: str,
        input_tokens: int,
        output_tokens: int,
        shared_prefix_tokens: int = 0,
        block_hashes: Sequence[int] | None = None,
    ) -> None:
        """Queue a request. Its prompt can share either the first `shared_prefix_tokens`, the same for all requests,
        or the blocks in `block_hashes`, one hash per full block of the prompt (each over everything before it)."""
        if block_hashes is None:
            block_hashes = range(shared_prefix_tokens // self.block_size)
        if not self.caches:
            block_hashes = ()
        self._waiting.append(_Sequence(request_id, input_tokens, output_tokens, block_hashes))

    def abort(self, request_id: str) -> None:
        """Forget a request whose client has gone."""
        for queue in (self._waiting, self._running):
            for sequence in queue:
                if sequence.request_id == request_id:
                    self._release(sequence)
                    queue.remove(sequence)
                    return

    def step(self) -> StepwiseOutcome:
        """Schedule, compute, emit."""
        preempted: list[_Sequence] = []
        refused: list[_Sequence] = []
        if self.mixes:
            batch = self._grow_running(self.max_num_batched_tokens, preempted)
            used = sum(num_new for _, num_new in batch)
            if not preempted:
                batch += self._admit(self.max_num_batched_tokens - used, refused)
        else:  # prompts first, alone; decodes only when no prompt can start
            batch = self._admit(self.max_num_batched_tokens, refused)
            batch = batch or self._grow_running(self.max_num_batched_tokens, preempted)
        step = _describe(batch)
        emitted, finished = self._finish_step(batch)
        return StepwiseOutcome(
            elapsed_s=self._elapsed_s(step, len(emitted)) if batch else 0.0,
            emitted=tuple(emitted),
            finished=tuple(finished),
            preempted=tuple(sequence.request_id for sequence in preempted),
            refused=tuple(sequence.request_id for sequence in refused),
            prefill_tokens=int(step.prefill_tokens),
            decode_seqs=int(step.decode_seqs),
        )

    def _grow_running(self, budget: int, preempted: list[_Sequence]) -> list[tuple[_Sequence, int]]:
        """Choose what the running sequences compute next: decodes first, then remaining parts of prompts.

        A sequence that finds no free block preempts the latest one. That one loses its blocks, and its tokens are
        prefilled again.
        """
        queue = deque(s for s in self._running if s.is_decoding)
        queue.extend(s for s in self._running if not s.is_decoding)
        batch = []
        while queue and budget > 0:
            sequence = queue.popleft()
            num_new = min(sequence.num_new, budget)
            while not self._allocate(sequence, num_new):
                victim = queue.pop() if queue else sequence
                self._preempt(victim)
                preempted.append(victim)
                if victim is sequence:
                    break
            else:
                batch.append((sequence, num_new))
                budget -= num_new
        return batch

    def _admit(self, budget: int, refused: list[_Sequence]) -> list[tuple[_Sequence, int]]:
        """Start waiting requests, first come, first served, with the tokens that each computes now."""
        batch: list[tuple[_Sequence, int]] = []
        while self._waiting and budget > 0 and len(self._running) < self.max_num_seqs:
            sequence = self._waiting[0]
            total = sequence.input_tokens + sequence.emitted
            whole = -(-total // self.block_size)
            if whole > self.pool.num_blocks - self.num_kept_free or (
                not self.mixes and total > self.max_num_batched_tokens
            ):
                refused.append(self._waiting.popleft())
                continue
            most = (total - 1) // self.block_size  # the last token is always computed
            hits = sequence.block_hashes[: min(self.pool.num_hits(sequence.block_hashes), most)]
            cached = len(hits) * self.block_size
            num_new = total - cached
            if not self.mixes and num_new > budget:
                break
            num_new = min(num_new, budget)
            # V0 reserves the blocks of the whole prompt, V1 those of this chunk.
            blocks = whole if self.is_v0 else -(-(cached + num_new) // self.block_size)
            must_fit = whole if self.starts_whole else blocks
            needed = must_fit - len(hits) + self.pool.num_unused(hits)
            if self.pool.num_free - needed < self.num_kept_free:
                break
            self._waiting.popleft()
            self._running.append(sequence)
            self._start(sequence, hits, blocks)
            if not self.is_v0:
                self._name_blocks(sequence, cached + num_new)
            batch.append((sequence, num_new))
            budget -= num_new
        return batch

    def _start(self, sequence: _Sequence, hits: Sequence[int], num_blocks: int) -> None:
        self.pool.share(hits)
        self.pool.take(num_blocks - len(hits))
        sequence.shared = list(hits)
        sequence.num_named = len(hits)
        sequence.num_blocks = num_blocks
        sequence.computed = len(hits) * self.block_size
        if self.caches:
            self.prefix_query_tokens += sequence.input_tokens + sequence.emitted
            self.prefix_hit_tokens += sequence.computed

    def _allocate(self, sequence: _Sequence, num_new: int) -> bool:
        """Take blocks for a running sequence's next tokens; False if there are not enough."""
        missing = -(-(sequence.computed + num_new) // self.block_size) - sequence.num_blocks
        if missing > 0:
            if missing > self.pool.num_free:
                return False
            self.pool.take(missing)
            sequence.num_blocks += missing
        return True

    def _name_blocks(self, sequence: _Sequence, num_tokens: int) -> None:
        """Give full prompt blocks their hashes: V1 when they are scheduled, V0 when they are computed."""
        for i in range(sequence.num_named, min(len(sequence.block_hashes), num_tokens // self.block_size)):
            if self.pool.name(sequence.block_hashes[i]):
                sequence.shared.append(sequence.block_hashes[i])
            sequence.num_named = i + 1

    def _finish_step(self, batch: list[tuple[_Sequence, int]]) -> tuple[list[str], list[str]]:
        emitted, finished = [], []
        for sequence, num_new in batch:
            sequence.computed += num_new
            if sequence.num_named < len(sequence.block_hashes):
                self._name_blocks(sequence, sequence.computed)
            if sequence.num_new > 0:
                continue
            sequence.emitted += 1
            emitted.append(sequence.request_id)
            if sequence.emitted == sequence.output_tokens:
                finished.append(sequence.request_id)
                self._release(sequence)
                self._running.remove(sequence)
        return emitted, finished

    def _preempt(self, sequence: _Sequence) -> None:
        self._release(sequence)
        self._running.remove(sequence)
        self._waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _release(self, sequence: _Sequence) -> None:
        self.pool.release(sequence.num_blocks - len(sequence.shared), sequence.shared)
        sequence.num_blocks = sequence.num_named = sequence.computed = 0
        sequence.shared = []

    def _elapsed_s(self, step: Step, num_emitted: int) -> float:
        elapsed_s = float(self.steps.seconds(step)) * self._pace * float(self._rng.lognormal(0.0, NOISE))
        # The API server runs beside the engine; the loop waits for it only when it has fallen far behind.
        behind_s = self._frontend_behind_s + num_emitted * self.steps.coefficients.frontend_s_per_token - elapsed_s
        wait_s = max(0.0, behind_s - FRONTEND_QUEUE_S)
        self._frontend_behind_s = max(0.0, behind_s - wait_s)
        return elapsed_s + wait_s


def _describe(batch: list[tuple[_Sequence, int]]) -> Step:
    """The batch as input of the step model."""
    prefill_tokens = sampled = decode_seqs = context = longest = 0
    pairs, continues = 0.0, False
    for sequence, num_new in batch:
        if sequence.is_decoding:
            decode_seqs += 1
            context += sequence.computed + 1
            longest = max(longest, sequence.computed + 1)
        else:
            prefill_tokens += num_new
            pairs += prefill_pairs(num_new, sequence.computed)
            continues = continues or sequence.computed > 0
            sampled += num_new == sequence.num_new
    return Step(
        prefill_tokens=prefill_tokens,
        prefill_pairs=pairs,
        continues_prefix=continues,
        sampled_prefills=sampled,
        decode_seqs=decode_seqs,
        context_tokens=context,
        longest_tokens=longest,
    )


def simulate_stepwise(engines: list[StepwiseEngine], workload: Workload) -> tuple[list[RequestRecord], LoadCounters]:
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

    def __init__(self, engines: list[StepwiseEngine]) -> None:
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

"""`SimulatedEngine`: vLLM's scheduler over KV blocks, in virtual time.

In: requests as token counts. Out: for each step the requests that got a token, and its duration by `StepModel`; or the
ends of a run of decode steps at once. Knows nothing of HTTP, clocks or models.

Source: vllm@0.8.5 core/scheduler.py:_schedule_default, _schedule_chunked_prefill, core/block_manager.py (V0);
v1/core/sched/scheduler.py:schedule, v1/core/kv_cache_manager.py (V1).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.estimate import WATERMARK_FRACTION, StepModel, prefill_pairs
from planner.simulated.block_pool import BlockPool
from planner.simulated.sequence import LiveSequence
from planner.simulated.step_runs import FRONTEND_QUEUE_S, NOISE, StepNoise, StepRun, decode_run

MOST_STEPS = 96
"""Most steps of a run of decode steps that are planned at once; what an arrival cuts off is planned again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """Outcome of one step. Each request id in `emitted` got one token; those in `finished` are among them."""

    elapsed_s: float
    emitted: tuple[str, ...] = ()
    finished: tuple[str, ...] = ()
    preempted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    """Ids of requests too long for the KV cache or, unchunked, for one batch; vLLM finishes these without a token."""
    prefill_tokens: int = 0
    decode_seqs: int = 0


class SimulatedEngine:
    """One engine. `add` requests, then `step` while it `has_work`; each step returns what it did and its duration.

    Who keeps a clock may `plan_decodes` first: the ends of the coming steps in which every running sequence gets one
    token and nothing else happens, and then `decode` as many of them as there is no arrival before.
    """

    def __init__(self, steps: StepModel, num_blocks: int, seed: int = 0) -> None:
        engine = steps.engine
        self.timer = steps.timer()
        self.pool = BlockPool(num_blocks)
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
        self._waiting: deque[LiveSequence] = deque()
        self._running: list[LiveSequence] = []
        rng = np.random.default_rng(seed)
        self._pace = float(rng.lognormal(0.0, NOISE))
        self._noise = StepNoise(rng)
        self._frontend_s_per_token = float(steps.coefficients.frontend_s_per_token)
        self._frontend_behind_s = 0.0
        self._run = StepRun()
        self.plan_finishes = False
        """Whether the last planned step ends a request."""

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
    def running_ids(self) -> list[str]:
        """Ids of the running requests; each gets a token in every step of a run of decode steps."""
        return [sequence.request_id for sequence in self._running]

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
        self._waiting.append(LiveSequence(request_id, input_tokens, output_tokens, block_hashes))

    def abort(self, request_id: str) -> None:
        """Forget a request whose client has gone."""
        for queue in (self._waiting, self._running):
            for sequence in queue:
                if sequence.request_id == request_id:
                    self._release(sequence)
                    queue.remove(sequence)
                    return

    def step(self) -> StepOutcome:
        """Schedule, compute, emit."""
        preempted: list[LiveSequence] = []
        refused: list[LiveSequence] = []
        if self.mixes:
            batch = self._grow_running(self.max_num_batched_tokens, preempted)
            used = sum(num_new for _, num_new in batch)
            if not preempted:
                batch += self._admit(self.max_num_batched_tokens - used, refused)
        else:  # prompts first, alone; decodes only when no prompt can start
            batch = self._admit(self.max_num_batched_tokens, refused)
            batch = batch or self._grow_running(self.max_num_batched_tokens, preempted)
        prefill_tokens, decode_seqs, elapsed_s = self._time(batch)
        emitted, finished = self._finish_step(batch)
        return StepOutcome(
            elapsed_s=self._with_frontend(elapsed_s, len(emitted)) if batch else 0.0,
            emitted=tuple(emitted),
            finished=tuple(finished),
            preempted=tuple(sequence.request_id for sequence in preempted),
            refused=tuple(sequence.request_id for sequence in refused),
            prefill_tokens=prefill_tokens,
            decode_seqs=decode_seqs,
        )

    # --- a run of decode steps

    def plan_decodes(self, now_s: float) -> list[float]:
        """Ends of the coming steps that only decode, in seconds on the clock that shows `now_s`; only the last may end
        requests (`plan_finishes`). Empty if the next step admits, prefills or preempts. Changes nothing."""
        self._run = StepRun()
        self.plan_finishes = False
        if (most_blocks := self._num_quiet_blocks()) < 0:
            return []
        context, longest, shortest = 0, 0, MOST_STEPS + 1
        for sequence in self._running:
            computed, emitted = sequence.computed, sequence.emitted
            if emitted + sequence.input_tokens - computed != 1 or not emitted or not sequence.is_named:
                return []
            context += computed
            if computed > longest:
                longest = computed
            if sequence.output_tokens - emitted < shortest:
                shortest = sequence.output_tokens - emitted
        seqs, longest = len(self._running), longest + 1
        context += seqs
        if (count := self._num_served(min(shortest, MOST_STEPS), most_blocks)) <= 0:
            return []
        cost = self.timer.decodes(seqs, longest)
        count = int(min(count, cost.most_tokens - longest + 1))
        self.plan_finishes = count == shortest
        steps = zip(range(context, context + seqs * count, seqs), self._noise.coming(count), strict=True)
        frontend_s = seqs * self._frontend_s_per_token
        self._run = decode_run(cost, steps, self._pace, frontend_s, self._frontend_behind_s, now_s)
        return self._run.ends_s

    def decode(self, count: int) -> None:
        """Do the next `count` of the steps that `plan_decodes` told. After the last one of a plan that finishes
        requests, `finish`."""
        if not count:
            return
        taken = 0
        for sequence in self._running:
            sequence.computed += count
            sequence.emitted += count
            missing = -(-sequence.computed // self.block_size) - sequence.num_blocks
            if missing > 0:
                sequence.num_blocks += missing
                taken += missing
        if taken:
            self.pool.take(taken)
        self._run.done += count
        self._frontend_behind_s = 0.0 if self._run.behind_s is None else self._run.behind_s[self._run.done - 1]
        self._noise.skip(count)

    def finish(self) -> list[str]:
        """End the requests that have all their tokens; their ids."""
        ended = [sequence for sequence in self._running if sequence.emitted == sequence.output_tokens]
        for sequence in ended:
            self._release(sequence)
            self._running.remove(sequence)
        return [sequence.request_id for sequence in ended]

    def _num_served(self, steps: int, most_blocks: int) -> int:
        """Number of decode steps, up to `steps`, that so many blocks suffice for."""
        if (
            len(self._running) * (1 + steps // self.block_size) <= most_blocks
            or self._num_blocks_for(steps) <= most_blocks
        ):
            return steps
        low, high = 0, steps  # blocks suffice for `low` steps, not for `high`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._num_blocks_for(middle) <= most_blocks else (low, middle)
        return low

    def _num_blocks_for(self, steps: int) -> int:
        """Number of blocks that the running sequences lack for so many decode steps."""
        return sum(max(0, -(-(s.computed + steps) // self.block_size) - s.num_blocks) for s in self._running)

    def _num_quiet_blocks(self) -> int:
        """Number of blocks that decoding may take before it meets a shortage or the first waiting request could start;
        -1 if nothing runs, or the next step starts or refuses that one."""
        if not self._running or len(self._running) > self.max_num_batched_tokens:
            return -1
        if not self._waiting or len(self._running) >= self.max_num_seqs:
            return self.pool.num_free
        budget = self.max_num_batched_tokens - (len(self._running) if self.mixes else 0)
        if budget <= 0:
            return self.pool.num_free
        first = self._waiting[0]
        if self._is_too_long(first) or self._chunk(first, budget) is not None:
            return -1
        if not self.pool.lookup(first.block_hashes, 1)[0]:
            return self.pool.num_free
        return self.pool.num_free - self.pool.num_unused  # its cached blocks may go, and the rest then fit

    # --- scheduling

    def _grow_running(self, budget: int, preempted: list[LiveSequence]) -> list[tuple[LiveSequence, int]]:
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

    def _admit(self, budget: int, refused: list[LiveSequence]) -> list[tuple[LiveSequence, int]]:
        """Start waiting requests, first come, first served, with the tokens that each computes now."""
        batch: list[tuple[LiveSequence, int]] = []
        while self._waiting and budget > 0 and len(self._running) < self.max_num_seqs:
            sequence = self._waiting[0]
            if self._is_too_long(sequence):
                refused.append(self._waiting.popleft())
                continue
            if (chunk := self._chunk(sequence, budget)) is None:
                break
            hits, blocks, num_new = chunk
            self._waiting.popleft()
            self._running.append(sequence)
            self._start(sequence, hits, blocks)
            if not self.is_v0:
                self._name_blocks(sequence, hits * self.block_size + num_new)
            batch.append((sequence, num_new))
            budget -= num_new
        return batch

    def _is_too_long(self, sequence: LiveSequence) -> bool:
        """Whether the sequence can never start: longer than the KV cache or, unchunked, than a batch."""
        total = sequence.input_tokens + sequence.emitted
        most_blocks = self.pool.num_blocks - self.num_kept_free
        return -(-total // self.block_size) > most_blocks or (not self.mixes and total > self.max_num_batched_tokens)

    def _chunk(self, sequence: LiveSequence, budget: int) -> tuple[int, int, int] | None:
        """How a waiting sequence starts: cached blocks, all that it takes, tokens to compute; None if it must wait."""
        total = sequence.input_tokens + sequence.emitted
        most = (total - 1) // self.block_size  # the last token is always computed
        hits, unused = self.pool.lookup(sequence.block_hashes, most)
        cached = hits * self.block_size
        num_new = total - cached
        if not self.mixes and num_new > budget:
            return None
        num_new = min(num_new, budget)
        # V0 takes the blocks of the whole prompt, V1 those of this chunk; since 0.19 the whole one must fit too.
        whole, chunk = (-(-tokens // self.block_size) for tokens in (total, cached + num_new))
        needed = (whole if self.starts_whole else chunk) - hits + unused
        if self.pool.num_free - needed < self.num_kept_free:
            return None
        blocks = whole if self.is_v0 else chunk
        return hits, blocks, num_new

    def _start(self, sequence: LiveSequence, hits: int, num_blocks: int) -> None:
        self.pool.share(sequence.block_hashes, hits)
        self.pool.take(num_blocks - hits)
        sequence.held = [(0, hits)] if hits else []
        sequence.num_named = hits
        sequence.num_blocks = num_blocks
        sequence.computed = hits * self.block_size
        if self.caches:
            self.prefix_query_tokens += sequence.input_tokens + sequence.emitted
            self.prefix_hit_tokens += sequence.computed

    def _allocate(self, sequence: LiveSequence, num_new: int) -> bool:
        """Take blocks for a running sequence's next tokens; False if there are not enough."""
        missing = -(-(sequence.computed + num_new) // self.block_size) - sequence.num_blocks
        if missing > 0:
            if missing > self.pool.num_free:
                return False
            self.pool.take(missing)
            sequence.num_blocks += missing
        return True

    def _name_blocks(self, sequence: LiveSequence, num_tokens: int) -> None:
        """Give full prompt blocks their hashes: V1 when they are scheduled, V0 when they are computed."""
        end = min(len(sequence.block_hashes), num_tokens // self.block_size)
        if end > sequence.num_named:
            self.pool.name(sequence.block_hashes, sequence.num_named, end, sequence.held)
            sequence.num_named = end

    def _finish_step(self, batch: list[tuple[LiveSequence, int]]) -> tuple[list[str], list[str]]:
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

    def _preempt(self, sequence: LiveSequence) -> None:
        self._release(sequence)
        self._running.remove(sequence)
        self._waiting.appendleft(sequence)
        self.num_preemptions += 1

    def _release(self, sequence: LiveSequence) -> None:
        num_nameless = sequence.num_blocks - sum(end - start for start, end in sequence.held)
        self.pool.release(num_nameless, sequence.block_hashes, sequence.held)
        sequence.num_blocks = sequence.num_named = sequence.computed = 0
        sequence.held = []

    def _time(self, batch: list[tuple[LiveSequence, int]]) -> tuple[int, int, float]:
        """Tokens of prompts in a batch, number of sequences that decode, and its duration in seconds."""
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
        if not batch:
            return 0, 0, 0.0
        step_s = self.timer.seconds(prefill_tokens, pairs, continues, sampled, decode_seqs, context, longest)
        return prefill_tokens, decode_seqs, step_s * self._pace * self._noise.take()

    def _with_frontend(self, elapsed_s: float, num_emitted: int) -> float:
        """Duration of a step with its wait for the API server, which runs beside the engine: the loop waits for it
        only when it has fallen far behind."""
        behind_s = self._frontend_behind_s + num_emitted * self._frontend_s_per_token - elapsed_s
        wait_s = max(0.0, behind_s - FRONTEND_QUEUE_S)
        self._frontend_behind_s = max(0.0, behind_s - wait_s)
        return elapsed_s + wait_s

"""The load generator: `send_share(...)` sends one process's share of a load.

In: a `Target`, `RequestPlan`s, a `Shape`. Out: a `Share`: one `RequestRecord` per plan, in their order, and what this
process measured of itself. A request that fails is a record with `error`, never an exception. The only async module.

Times are `time.perf_counter`, taken once per read from the socket. As in vLLM's own benchmark, a request starts right
before it is sent, each event with `choices` is an arrival, and it finishes with the last of them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import httpx
import msgspec

from planner.benchmark.client.connections import CONNECTION, HTTPX_ERRORS, Connections, error_kind
from planner.benchmark.client.events import CUT_STREAM, StreamedAnswer, error_message
from planner.benchmark.load.progress import NOTHING, Moment, ended
from planner.benchmark.load.target import PATHS, Target, request_body
from planner.benchmark.load.watcher import ALIVE_S, ENGINE_DIED, STOPPED, TICK_S, Watcher
from planner.benchmark.records import RequestRecord
from planner.workload import (
    ClosedLoop,
    RequestPlan,
    Shape,
    conversations,
    due_times,
    limit_of,
)

_ERROR_CHARACTERS = 200
_BACK_OFF_S = 0.3
"""Pause after a broken connection, in seconds. Without it a dead engine would use up all plans before it is noticed."""
_LAG_S, _TIMER_S = 0.02, 0.001
"""Interval at which the event loop's lag is measured, and its timers' resolution, which is subtracted; seconds."""
_PREPARED_TOKENS = 30_000_000
"""Prompt tokens whose request bodies are made before the load begins (about 200 MB); the rest are made during it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one process measured of a load."""

    records: list[RequestRecord]
    lags_s: list[float]
    wall_s: float
    cpu_s: float
    bytes_sent: int
    bytes_received: int


def send_share(
    target: Target,
    plans: Sequence[RequestPlan],
    shape: Shape,
    watcher: Watcher,
    begin: Callable[[], object] = lambda: None,
) -> Share:
    """Send the plans from this process. `begin` is called when all is ready, and the load waits for it."""
    load = _Load(target, plans, shape, watcher)
    load.prepare()
    gc.disable()  # a collection would pause every open request
    try:
        return asyncio.run(load.run(begin))
    finally:
        gc.enable()


class _Load:
    """The running requests of one load. A worker is one slot in flight; it sends one conversation at a time."""

    def __init__(self, target: Target, plans: Sequence[RequestPlan], shape: Shape, watcher: Watcher) -> None:
        self.target = target
        self.urls = [url.rstrip("/") + PATHS[target.endpoint] for url in target.base_urls]
        self.plans = plans
        self.watcher = watcher
        self.limit = limit_of(shape)
        due = due_times(shape, plans, target.seed)
        self.due_s = dict(zip((plan.index for plan in plans), due, strict=True)) if due is not None else {}
        self.is_closed = isinstance(shape, ClosedLoop)
        self.bodies: dict[int, bytes] = {}
        self.num_in_flight = [0] * len(self.urls)
        self.num_sent = [0] * len(self.urls)
        self.records: dict[int, RequestRecord] = {}
        self.open: dict[int, tuple[RequestPlan, StreamedAnswer]] = {}
        self.ended = NOTHING
        self.connection_broke = False
        self.lags_s: list[float] = []
        self.began_s = 0.0

    def prepare(self) -> None:
        """Make request bodies before the clock starts."""
        num_tokens = 0
        for plan in self.plans:
            num_tokens += plan.input_tokens
            if num_tokens > _PREPARED_TOKENS:
                break
            self.bodies[plan.index] = request_body(self.target, plan)

    async def run(self, begin: Callable[[], object]) -> Share:
        groups = conversations(self.plans)
        async with Connections(self.target.access) as connections:
            if self.limit is not None:
                await connections.open([self.urls[i % len(self.urls)] for i in range(min(self.limit, len(groups)))])
            await asyncio.to_thread(begin)
            cpu_s, self.began_s = time.process_time(), time.perf_counter()
            lag = asyncio.create_task(self._watch_lag())
            work = self._closed(connections, groups) if self.is_closed else self._open(connections, groups)
            sending = asyncio.ensure_future(work)
            watch = asyncio.create_task(self._watch())
            try:
                await asyncio.wait((sending, watch), return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    sending.result()
                why = watch.result() if watch.done() else STOPPED
            finally:
                for task in (watch, lag, sending):
                    task.cancel()
                await asyncio.gather(sending, watch, lag, return_exceptions=True)
        now = time.perf_counter()
        records = [self.records.get(plan.index) or _unanswered(plan, now, now, why) for plan in self.plans]
        return Share(
            records=records,
            lags_s=self.lags_s,
            wall_s=now - self.began_s,
            cpu_s=time.process_time() - cpu_s,
            bytes_sent=connections.bytes_sent,
            bytes_received=connections.bytes_received,
        )

    async def _closed(self, connections: Connections, groups: list[list[RequestPlan]]) -> None:
        rest = iter(groups)

        async def worker(group: list[RequestPlan]) -> None:
            free_s = await self._wait_until_due(group[0])
            while True:
                for plan in group:
                    await self._send(connections, plan, free_s)
                    free_s = time.perf_counter()
                following = next(rest, None)
                if following is None:
                    return
                group = following

        assert self.limit is not None
        await asyncio.gather(*[worker(group) for group in islice(rest, self.limit)])

    async def _open(self, connections: Connections, groups: list[list[RequestPlan]]) -> None:
        places = asyncio.Semaphore(self.limit or len(groups) or 1)

        async def conversation(group: list[RequestPlan]) -> None:
            due_s = await self._wait_until_due(group[0])
            async with places:
                for plan in group:
                    await self._send(connections, plan, due_s)
                    due_s = time.perf_counter()

        await asyncio.gather(*[conversation(group) for group in groups])

    async def _wait_until_due(self, plan: RequestPlan) -> float:
        due_s = self.began_s + self.due_s.get(plan.index, 0.0)
        if (wait_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(wait_s)
        return due_s

    async def _watch(self) -> str:
        """Wait until there is a reason to end early, and return it."""
        asked_s = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            if (reason := self.watcher.stop_reason(self.moment())) is not None:
                return reason
            if self.connection_broke or time.perf_counter() - asked_s >= ALIVE_S:
                self.connection_broke = False
                if not await asyncio.to_thread(self.watcher.is_alive):
                    return ENGINE_DIED
                asked_s = time.perf_counter()

    def moment(self) -> Moment:
        running = [(plan, len(answer.chunk_s)) for plan, answer in self.open.values() if answer.chunk_s]
        return self.ended + Moment(
            elapsed_s=time.perf_counter() - self.began_s,
            answered=len(running),
            finished=0,
            input_tokens=sum(plan.input_tokens for plan, _ in running),
            output_tokens=sum(min(num_chunks, plan.output_tokens) for plan, num_chunks in running),
        )

    async def _watch_lag(self) -> None:
        while True:
            began_s = time.perf_counter()
            await asyncio.sleep(_LAG_S)
            self.lags_s.append(time.perf_counter() - began_s - _LAG_S - _TIMER_S)

    async def _send(self, connections: Connections, plan: RequestPlan, due_s: float) -> None:
        """Send one request to the least loaded instance and keep its record."""
        body = self.bodies.pop(plan.index, None) or request_body(self.target, plan)
        target = min(range(len(self.urls)), key=lambda i: (self.num_in_flight[i], self.num_sent[i]))
        self.num_in_flight[target] += 1
        self.num_sent[target] += 1
        answer = StreamedAnswer(self.target.keeps_text)
        self.open[plan.index] = plan, answer
        try:
            record = await _request(connections, self.urls[target], self.target, body, plan, due_s, answer)
        finally:
            self.num_in_flight[target] -= 1
        del self.open[plan.index]
        self.ended += ended(plan)
        self.records[plan.index] = record
        self.watcher.on_record(record)
        self.watcher.on_progress(len(self.records), len(self.plans))
        if record.error in (CONNECTION, CUT_STREAM):
            self.connection_broke = True
            await asyncio.sleep(_BACK_OFF_S)


TEMPLATE_TOKENS = 4096
"""Most tokens that a server's chat template adds to a prompt; a byte of the prompt itself is one token at most."""
_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}


async def _request(
    connections: Connections,
    url: str,
    target: Target,
    body: bytes,
    plan: RequestPlan,
    due_s: float,
    answer: StreamedAnswer,
) -> RequestRecord:
    headers = {**_HEADERS, **target.access.headers}
    request = httpx.Request("POST", url, headers=headers, content=body, extensions={"on_data": answer.feed})
    started_s = time.perf_counter()
    try:
        async with asyncio.timeout(target.timeout_s):
            response = await connections.handle_async_request(request)
        if response.status_code == 200:
            error = answer.verdict(len(body) + TEMPLATE_TOKENS, plan.output_tokens)
        else:
            error = f"http {response.status_code}: {error_message(response.content)}"
    except (*HTTPX_ERRORS, TimeoutError, OSError, msgspec.MsgspecError) as caught:
        error = error_kind(caught)
    num_output_tokens = answer.completion_tokens
    return RequestRecord(
        index=plan.index,
        started_s=started_s,
        chunk_s=tuple(answer.chunk_s),
        finished_s=answer.chunk_s[-1] if error is None else time.perf_counter(),
        input_tokens=answer.prompt_tokens or plan.input_tokens,
        output_tokens=len(answer.chunk_s) if num_output_tokens is None else num_output_tokens,
        finish_reason=answer.finish_reason,
        error=None if error is None else target.access.redact(error)[:_ERROR_CHARACTERS],
        due_s=due_s,
        text="".join(answer.texts),
    )


def _unanswered(plan: RequestPlan, started_s: float, finished_s: float, error: str) -> RequestRecord:
    return RequestRecord(
        index=plan.index,
        started_s=started_s,
        chunk_s=(),
        finished_s=finished_s,
        input_tokens=plan.input_tokens,
        output_tokens=0,
        error=error,
    )

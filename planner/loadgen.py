"""The load generator: `run_load(...)` keeps a closed loop of requests in flight and returns their raw times.

In: base URLs of the instances, a `Workload`, its `RequestPlan`s. Out: one `RequestRecord` per plan, in their order.
A request that fails is a record with `error`, never an exception. Computes no statistics; knows nothing of engines'
settings. The only async module; `run_load` is its one synchronous door.

Times are `time.perf_counter`, taken once per read from the socket. As in vLLM's own benchmark, a request starts right
before it is sent, each event with `choices` is an arrival, and it finishes with the last of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import msgspec
import numpy as np

from planner.metrics import RequestRecord
from planner.wire import Connections
from planner.workload import RequestPlan, Workload, prompt_token_ids

STOPPED = "stopped"
ENGINE_DIED = "engine died"
_TICK_S = 0.1
"""How often should_stop is asked."""
_ALIVE_S = 1.0
"""How often is_alive is asked while nothing fails; after a broken connection it is asked at the next tick."""
_BACK_OFF_S = 0.3
"""Pause after a broken connection, or a dead engine would use up all plans before anyone looked."""
_PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_CHAT_TEMPLATE_TOKENS = 10
"""About what a chat template adds around one message."""
_WORDS = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system",
    "program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother",
    "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business",
    "issue", "side", "kind", "head", "house", "service", "friend",
]  # fmt: skip
"""Common English words: one token each, with the space before, in the vocabularies of today's models."""


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    delta: _Delta | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = None


class _Event(msgspec.Struct):
    """What is read of an event; msgspec skips the rest without making objects of it."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: Any = None


_decode_event = msgspec.json.Decoder(_Event).decode


def run_load(
    base_urls: Sequence[str],
    served_model_name: str,
    workload: Workload,
    vocab_size: int,
    plans: Sequence[RequestPlan],
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    is_alive: Callable[[], bool] | None = None,
) -> list[RequestRecord]:
    """Send `plans`, `workload.concurrency` at a time over all instances (`http://host:port`, without /v1).

    `on_progress(finished, total)` is called after each request. When `should_stop()` turns true the rest gets the error
    "stopped", when `is_alive()` turns false "engine died"; `is_alive` is called from another thread.
    """
    load = _Load(base_urls, served_model_name, workload, vocab_size, plans, on_progress)
    return asyncio.run(load.run(should_stop, is_alive))


class _Load:
    """One closed loop. Each worker is one request in flight: it sends, waits for the end, and takes the next plan."""

    def __init__(
        self,
        base_urls: Sequence[str],
        served_model_name: str,
        workload: Workload,
        vocab_size: int,
        plans: Sequence[RequestPlan],
        on_progress: Callable[[int, int], None] | None,
    ) -> None:
        self.urls = [url.rstrip("/") + _PATHS[workload.endpoint] for url in base_urls]
        self.model = served_model_name
        self.workload = workload
        self.vocab_size = vocab_size
        self.plans = plans
        self.on_progress = on_progress
        self.num_in_flight = [0] * len(self.urls)
        self.num_sent = [0] * len(self.urls)
        self.records: dict[int, RequestRecord] = {}
        self.connection_broke = False

    async def run(
        self, should_stop: Callable[[], bool] | None, is_alive: Callable[[], bool] | None
    ) -> list[RequestRecord]:
        num_workers = min(self.workload.concurrency, len(self.plans))
        # The first requests leave together, so their bodies are made before; the others' while the loop runs.
        ready = [(plan, self._body(plan)) for plan in self.plans[:num_workers]]
        rest = iter(self.plans[num_workers:])

        async def worker(plan: RequestPlan, body: bytes) -> None:
            async with Connections() as connections:
                await self._send(connections, plan, body)
                for next_plan in rest:
                    await self._send(connections, next_plan, self._body(next_plan))

        workers = asyncio.gather(*(worker(plan, body) for plan, body in ready))
        watch = asyncio.create_task(self._watch(should_stop, is_alive))
        try:
            await asyncio.wait((workers, watch), return_when=asyncio.FIRST_COMPLETED)
            if workers.done():
                workers.result()
            why = watch.result() if watch.done() else STOPPED
        finally:
            watch.cancel()
            workers.cancel()
            await asyncio.gather(workers, watch, return_exceptions=True)
        now = time.perf_counter()
        return [self.records.get(plan.index) or _unanswered(plan, now, now, why) for plan in self.plans]

    async def _watch(self, should_stop: Callable[[], bool] | None, is_alive: Callable[[], bool] | None) -> str:
        """Wait until there is a reason to end early, and return it."""
        asked_s = time.perf_counter()
        while True:
            await asyncio.sleep(_TICK_S)
            if should_stop is not None and should_stop():
                return STOPPED
            if is_alive is not None and (self.connection_broke or time.perf_counter() - asked_s >= _ALIVE_S):
                self.connection_broke = False
                if not await asyncio.to_thread(is_alive):
                    return ENGINE_DIED
                asked_s = time.perf_counter()

    async def _send(self, connections: Connections, plan: RequestPlan, body: bytes) -> None:
        """One request to the least loaded instance, and its record."""
        target = min(range(len(self.urls)), key=lambda i: (self.num_in_flight[i], self.num_sent[i]))
        self.num_in_flight[target] += 1
        self.num_sent[target] += 1
        try:
            record = await _request(connections, self.urls[target], body, plan, self.workload.request_timeout)
        finally:
            self.num_in_flight[target] -= 1
        self.records[plan.index] = record
        if self.on_progress is not None:
            self.on_progress(len(self.records), len(self.plans))
        if record.error in (CONNECTION, CUT_STREAM):
            self.connection_broke = True
            await asyncio.sleep(_BACK_OFF_S)

    def _body(self, plan: RequestPlan) -> bytes:
        content: dict[str, Any] = {
            "model": self.model,
            "max_tokens": plan.output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.workload.endpoint == "chat":
            content["messages"] = [{"role": "user", "content": prompt_text(plan, self.workload.seed)}]
        else:
            content["prompt"] = prompt_token_ids(plan, self.vocab_size, self.workload.seed)
        return msgspec.json.encode(content)


def prompt_text(plan: RequestPlan, seed: int) -> str:
    """About `plan.input_tokens` tokens of random words, for chat; usage then says how many they were."""
    num_words = max(1, plan.input_tokens - _CHAT_TEMPLATE_TOKENS)
    num_shared = min(plan.shared_prefix_tokens, num_words - 1)
    shared = np.random.default_rng((seed, 0)).integers(len(_WORDS), size=num_shared)
    own = np.random.default_rng((seed, 1, plan.index + 2**31)).integers(len(_WORDS), size=num_words - num_shared)
    return " ".join([_WORDS[i] for i in (*shared.tolist(), *own.tolist())])


# ---------------------------------------------------------------- one request

_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}

CONNECTION = "connection"
CUT_STREAM = "cut stream"
TIMEOUT = "timeout"
NO_USAGE = "no usage"
NO_TOKENS = "no tokens"
BAD_EVENT = "bad event"


class _Answer:
    """What has arrived of one answer. `feed` takes the bytes of a read, wherever TCP cut them."""

    __slots__ = ("chunk_s", "done", "error", "finish_reason", "rest", "usage")

    def __init__(self) -> None:
        self.rest = b""
        self.chunk_s: list[float] = []
        self.usage: _Usage | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.done = False

    def feed(self, data: bytes, now_s: float) -> None:
        if b"\r" in data:  # JSON escapes it, so it only ends lines
            data = data.replace(b"\r", b"")
        events = (self.rest + data).split(b"\n\n")
        self.rest = events.pop()
        for event in events:
            self._take(event, now_s)

    def _take(self, event: bytes, now_s: float) -> None:
        if not event.startswith(b"data:"):  # a comment, or a data line after other fields
            event = next((line for line in event.split(b"\n") if line.startswith(b"data:")), b"")
        payload = event[5:].strip()
        if not payload:
            return
        if payload == b"[DONE]":
            self.done = True
            return
        content = _decode_event(payload)
        if content.choices:
            choice = content.choices[0]
            delta = choice.delta
            # Chat opens with an event that only names the role: no token yet. An empty text elsewhere is one (special
            # tokens and halves of a character show nothing).
            if delta is None or delta.role is None or delta.content or delta.reasoning_content or delta.reasoning:
                self.chunk_s.append(now_s)
            if choice.finish_reason is not None:
                self.finish_reason = choice.finish_reason
        if content.usage is not None:
            self.usage = content.usage
        if content.error is not None:
            self.error = "stream error: " + error_message(payload)

    def verdict(self) -> str | None:
        """The error of an answer that has ended, or None where it is complete."""
        if self.error is not None:
            return self.error
        if not self.done:
            return CUT_STREAM
        if self.usage is None or self.usage.completion_tokens is None:
            return NO_USAGE
        return None if self.chunk_s else NO_TOKENS


async def _request(
    connections: Connections, url: str, body: bytes, plan: RequestPlan, timeout_s: float
) -> RequestRecord:
    answer = _Answer()
    request = httpx.Request("POST", url, headers=_HEADERS, content=body, extensions={"on_data": answer.feed})
    started_s = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            response = await connections.handle_async_request(request)
        if response.status_code == 200:
            error = answer.verdict()
        else:
            error = f"http {response.status_code}: {error_message(response.content)}"
    except (*HTTPX_ERRORS, TimeoutError, OSError, msgspec.MsgspecError) as caught:
        error = error_kind(caught)
    usage = answer.usage or _Usage()
    num_output_tokens = usage.completion_tokens
    return RequestRecord(
        index=plan.index,
        started_s=started_s,
        chunk_s=tuple(answer.chunk_s),
        finished_s=answer.chunk_s[-1] if error is None else time.perf_counter(),
        input_tokens=usage.prompt_tokens or plan.input_tokens,
        output_tokens=len(answer.chunk_s) if num_output_tokens is None else num_output_tokens,
        finish_reason=answer.finish_reason,
        error=error,
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


# ---------------------------------------------------------------- errors

HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""The roots of httpx's exceptions."""


def error_kind(error: Exception) -> str:
    """The only door through which exceptions of a request become `RequestRecord.error`."""
    match error:
        case TimeoutError() | httpx.TimeoutException():
            return TIMEOUT
        case httpx.RemoteProtocolError() | httpx.DecodingError():
            return CUT_STREAM
        case httpx.NetworkError() | httpx.ProxyError() | OSError():
            return CONNECTION
        case msgspec.MsgspecError():
            return BAD_EVENT
    return f"client error: {type(error).__name__}"


def error_message(body: bytes, num_characters: int = 200) -> str:
    """One line of an error's JSON body: `{"message"}` of old, now `{"error": {"message"}}`, FastAPI's `{"detail"}`."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = body.decode(errors="replace")
    while isinstance(content, dict):
        content = next((content[key] for key in ("error", "message", "detail") if content.get(key)), str(content))
    return " ".join(str(content).split())[:num_characters]

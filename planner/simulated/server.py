"""The simulated engine as an HTTP server: OpenAI's completions and chat, and vLLM's /health, /version and /metrics.

In: a started `SimulatedEngine`. Out: a Starlette app. Real time is virtual time divided by `speedup`; tokens are filler
text, one event each. Every answer carries `x-planner-simulated: 1`.

Source: vllm@0.8.5 entrypoints/openai/{api_server,serving_engine,serving_completion,serving_chat}.py, engine/metrics.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from planner.engine import ANSWERS, ERRORS_NESTED_SINCE, KV_USAGE_RENAMED_SINCE, LATENCY, PROMPTS, ResolvedEngine
from planner.simulated.scheduler import SimulatedEngine, StepOutcome

FILLER = " SIMULATED"
"""Text of every token."""
DEFAULT_MAX_TOKENS = 16
"""Default max_tokens of /v1/completions; a chat answer runs to the end of the context."""


LATENCY_BUCKETS = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
"""The first bounds of vLLM's histogram of latencies (vllm@0.32 v1/metrics/loggers.py), in seconds."""


def _buckets_1_2_5(most: int) -> list[float]:
    """1, 2, 5, 10, 20, 50, ... up to `most`, as vLLM's histograms of lengths have (build_1_2_5_buckets)."""
    found = [m * 10.0**power for power in range(len(str(most))) for m in (1, 2, 5)]
    return [bound for bound in found if bound <= most]


class _RequestError(Exception):
    """A request that vLLM answers with an error object."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """One validated request."""

    tokens: Sequence[Hashable]
    max_tokens: int
    is_chat: bool
    streams: bool
    includes_usage: bool


@dataclass(slots=True, eq=False)
class _Answer:
    """One request's tokens from the engine's loop: one queue item per token, None at the end."""

    queue: asyncio.Queue[bool | None] = field(default_factory=asyncio.Queue)
    is_done: bool = False


class _Metrics:
    """The Prometheus metrics, with vLLM's names and labels for the engine's version."""

    def __init__(self, name: str, settings: ResolvedEngine, engine: SimulatedEngine) -> None:
        self.registry = CollectorRegistry()
        labels = {"model_name": name} | ({"engine": "0"} if settings.generation == "V1" else {})

        def gauge(metric: str, text: str) -> Gauge:
            return Gauge(metric, text, list(labels), registry=self.registry).labels(**labels)

        def counter(metric: str, text: str) -> Counter:
            return Counter(metric, text, list(labels), registry=self.registry).labels(**labels)

        def histogram(metric: str, text: str, buckets: Sequence[float]) -> Histogram:
            one = Histogram(metric, text, list(labels), registry=self.registry, buckets=buckets)
            return one.labels(**labels)

        lengths = _buckets_1_2_5(int(settings.max_model_len))
        usage = "kv_cache_usage_perc" if settings.version >= KV_USAGE_RENAMED_SINCE else "gpu_cache_usage_perc"
        self.running = gauge("vllm:num_requests_running", "SIMULATED. Number of requests currently running.")
        self.waiting = gauge("vllm:num_requests_waiting", "SIMULATED. Number of requests waiting to be processed.")
        self.kv_usage = gauge(f"vllm:{usage}", "SIMULATED. KV-cache usage. 1 means 100 percent usage.")
        self.preemptions = counter("vllm:num_preemptions", "SIMULATED. Cumulative number of preemptions.")
        self.prompt = counter("vllm:prompt_tokens", "SIMULATED. Number of prefill tokens processed.")
        self.generated = counter("vllm:generation_tokens", "SIMULATED. Number of generation tokens processed.")
        prefix = "vllm:prefix_cache" if settings.version >= KV_USAGE_RENAMED_SINCE else "vllm:gpu_prefix_cache"
        self.prefix_queries = self.prefix_hits = None
        if settings.generation == "V1":
            self.prefix_queries = counter(f"{prefix}_queries", "SIMULATED. Prefix cache queries, in tokens.")
            self.prefix_hits = counter(f"{prefix}_hits", "SIMULATED. Prefix cache hits, in tokens.")
        self.prompts = histogram(PROMPTS, "SIMULATED. Number of prefill tokens processed.", lengths)
        self.answers = histogram(ANSWERS, "SIMULATED. Number of generation tokens processed.", lengths)
        self.latency = histogram(LATENCY, "SIMULATED. Histogram of e2e request latency in seconds.", LATENCY_BUCKETS)
        config = {
            "block_size": engine.block_size,
            "enable_prefix_caching": engine.caches,
            "gpu_memory_utilization": settings.gpu_memory_utilization,
            "num_gpu_blocks": engine.pool.num_blocks,
            "simulated": True,
        }
        info = Gauge("vllm:cache_config_info", "SIMULATED. Cache configuration.", list(config), registry=self.registry)
        info.labels(*map(str, config.values())).set(1)
        self._seen = (0, 0)

    def ended(self, prompt_tokens: int, output_tokens: int, seconds: float) -> None:
        """Count a request that was answered to its end."""
        self.prompts.observe(prompt_tokens)
        self.answers.observe(output_tokens)
        self.latency.observe(seconds)

    def observe(self, engine: SimulatedEngine, outcome: StepOutcome | None = None) -> None:
        self.running.set(engine.num_running)
        self.waiting.set(engine.num_waiting)
        self.kv_usage.set(engine.kv_usage)
        if outcome is None:
            return
        self.preemptions.inc(len(outcome.preempted))
        self.generated.inc(len(outcome.emitted))
        if self.prefix_queries is not None and self.prefix_hits is not None:
            queries, hits = self._seen
            self.prefix_queries.inc(engine.prefix_query_tokens - queries)
            self.prefix_hits.inc(engine.prefix_hit_tokens - hits)
            self._seen = (engine.prefix_query_tokens, engine.prefix_hit_tokens)


class _Service:
    """The engine's loop in real time, and the HTTP endpoints."""

    def __init__(self, name: str, settings: ResolvedEngine, engine: SimulatedEngine, speedup: float) -> None:
        self.name = name
        self.settings = settings
        self.engine = engine
        self.speedup = speedup
        self.metrics = _Metrics(name, settings, engine)
        self.metrics.observe(engine)
        self.created = int(time.time())
        self._answers: dict[str, _Answer] = {}
        self._ids = itertools.count()
        self._has_work = asyncio.Event()

    async def run(self) -> None:
        """Step forever. Each step is due one duration after the previous was due: a late wake-up delays no other."""
        due_s = 0.0
        while True:
            if not self.engine.has_work:
                self._has_work.clear()
                await self._has_work.wait()
                due_s = time.monotonic()
            outcome = self.engine.step()
            due_s += outcome.elapsed_s / self.speedup
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            for request_id in outcome.emitted:
                self._put(request_id, True)
            for request_id in (*outcome.finished, *outcome.refused):
                self._put(request_id, None)
            self.metrics.observe(self.engine, outcome)

    def _put(self, request_id: str, item: bool | None) -> None:
        answer = self._answers.get(request_id)  # None: its client has gone
        if answer is not None:
            answer.is_done = answer.is_done or item is None
            answer.queue.put_nowait(item)

    async def tokens(self, ask: _Ask) -> AsyncGenerator[bool, None]:
        """One item per token, True for the answer's last token."""
        request_id, answer = str(next(self._ids)), _Answer()
        self._answers[request_id] = answer
        hashes = _block_hashes(ask.tokens, self.engine.block_size) if self.engine.caches else ()
        self.engine.add(request_id, len(ask.tokens), ask.max_tokens, block_hashes=hashes)
        self.metrics.prompt.inc(len(ask.tokens))
        self.metrics.observe(self.engine)
        self._has_work.set()
        began_s, number = time.monotonic(), 0
        try:
            while await answer.queue.get() is not None:
                number += 1
                yield number == ask.max_tokens
        finally:
            del self._answers[request_id]
            if answer.is_done:
                self.metrics.ended(len(ask.tokens), number, time.monotonic() - began_s)
            else:
                self.engine.abort(request_id)

    def read(self, body: Any, is_chat: bool) -> _Ask:
        """Check a request as vLLM does. Raises _RequestError with vLLM's message."""
        if not isinstance(body, dict):
            raise _RequestError("the body is not a JSON object")
        if body.get("model", self.name) != self.name:
            raise _RequestError(f"The model `{body['model']}` does not exist.", 404)
        if body.get("n", 1) != 1:
            raise _RequestError("n: the simulated engine answers each prompt once")
        tokens = _chat_tokens(body.get("messages")) if is_chat else _prompt_tokens(body.get("prompt"))
        longest = int(self.settings.max_model_len)
        max_tokens = body.get("max_completion_tokens") or body.get("max_tokens")
        if max_tokens is None:
            max_tokens = max(1, longest - len(tokens)) if is_chat else DEFAULT_MAX_TOKENS
        if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
            raise _RequestError(f"max_tokens must be at least 1, got {max_tokens}.")
        if len(tokens) + max_tokens > longest:
            raise _RequestError(
                f"This model's maximum context length is {longest} tokens. However, you requested "
                f"{len(tokens) + max_tokens} tokens ({len(tokens)} in the messages, {max_tokens} in the completion). "
                "Please reduce the length of the messages or completion."
            )
        options = body.get("stream_options") or {}
        return _Ask(
            tokens=tokens,
            max_tokens=max_tokens,
            is_chat=is_chat,
            streams=bool(body.get("stream")),
            includes_usage=bool(options.get("include_usage")),
        )

    # --- endpoints

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, is_chat=False)

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, is_chat=True)

    async def _answer(self, request: Request, is_chat: bool) -> Response:
        try:
            ask = self.read(await request.json(), is_chat)
        except ValueError as error:  # not UTF-8, or not JSON
            return self._error(_RequestError(f"the body is not JSON: {error}"))
        except _RequestError as error:
            return self._error(error)
        if ask.streams:
            return StreamingResponse(self._events(ask), media_type="text/event-stream")
        num_tokens = 0
        async with contextlib.aclosing(self.tokens(ask)) as tokens:
            async for _ in tokens:
                num_tokens += 1
        text = FILLER * num_tokens
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": "length", "stop_reason": None}
        choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        kind = "chat.completion" if is_chat else "text_completion"
        return JSONResponse(self._body(is_chat, kind, [choice]) | {"usage": _usage(ask, num_tokens)})

    async def _events(self, ask: _Ask) -> AsyncIterator[str]:
        kind = "chat.completion.chunk" if ask.is_chat else "text_completion"
        body = self._body(ask.is_chat, kind, [])

        def event(delta: dict[str, Any], finish_reason: str | None = None) -> str:
            choice = {"index": 0, **delta, "logprobs": None, "finish_reason": finish_reason}
            return f"data: {json.dumps(body | {'choices': [choice]}, separators=(',', ':'))}\n\n"

        if ask.is_chat:
            yield event({"delta": {"role": "assistant", "content": ""}})
        filler: dict[str, Any] = {"delta": {"content": FILLER}} if ask.is_chat else {"text": FILLER}
        middle, last = event(filler), event(filler, "length")
        num_tokens = 0
        async with contextlib.aclosing(self.tokens(ask)) as tokens:
            async for is_last in tokens:
                num_tokens += 1
                yield last if is_last else middle
        if not num_tokens:  # refused: vLLM ends the answer without a token
            yield event({"delta": {}} if ask.is_chat else {"text": ""}, "length")
        if ask.includes_usage:
            yield f"data: {json.dumps(body | {'usage': _usage(ask, num_tokens)}, separators=(',', ':'))}\n\n"
        yield "data: [DONE]\n\n"

    def _body(self, is_chat: bool, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        prefix = "chatcmpl" if is_chat else "cmpl"
        number = f"{prefix}-simulated-{next(self._ids)}"
        return {"id": number, "object": kind, "created": int(time.time()), "model": self.name, "choices": choices}

    def _error(self, error: _RequestError) -> Response:
        kind = "NotFoundError" if error.status == 404 else "BadRequestError"
        content: dict[str, Any] = {"message": str(error), "type": kind, "param": None, "code": error.status}
        if self.settings.version >= ERRORS_NESTED_SINCE:
            return JSONResponse({"error": content}, error.status)
        return JSONResponse({"object": "error"} | content, error.status)

    async def tokenize(self, request: Request) -> Response:
        """Count tokens as the other endpoints do: by words."""
        try:
            body = await request.json()
            is_chat = isinstance(body, dict) and "messages" in body
            tokens = _chat_tokens(body["messages"]) if is_chat else _prompt_tokens(dict(body).get("prompt"))
        except (TypeError, ValueError) as error:
            return self._error(_RequestError(f"the body is not a JSON object: {error}"))
        except _RequestError as error:
            return self._error(error)
        count = len(tokens)
        return JSONResponse(
            {"count": count, "max_model_len": int(self.settings.max_model_len), "tokens": [*range(count)]}
        )

    async def health(self, _: Request) -> Response:
        return Response()

    async def version(self, _: Request) -> Response:
        return JSONResponse({"version": f"{self.settings.version}+simulated"})

    async def models(self, _: Request) -> Response:
        model = {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "planner, SIMULATED",
            "root": self.name,
            "parent": None,
            "max_model_len": int(self.settings.max_model_len),
            "permission": [],
        }
        return JSONResponse({"object": "list", "data": [model]})

    async def prometheus(self, _: Request) -> Response:
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def build_app(name: str, settings: ResolvedEngine, engine: SimulatedEngine, speedup: float = 1.0) -> Starlette:
    """The app that serves `engine` under the model name `name`, `speedup` times as fast as in real time."""
    service = _Service(name, settings, engine, speedup)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loop = asyncio.create_task(service.run())
        yield
        loop.cancel()

    routes = [
        Route("/health", service.health),
        Route("/version", service.version),
        Route("/metrics", service.prometheus),
        Route("/tokenize", service.tokenize, methods=["POST"]),
        Route("/v1/models", service.models),
        Route("/v1/completions", service.completions, methods=["POST"]),
        Route("/v1/chat/completions", service.chat, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_SaysSimulated)], lifespan=lifespan)


class _SaysSimulated:
    """Adds the header that distinguishes this server from a real engine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-planner-simulated", b"1")]
            await send(message)

        await self.app(scope, receive, send_marked if scope["type"] == "http" else send)


def _usage(ask: _Ask, num_tokens: int) -> dict[str, Any]:
    num_prompt = len(ask.tokens)
    return {"prompt_tokens": num_prompt, "total_tokens": num_prompt + num_tokens, "completion_tokens": num_tokens}


def _prompt_tokens(prompt: Any) -> Sequence[Hashable]:
    """The words of a string, or token ids unchanged; a list of one prompt counts as that prompt."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], list | str):
        prompt = prompt[0]
    tokens = prompt.split() if isinstance(prompt, str) else prompt
    if not isinstance(tokens, list) or not tokens or not all(type(token) in {int, str} for token in tokens):
        raise _RequestError("prompt must be a non-empty string or a list of token ids (one prompt a request)")
    if not isinstance(prompt, str) and not all(type(token) is int for token in tokens):
        raise _RequestError("prompt: several prompts in one request are not simulated")
    return tokens


def _chat_tokens(messages: Any) -> Sequence[Hashable]:
    """The words of all messages, and one token for each role, as a chat template would add."""
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise _RequestError("messages must be a non-empty list of objects")
    tokens: list[Hashable] = []
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        tokens += [f"<|{message.get('role')}|>", *str(content).split()]
    return [*tokens, "<|assistant|>"]


def _block_hashes(tokens: Sequence[Hashable], block_size: int) -> list[int]:
    """One hash per full block, which also covers everything before it: equal hashes mean equal prefixes."""
    hashes: list[int] = []
    for start in range(0, len(tokens) - block_size + 1, block_size):
        hashes.append(hash((hashes[-1] if hashes else 0, *tokens[start : start + block_size])))
    return hashes

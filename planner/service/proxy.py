"""The front door: an ASGI app that passes OpenAI's API on to the instances of one service, and streams unchanged.

In: requests, and instances on this machine that may change at any time (`set_instances`). Out: the answers' bytes as
they come. A request goes to the instance with the fewest under way; to another one only while nothing has been answered
and nothing can be done twice; waits a little while none serves. What is too long is refused in OpenAI's words, or loses
its oldest turns. `proxy_server.py` listens; this module opens no port.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from planner.errors import InputError
from planner.service.lengths import (
    Asked,
    counted_tokens,
    read_request,
    surely_fits,
    tokenize_bodies,
    turns,
    with_messages,
)
from planner.service.upstream import Answer, Broken, Headers, NotSent, Pool
from planner.units import MIB

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Trim = Literal["oldest"]

_PATH = re.compile(r"/v1/[\w./:@+-]+", re.ASCII)
CLOSED_PATHS = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
"""What a service's clients have no business with: they change the engine."""
METHODS = ("GET", "OPTIONS", "POST")
REPEATABLE = {
    "/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/score", "/v1/rerank", "/v1/messages",
    "/v1/messages/count_tokens",
}  # fmt: skip
"""POSTs that leave nothing behind: one that got no answer may be asked again."""
HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
"""RFC 9110, 7.6.1: of one connection, not of the request."""
_NOT_PASSED_ON = {b"host", b"content-length", b"expect"}
TRIMMED_HEADER = b"x-planner-trimmed"
_HEALTH_S = 0.5
"""How often an instance that did not answer is asked for its health."""
RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLimits:
    """What one client may take, and how long anything may last."""

    max_body_bytes: int = 32 * MIB
    max_header_bytes: int = 32 * 1024
    max_connections: int = 2048
    max_queued: int = 256
    """Requests that wait for an instance; further ones are refused at once."""
    queue_s: float = 30.0
    header_s: float = 10.0
    """Until a request's headers are there."""
    body_s: float = 60.0
    """Until its body is there."""
    connect_s: float = 2.0
    first_byte_s: float = 1800.0
    """Of an answer: it may be queued in the engine, and one that is not streamed comes whole."""
    idle_s: float = 300.0
    """Between two reads of an answer that has begun."""
    keep_alive_s: float = 75.0


@dataclass(slots=True, eq=False)
class _Instance:
    """One engine, and what is under way there."""

    base_url: str
    pool: Pool
    in_flight: int = 0
    num_sent: int = 0
    is_up: bool = True
    probe: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Refused(Exception):  # noqa: N818
    """An answer of our own, in OpenAI's error form."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: Headers = field(default_factory=list)

    @property
    def body(self) -> bytes:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return msgspec.json.encode(
            {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
        )


@dataclass(slots=True)
class _Request:
    method: str
    path: str
    target: bytes
    """Path and query, as they came."""
    headers: Headers
    """Those that are passed on."""
    body: bytes = b""
    extra: Headers = field(default_factory=list)
    """To be said with the answer."""

    @property
    def is_repeatable(self) -> bool:
        return self.method != "POST" or self.path in REPEATABLE

    def encode(self, instance: _Instance) -> bytes:
        lines = [b"%s %s HTTP/1.1" % (self.method.encode(), self.target)]
        lines.append(b"host: %s:%d" % (instance.pool.host.encode(), instance.pool.port))
        lines += [b"%s: %s" % header for header in self.headers]
        if self.body or self.method == "POST":
            lines.append(b"content-length: %d" % len(self.body))
        return b"\r\n".join([*lines, b"", self.body])

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)


class Proxy:
    """The ASGI app. All but `set_instances` belongs to the event loop that serves it."""

    def __init__(
        self,
        base_urls: Sequence[str],
        limits: ProxyLimits | None = None,
        context_tokens: int | None = None,
        trim: Trim | None = None,
        also: Collection[str] = (),
        on_event: Callable[[str], None] = lambda text: None,  # noqa: ARG005
    ) -> None:
        """`also`: further paths that are passed on, such as /metrics. Raises InputError for instances elsewhere."""
        self.limits = limits or ProxyLimits()
        self.trim = trim
        self.also = frozenset(also)
        self.on_event = on_event
        self._instances: tuple[_Instance, ...] = ()
        self._context_tokens: int | None = None
        self._num_queued = 0
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.set_instances(base_urls, context_tokens)

    def set_instances(self, base_urls: Sequence[str], context_tokens: int | None) -> None:
        """Whom to ask from now on, and how many tokens a request may have (None: the engine judges).

        Answers that are under way go on. May be called from any thread. Raises InputError for instances elsewhere.
        """
        addresses = {url: _address(url) for url in base_urls}

        def replace() -> None:
            known = {instance.base_url: instance for instance in self._instances}
            self._instances = tuple(known.get(url) or self._instance(url, *at) for url, at in addresses.items())
            self._context_tokens = context_tokens
            for url in known.keys() - addresses.keys():
                known[url].pool.close()
            self._changed.set()

        if self._loop is None:
            replace()
        else:
            self._loop.call_soon_threadsafe(replace)

    def _instance(self, base_url: str, host: str, port: int) -> _Instance:
        limits = self.limits
        return _Instance(base_url, Pool(host, port, limits.connect_s, limits.first_byte_s, limits.idle_s))

    @property
    def in_flight(self) -> dict[str, int]:
        """Requests under way, by instance."""
        return {instance.base_url: instance.in_flight for instance in self._instances}

    # --- one request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            request = self._read_head(scope)
            if request is None:
                await self._say_health(send)
                return
            request.body = await self._read_body(scope, receive)
        except _Refused as refused:
            await _send_refusal(send, refused, closes=True)
            return
        except _ClientGone:
            return
        await self._answer(request, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._loop = None
        for instance in self._instances:
            instance.pool.close()
            if instance.probe is not None:
                instance.probe.cancel()
        await send({"type": "lifespan.shutdown.complete"})

    def _read_head(self, scope: Scope) -> _Request | None:
        """None: it is for us. Raises _Refused."""
        method, path = scope["method"], scope["raw_path"].decode("ascii", "replace")
        if path == "/health":
            return None
        is_open = _PATH.fullmatch(path) and ".." not in path and path not in CLOSED_PATHS
        if not is_open and path not in self.also:
            raise _Refused(404, "not_found", f"{path[:200]} is not served here")
        if method not in METHODS:
            raise _Refused(405, "method_not_allowed", f"{method} is not allowed; {', '.join(METHODS)} are")
        headers: Headers = scope["headers"]
        if sum(len(name) + len(value) + 4 for name, value in headers) > self.limits.max_header_bytes:
            raise _Refused(431, "headers_too_large", f"the headers have more than {self.limits.max_header_bytes} bytes")
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        return _Request(method, path, target, _passed_on(headers, _NOT_PASSED_ON))

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """Raises _Refused, _ClientGone."""
        most = self.limits.max_body_bytes
        too_large = _Refused(413, "request_too_large", f"the body has more than {most} bytes")
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(length) > most:
            raise too_large
        parts, num_bytes = [], 0
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise _ClientGone
                    parts.append(message.get("body", b""))
                    num_bytes += len(parts[-1])
                    if num_bytes > most:
                        raise too_large
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise _Refused(408, "timeout", f"the body did not come within {self.limits.body_s:g} s") from None

    async def _say_health(self, send: Send) -> None:
        is_up = any(instance.is_up for instance in self._instances)
        start = {"type": "http.response.start", "status": 200 if is_up else 503, "headers": [(b"content-length", b"0")]}
        await send(start)
        await send({"type": "http.response.body"})

    async def _answer(self, request: _Request, receive: Receive, send: Send) -> None:
        """Ask and pass on, until the client goes."""
        task = asyncio.current_task()
        assert task is not None

        def stop(_: object) -> None:
            task.cancel()

        gone = asyncio.ensure_future(receive())  # the body is read: what comes next is that the client has gone
        gone.add_done_callback(stop)
        begun = False

        async def send_and_note(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._fit(request)
            await self._pass_on(request, send_and_note)
        except _Refused as refused:
            if not begun:
                await _send_refusal(send, refused)
        except asyncio.CancelledError:
            if not gone.done():
                raise  # this server ends
            task.uncancel()
        finally:
            gone.remove_done_callback(stop)
            gone.cancel()

    async def _pass_on(self, request: _Request, send: Send) -> None:
        deadline_s = asyncio.get_running_loop().time() + self.limits.queue_s
        tried: set[_Instance] = set()
        was_broken = False
        while True:
            instance = await self._choose(tried, deadline_s)
            instance.in_flight += 1
            instance.num_sent += 1
            try:
                answer = await self._ask(instance, request)
                try:
                    others = [i for i in self._instances if i.is_up and i is not instance and i not in tried]
                    if answer.status not in (502, 503) or not others or not request.is_repeatable:
                        await _stream(answer, request.extra, send)
                        return
                finally:
                    instance.pool.release(answer)
            except NotSent as error:
                self._mark_down(instance, str(error))
            except Broken as error:
                self._mark_down(instance, str(error))
                if was_broken or not request.is_repeatable:
                    raise _Refused(502, "bad_gateway", f"the engine gave no answer: {error}") from None
                was_broken = True  # once more, and not again: it may be this request that breaks engines
            finally:
                instance.in_flight -= 1
            tried.add(instance)
            if asyncio.get_running_loop().time() > deadline_s:
                raise _unavailable("no engine serves at the moment")

    async def _ask(self, instance: _Instance, request: _Request) -> Answer:
        data = request.encode(instance)
        if request.is_repeatable:
            try:
                return await instance.pool.exchange(data)
            except Broken as error:
                if not error.was_kept:
                    raise
        return await instance.pool.exchange(data, may_keep=False)

    # --- instances

    async def _choose(self, tried: set[_Instance], deadline_s: float) -> _Instance:
        """The instance with the fewest requests under way; waits while there is none. Raises _Refused."""
        while True:
            able = [instance for instance in self._instances if instance.is_up and instance not in tried]
            if able:
                return min(able, key=lambda instance: (instance.in_flight, instance.num_sent))
            if not tried or not any(instance.is_up for instance in self._instances):
                await self._wait(deadline_s)
            tried.clear()

    async def _wait(self, deadline_s: float) -> None:
        if self._num_queued >= self.limits.max_queued:
            raise _unavailable("the engine is restarting, and too many requests wait for it already")
        self._num_queued += 1
        self._changed.clear()
        try:
            async with asyncio.timeout(max(0.0, deadline_s - asyncio.get_running_loop().time())):
                await self._changed.wait()
        except TimeoutError:
            raise _unavailable("no engine serves at the moment") from None
        finally:
            self._num_queued -= 1

    def _mark_down(self, instance: _Instance, why: str) -> None:
        if instance.is_up:
            instance.is_up = False
            self.on_event(f"{instance.base_url} does not answer: {why}")
            instance.probe = asyncio.get_running_loop().create_task(self._probe(instance))

    async def _probe(self, instance: _Instance) -> None:
        """Ask for its health until it is well, or nobody's any more."""
        request = b"GET /health HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n" % instance.pool.host.encode()
        while instance in self._instances:
            with contextlib.suppress(NotSent, Broken, TimeoutError):
                async with asyncio.timeout(self.limits.connect_s):
                    answer = await instance.pool.exchange(request, may_keep=False)
                    instance.pool.release(answer)
                if answer.status == 200:
                    instance.is_up = True
                    self.on_event(f"{instance.base_url} answers again")
                    self._changed.set()
                    return
            await asyncio.sleep(_HEALTH_S)

    # --- lengths

    async def _fit(self, request: _Request) -> None:
        """Refuse or trim what is longer than the context that is served. Raises _Refused."""
        context_tokens = self._context_tokens
        asked = read_request(request.path, request.body) if context_tokens is not None else None
        if asked is None or context_tokens is None:
            return
        num_tokens = counted_tokens(asked)
        if num_tokens is None:
            if surely_fits(asked, context_tokens):
                return
            num_tokens = await self._count(request, asked, request.body)
        if num_tokens is None or num_tokens + asked.max_new_tokens <= context_tokens:
            return
        if self.trim is None or not asked.is_chat or not await self._trim(request, asked, context_tokens):
            raise _too_long(asked, num_tokens, context_tokens)

    async def _count(self, request: _Request, asked: Asked, body: bytes) -> int | None:
        """Tokens by an instance's tokenizer, of several prompts the longest; None where it does not say."""
        counts = []
        try:
            for content in tokenize_bodies(asked, body):
                counting = _Request("POST", "/tokenize", b"/tokenize", list(request.headers), content)
                answer = await self._first_answer(counting)
                found = msgspec.json.decode(answer)
                counts.append(int(found["count"]))
        except (msgspec.MsgspecError, NotSent, Broken, KeyError, TypeError, ValueError):
            return None
        return max(counts, default=None)

    async def _first_answer(self, request: _Request) -> bytes:
        """The whole body of a small request of our own. Raises NotSent, Broken."""
        able = [instance for instance in self._instances if instance.is_up]
        if not able:
            raise NotSent("no instance serves")
        instance = min(able, key=lambda instance: (instance.in_flight, instance.num_sent))
        answer = await instance.pool.exchange(request.encode(instance))
        try:
            parts = []
            while data := await answer.read():
                parts.append(data)
            return b"".join(parts)
        finally:
            instance.pool.release(answer)

    async def _trim(self, request: _Request, asked: Asked, context_tokens: int) -> bool:
        """Leave out as few of the oldest turns as needed, by bisection. False: the last one alone is too long."""
        try:
            first, said = turns(asked.prompt)
        except msgspec.MsgspecError:
            return False

        def without(num_turns: int) -> bytes:
            return with_messages(request.body, [*first, *(message for turn in said[num_turns:] for message in turn)])

        low, high = 0, len(said)  # too long without `low` turns; `high`: none left
        while high - low > 1:
            middle = (low + high) // 2
            num_tokens = await self._count(request, asked, without(middle))
            fits = num_tokens is not None and num_tokens + asked.max_new_tokens <= context_tokens
            low, high = (low, middle) if fits else (middle, high)
        if high >= len(said):
            return False
        request.body = without(high)
        request.extra.append((TRIMMED_HEADER, b"%d" % sum(map(len, said[:high]))))
        return True


class _ClientGone(Exception):  # noqa: N818
    """There is nobody to answer."""


def _address(base_url: str) -> tuple[str, int]:
    """Host and port of an instance. Raises InputError unless it is on this machine."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    try:
        is_here = host == "localhost" or ipaddress.ip_address(host).is_loopback
        port = parts.port
    except ValueError:
        is_here, port = False, None
    if parts.scheme != "http" or not is_here or port is None or parts.path.strip("/"):
        raise InputError(
            f"{base_url}: an instance is http://127.0.0.1:PORT: requests are passed on to this machine only"
        )
    return host, port


def _passed_on(headers: Headers, left_out: Collection[bytes] = ()) -> Headers:
    """Without what is of one connection only."""
    named = {
        word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")
    }  # fmt: skip
    return [(n, v) for n, v in headers if n not in HOP_BY_HOP and n not in named and n not in left_out]


async def _stream(answer: Answer, extra: Headers, send: Send) -> None:
    """Bytes as they come. Where the answer breaks off, ours does too: no end is made up."""
    headers = [*_passed_on(answer.headers), *extra]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        while data := await answer.read():
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except Broken:
        return
    await send({"type": "http.response.body"})


async def _send_refusal(send: Send, refused: _Refused, closes: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(refused.body)), *refused.headers]
    if closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": refused.body})


def _unavailable(message: str) -> _Refused:
    return _Refused(503, "unavailable", message, headers=[(b"retry-after", b"%d" % RETRY_AFTER_S)])


def _too_long(asked: Asked, num_tokens: int, context_tokens: int) -> _Refused:
    where = "messages" if asked.is_chat else "prompt"
    return _Refused(
        400,
        "context_length_exceeded",
        f"This model's maximum context length is {context_tokens} tokens. However, you requested "
        f"{num_tokens + asked.max_new_tokens} tokens ({num_tokens} in the {where}, {asked.max_new_tokens} in the "
        f"completion). Please reduce the length of the {where} or completion.",
        param=where,
    )

"""The load generator's hot path: `Connections`, an httpx transport that passes on each read as it arrives. The stream
of events in it is read by `events.StreamedAnswer`.

httpx's own transport costs several times the CPU per streamed chunk, which would make the client the bottleneck
(docs/libraries.md has the measurement). Requests, responses and exceptions stay httpx's; httptools parses.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import httptools
import httpx
import msgspec

from planner.benchmark.client.access import Access
from planner.benchmark.client.events import CUT_STREAM, MAX_EVENT_BYTES

OnData: TypeAlias = Callable[[bytes, float], None]
_Key: TypeAlias = tuple[str, str, int | None]


def _key(url: httpx.URL) -> _Key:
    return url.scheme, url.host, url.port


class Connections(httpx.AsyncBaseTransport):
    """An httpx transport over persistent connections that counts the bytes sent and received.

    The body of a 200 is passed to the request's extension `on_data(data, arrived_s)` from within the socket's callback,
    so a chunk costs no task switch and its arrival time includes no queueing: 15 us of CPU per chunk with 512 in flight
    on one core, where vLLM's client takes 35. No proxies, redirects or retries, except the one retry after the server
    has closed an idle connection.
    """

    def __init__(self, access: Access | None = None) -> None:
        self.access = access or Access()
        self.kept: dict[_Key, list[_Connection]] = {}
        self.bytes_sent = 0
        self.bytes_received = 0

    async def open(self, urls: Sequence[str]) -> None:
        """Connect in advance, once for each time a URL is listed. A refused connection shows at the first request."""
        opened = [httpx.URL(url) for url in urls]
        made = await asyncio.gather(*(self._connect(url) for url in opened), return_exceptions=True)
        for url, connection in zip(opened, made, strict=True):
            if isinstance(connection, _Connection):
                self._keep(_key(url), connection)
            elif not isinstance(connection, httpx.TransportError):
                raise connection

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = _key(request.url)
        kept = self.kept.get(key)
        while kept:
            connection = kept.pop()
            if connection.is_open:
                try:
                    return await self._exchange(key, connection, request)
                except httpx.ReadError:
                    break  # the server closed the idle connection while we sent
        return await self._exchange(key, await self._connect(request.url), request)

    async def _exchange(self, key: _Key, connection: _Connection, request: httpx.Request) -> httpx.Response:
        response = await connection.exchange(request)
        if connection.is_open:
            self._keep(key, connection)
        return response

    def _keep(self, key: _Key, connection: _Connection) -> None:
        self.kept.setdefault(key, []).append(connection)

    async def aclose(self) -> None:
        for connections in self.kept.values():
            for connection in connections:
                connection.close()

    async def _connect(self, url: httpx.URL) -> _Connection:
        tls = self.access.tls if url.scheme == "https" else None
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), url.host, url.port or (443 if tls else 80), ssl=tls
            )
        except OSError as error:
            raise httpx.ConnectError(str(error)) from error
        return connection


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection, parsed by httptools. Bodies are chunked, have a length, or run until the close."""

    def __init__(self, owner: Connections) -> None:
        self.owner = owner
        self.transport: asyncio.Transport | None = None
        self.request: httpx.Request | None = None
        self.ended: asyncio.Future[httpx.Response] | None = None
        self._begin()

    def _begin(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.on_data: OnData = _ignore
        self.body = b""
        self.status = 0  # 0: no response head yet
        self.until_end = True
        self.has_answered = False
        self.now_s = 0.0

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the end of the answer. Cancelling closes the connection, which aborts the request."""
        assert self.transport is not None
        lines = [b"%s: %s" % header for header in request.headers.raw]
        head = b"\r\n".join([b"POST %s HTTP/1.1" % request.url.raw_path, *lines, b"", b""])
        self.request, self.ended = request, asyncio.get_running_loop().create_future()
        self._begin()
        self.transport.write(head + request.content)
        self.owner.bytes_sent += len(head) + len(request.content)
        try:
            return await self.ended
        except BaseException:
            self.close()
            raise

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's do not inherit it; Ray's workers use uvloop

    def data_received(self, data: bytes) -> None:
        self.now_s = time.perf_counter()
        self.owner.bytes_received += len(data)
        if self.ended is None or self.ended.done():
            self.close()  # data without a request
            return
        self.has_answered = True
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(httpx.RemoteProtocolError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended is None or self.ended.done():
            return
        if self.status and self.until_end and exc is None:
            self._finish()
        elif self.has_answered:
            self._fail(httpx.RemoteProtocolError("the answer was broken off"))
        else:
            self._fail(httpx.ReadError(str(exc or "the server closed the connection")))

    # Callbacks of httptools.

    def on_header(self, name: bytes, value: bytes) -> None:  # noqa: ARG002
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.until_end = False

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:  # informational, such as 100 Continue: the answer follows
            return
        assert self.request is not None
        self.status = status
        on_data = self.request.extensions.get("on_data")
        self.on_data = on_data if on_data is not None and status == 200 else self._keep

    def on_body(self, data: bytes) -> None:
        try:
            self.on_data(data, self.now_s)
        except msgspec.MsgspecError as error:
            self._fail(error)

    def on_message_complete(self) -> None:
        if self.status:
            if not self.parser.should_keep_alive():
                self.close()
            self._finish()

    def _keep(self, data: bytes, now_s: float) -> None:  # noqa: ARG002
        self.body += data
        if len(self.body) > MAX_EVENT_BYTES:
            self._fail(httpx.RemoteProtocolError("the answer does not end"))

    def _finish(self) -> None:
        assert self.ended is not None
        if not self.ended.done():
            self.ended.set_result(httpx.Response(self.status, content=self.body))

    def _fail(self, error: Exception) -> None:
        assert self.ended is not None
        self.on_data = _ignore
        if not self.ended.done():
            self.ended.set_exception(error)
        self.close()


def _ignore(data: bytes, now_s: float) -> None:
    pass


CONNECTION = "connection"
TIMEOUT = "timeout"
BAD_EVENT = "bad event"


# ---------------------------------------------------------------- errors

HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
"""The roots of httpx's exceptions."""


def error_kind(error: Exception) -> str:
    """Text of `RequestRecord.error` for an exception of a request; nothing else makes it."""
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

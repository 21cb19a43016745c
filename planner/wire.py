"""HTTP/1.1 for the load generator's hot path: `Connections`, an httpx transport that hands each read on as it comes.

httpx's own transport costs two to three times the CPU per streamed chunk, which would make the client the bottleneck
(docs/libraries.md has the measurement). Requests, responses and exceptions stay httpx's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import msgspec


class Connections(httpx.AsyncBaseTransport):
    """An httpx transport for one request at a time: one kept connection to each server.

    Hands the body of a 200 to the request's extension `on_data(data, arrived_s)` from within the socket's callback, so
    a chunk costs no switch of tasks and its time is not that of a queue. 64 in flight, one core: 24 to 32 us of CPU
    a chunk where httpx's own transport took 63 to 124, and first tokens seen 5 to 37 ms late instead of 60 to 210.
    Knows no proxies, redirects or retries, but for the one that a kept connection needs.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, int | None], _Connection] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        key = (request.url.scheme, request.url.host, request.url.port)
        connection = self.kept.pop(key, None)
        if connection is not None and connection.is_open:
            try:
                return await self._exchange(key, connection, request)
            except httpx.ReadError:
                pass  # the server had closed the idle connection as we sent
        return await self._exchange(key, await _connect(request.url), request)

    async def _exchange(
        self, key: tuple[str, str, int | None], connection: _Connection, request: httpx.Request
    ) -> httpx.Response:
        response = await connection.exchange(request)
        if connection.is_open:
            self.kept[key] = connection
        return response

    async def aclose(self) -> None:
        for connection in self.kept.values():
            connection.close()


async def _connect(url: httpx.URL) -> _Connection:
    tls = url.scheme == "https"
    try:
        _, connection = await asyncio.get_running_loop().create_connection(
            _Connection, url.host, url.port or (443 if tls else 80), ssl=tls or None
        )
    except OSError as error:
        raise httpx.ConnectError(str(error)) from error
    return connection


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection; reads what servers send to a POST: chunked, counted or until the end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.request: httpx.Request | None = None
        self.ended: asyncio.Future[httpx.Response] | None = None
        self.on_data: Callable[[bytes, float], None] = _ignore
        self.rest = b""
        self.body = b""
        self.status = 0  # 0: the head has not come
        self.num_left: int | None = None  # of a counted body
        self.chunked = False

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send, and wait for the end of the answer. Cancelling it closes the connection, which aborts the request."""
        assert self.transport is not None
        lines = [b"%s: %s" % header for header in request.headers.raw]
        head = b"\r\n".join([b"POST %s HTTP/1.1" % request.url.raw_path, *lines, b"", b""])
        self.request, self.ended = request, asyncio.get_running_loop().create_future()
        self.rest, self.body, self.status, self.num_left, self.chunked = b"", b"", 0, None, False
        self.transport.write(head + request.content)
        try:
            return await self.ended
        except BaseException:
            self.close()
            raise

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        if self.ended is None or self.ended.done():
            self.close()  # nothing was asked
            return
        try:
            self._read(self.rest + data if self.rest else data, now_s)
        except (ValueError, IndexError, msgspec.MsgspecError) as error:
            known = isinstance(error, msgspec.MsgspecError)
            self._fail(error if known else httpx.RemoteProtocolError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.ended is None or self.ended.done():
            return
        if self.status and not self.chunked and self.num_left is None and exc is None:
            self._finish()
        elif self.status or self.rest:
            self._fail(httpx.RemoteProtocolError("the answer was broken off"))
        else:
            self._fail(httpx.ReadError(str(exc or "the server closed the connection")))

    # The answer's bytes.

    def _read(self, data: bytes, now_s: float) -> None:
        while not self.status:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.rest = head
                return
            self._read_head(head)
        self.rest = b""
        if self.chunked:
            self._read_chunks(data, now_s)
        elif data:
            self.on_data(data, now_s)
        if self.num_left is not None:
            self.num_left -= len(data)
            if self.num_left <= 0:
                self._finish()

    def _read_head(self, head: bytes) -> None:
        status_line, *lines = head.split(b"\r\n")
        status = int(status_line.split(b" ", 2)[1])
        if status < 200:  # 100 Continue and its like precede the answer
            return
        headers = {name.lower(): value.strip().lower() for name, _, value in (line.partition(b":") for line in lines)}
        self.status = status
        self.chunked = headers.get(b"transfer-encoding") == b"chunked"
        if not self.chunked and b"content-length" in headers:
            self.num_left = int(headers[b"content-length"])
        assert self.request is not None
        on_data = self.request.extensions.get("on_data")
        self.on_data = on_data if on_data is not None and status == 200 else self._keep

    def _read_chunks(self, data: bytes, now_s: float) -> None:
        position = 0
        while (end := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:end].partition(b";")[0], 16)
            if size == 0:
                if data.find(b"\r\n\r\n", end) < 0:  # trailers, if any, end so
                    break
                self._finish()
                return
            following = end + 4 + size
            if len(data) < following:
                break
            self.on_data(data[end + 2 : following - 2], now_s)
            position = following
        self.rest = data[position:]

    def _keep(self, data: bytes, now_s: float) -> None:  # noqa: ARG002
        self.body += data

    def _finish(self) -> None:
        assert self.ended is not None
        self.ended.set_result(httpx.Response(self.status, content=self.body))

    def _fail(self, error: Exception) -> None:
        assert self.ended is not None
        self.ended.set_exception(error)
        self.close()


def _ignore(data: bytes, now_s: float) -> None:
    pass

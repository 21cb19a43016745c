"""Requests to an instance of the service: `Pool.exchange(request) -> Answer`, whose body comes as the socket gives it.

HTTP/1.1 on loopback, parsed by httptools. A stream through an HTTP library costs the front door several times as much
(docs/proxy.md has the measurement). Knows no retries; reports a failure as `NotSent` or `Broken`.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TypeAlias, cast

import httptools

Headers: TypeAlias = list[tuple[bytes, bytes]]
MOST_BUFFERED_BYTES = 1 << 18
"""Most bytes buffered of an answer whose client is slow; then the instance is not read until the client catches up."""
KEPT_S = 3.0
"""Seconds that an idle connection may be used again: vLLM's server closes idle ones after 5 s."""
SWEEP_S = 1.0


class NotSent(ConnectionError):  # noqa: N818
    """Nothing was sent: the instance does not listen."""


class Broken(ConnectionError):  # noqa: N818
    """The request was sent, and the answer is missing or incomplete.

    `was_kept`: it went over a kept connection, which may just have been closed for being idle.
    """

    def __init__(self, message: str, was_kept: bool = False) -> None:
        super().__init__(message)
        self.was_kept = was_kept


class Pool:
    """Connections to one instance."""

    def __init__(self, host: str, port: int, connect_s: float, first_byte_s: float, idle_s: float) -> None:
        self.host, self.port = host, port
        self.connect_s, self.first_byte_s, self.idle_s = connect_s, first_byte_s, idle_s
        self.kept: deque[tuple[float, UpstreamAnswer]] = deque()
        self.busy: set[UpstreamAnswer] = set()
        self.keeps = True
        self._sweep: asyncio.TimerHandle | None = None

    async def exchange(self, request: bytes, may_keep: bool = True) -> UpstreamAnswer:
        """Send, and wait for the head of the answer; `may_keep` allows a kept connection. Raises NotSent, Broken."""
        loop = asyncio.get_running_loop()
        answer = self._take(loop.time()) if may_keep else None
        if answer is None:
            try:
                async with asyncio.timeout(self.connect_s):
                    _, answer = await loop.create_connection(lambda: UpstreamAnswer(self), self.host, self.port)
            except (OSError, TimeoutError) as error:
                raise NotSent(str(error) or "connecting took too long") from None
        self.busy.add(answer)
        if self._sweep is None:
            self._sweep = loop.call_later(SWEEP_S, self._close_overdue)
        try:
            await answer.send(request)
        except BaseException:
            self.release(answer)
            raise
        return answer

    def _take(self, now_s: float) -> UpstreamAnswer | None:
        while self.kept:
            since_s, answer = self.kept.pop()
            if answer.is_open and now_s - since_s < KEPT_S:
                return answer
            answer.close()
        return None

    def release(self, answer: UpstreamAnswer) -> None:
        """Take back the connection of an answer that has ended, or is no longer wanted."""
        self.busy.discard(answer)
        if self.keeps and answer.can_be_kept:
            self.kept.append((asyncio.get_running_loop().time(), answer))
        else:
            answer.close()

    def _close_overdue(self) -> None:
        """Close what is overdue. One timer serves all answers: a timer for every read would cost more than the read."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for answer in [answer for answer in self.busy if now_s > answer.due_s]:
            answer.fail("the instance said nothing in time")
        while self.kept and now_s - self.kept[0][0] > KEPT_S:
            self.kept.popleft()[1].close()
        self._sweep = loop.call_later(SWEEP_S, self._close_overdue) if self.busy or self.kept else None

    def close(self) -> None:
        """Stop keeping connections; answers under way go on."""
        self.keeps = False
        while self.kept:
            self.kept.pop()[1].close()


class UpstreamAnswer(asyncio.Protocol):
    """One connection and, while it is busy, the answer that comes over it."""

    status: int
    headers: Headers

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.loop = asyncio.get_running_loop()
        self.num_sent = 0
        self._begin()

    def _begin(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0  # 0: the head has not arrived
        self.headers = []
        self.chunks: list[bytes] = []
        self.num_buffered = 0
        self.is_complete = False
        self.is_paused = False
        self.until_end = True
        self.error: Broken | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.due_s = self.loop.time() + self.pool.first_byte_s

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    @property
    def can_be_kept(self) -> bool:
        return self.is_complete and self.is_open and self.error is None

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def send(self, request: bytes) -> None:
        """Send a request, and wait for the head. Raises Broken."""
        assert self.transport is not None
        self._begin()
        self.num_sent += 1
        self.transport.write(request)
        while not self.status and self.error is None:
            await self._wait()
        if not self.status:
            assert self.error is not None
            raise self.error

    async def read(self) -> bytes:
        """The bytes that came since the last read; empty at the end. Raises Broken if the answer breaks off."""
        while not self.chunks:
            if self.is_complete:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks = []
        self.num_buffered = 0
        if self.is_paused and self.is_open:
            assert self.transport is not None
            self.is_paused = False
            self.due_s = self.loop.time() + self.pool.idle_s
            self.transport.resume_reading()
        return data

    async def _wait(self) -> None:
        self.waiter = self.loop.create_future()
        await self.waiter

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def fail(self, message: str) -> None:
        if not self.is_complete and self.error is None:
            self.error = Broken(message, was_kept=self.num_sent > 1)
            self._wake()
        self.close()

    # Callbacks of asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(f"the instance does not speak HTTP: {error}")
            return
        self.due_s = self.loop.time() + self.pool.idle_s
        if self.num_buffered > MOST_BUFFERED_BYTES and not self.is_paused and self.transport is not None:
            self.is_paused = True
            self.due_s = math.inf  # from now on the client is the slow one
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.status and self.until_end and exc is None:
            self.is_complete = True
            self._wake()
        else:
            self.fail(str(exc) if exc else "the instance closed the connection")

    # Callbacks of httptools.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self.until_end = False
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:  # 100 Continue and its like precede the answer
            self.headers = []
        else:
            self.status = status

    def on_body(self, data: bytes) -> None:
        self.chunks.append(data)
        self.num_buffered += len(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.is_complete = True
            if not self.parser.should_keep_alive():
                self.close()

"""What one connection to the front door may take: `limited_by(limits)`, uvicorn's protocol of HTTP with limits on it.

uvicorn limits neither the size of headers and trailers nor the time they take, nor the connections of one client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from planner.service.proxy.request import ProxyLimits

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def limited_by(limits: ProxyLimits) -> type[asyncio.Protocol]:
    """The protocol with these limits; connections are counted for each door of its own."""
    return type("Limited", (LimitedProtocol,), {"limits": limits, "open_of": Counter()})


class LimitedProtocol(HttpToolsProtocol):
    """Closes a connection if a request's headers are too large or too slow, if its client takes nothing, or has
    too many. Trailers count as headers do, and are dropped: what reads them later takes them for headers."""

    limits: ClassVar[ProxyLimits]
    open_of: ClassVar[Counter[str]]
    """Number of open connections by address."""
    _late: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _num_bytes = 0
    """Bytes received that are no body: of the head, then since the last piece of the body."""
    _is_in_head = True
    _came_on = False
    """Whether the head was complete, or a piece of the body came, in this read."""
    _peer = ""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self.open_of[self._peer] += 1
        self._wait_for_head()
        if self.open_of[self._peer] > self.limits.max_connections_per_client:
            transport.close()

    def _wait_for_head(self) -> None:
        self._is_in_head, self._num_bytes = True, 0
        if self._late is None:
            self._late = self.loop.call_later(self.limits.header_s, self.transport.close)

    def data_received(self, data: bytes) -> None:
        self._came_on = False
        super().data_received(data)
        if not self._came_on:
            self._num_bytes += len(data)
        if self._num_bytes > self.limits.max_header_bytes and not self.transport.is_closing():
            if self._is_in_head:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._num_bytes, self._came_on = 0, True
        super().on_body(body)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_head()

    def on_headers_complete(self) -> None:
        self._is_in_head, self._num_bytes, self._came_on = False, 0, True
        self._stop_clock()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.idle_s, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_clock()
        if self._stalled is not None:
            self._stalled.cancel()
        self.open_of[self._peer] -= 1
        if not self.open_of[self._peer]:
            del self.open_of[self._peer]
        super().connection_lost(exc)

    def _stop_clock(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

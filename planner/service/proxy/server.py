"""The front door listens: `serve_proxy(proxy, host, port)` until told to stop, `proxy_in_thread` beside other work.

uvicorn serves (`pip install 'vllm-planner[server]'`). It does not limit the size of headers or the time they take, so
that is done here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from planner.errors import BackendError, InputError
from planner.service.proxy.app import Proxy
from planner.service.proxy.request import ProxyLimits
from planner.version import install_hint

if TYPE_CHECKING:
    import uvicorn


GRACE_S = 5
"""Seconds that open streams may go on after the door was closed."""
BACKLOG = 2048
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def serve_proxy(proxy: Proxy, host: str, port: int) -> None:
    """Listen until SIGINT or SIGTERM. Raises InputError without uvicorn, BackendError if the port is taken."""
    server, listener = _server(proxy, host, port)
    with contextlib.closing(listener):
        server.run(sockets=[listener])


@contextlib.contextmanager
def proxy_in_thread(proxy: Proxy, host: str, port: int) -> Iterator[str]:
    """Listen in a thread while the context is open; yields the URL. Port 0: any free one. Raises as `serve_proxy`."""
    server, listener = _server(proxy, host, port)
    with contextlib.closing(listener):
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(GRACE_S + 5)


def _server(proxy: Proxy, host: str, port: int) -> tuple[uvicorn.Server, socket.socket]:
    try:
        import uvicorn
    except ImportError:
        raise InputError(f"the front door needs uvicorn: {install_hint('server')}") from None
    # The protocol must be named: asyncio sets TCP_NODELAY on such sockets only, without it a first token is 40 ms late.
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BackendError(f"{host}:{port}: cannot listen there: {error.strerror}") from None
    limits = proxy.limits
    config = uvicorn.Config(
        proxy,
        http=_limited_protocol(limits),
        ws="none",
        lifespan="on",
        log_level="critical",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=limits.max_connections,
        timeout_keep_alive=round(limits.keep_alive_s),
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config), listener


def _limited_protocol(limits: ProxyLimits) -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    open_of: Counter[str] = Counter()

    class Limited(HttpToolsProtocol):
        """Closes a connection if a request's headers are too large or too slow, if its client takes nothing, or has
        too many. Trailers count as headers do, and are dropped: what reads them later takes them for headers."""

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
            open_of[self._peer] += 1
            self._wait_for_head()
            if open_of[self._peer] > limits.max_connections_per_client:
                transport.close()

        def _wait_for_head(self) -> None:
            self._is_in_head, self._num_bytes = True, 0
            if self._late is None:
                self._late = self.loop.call_later(limits.header_s, self.transport.close)

        def data_received(self, data: bytes) -> None:
            self._came_on = False
            super().data_received(data)
            if not self._came_on:
                self._num_bytes += len(data)
            if self._num_bytes > limits.max_header_bytes and not self.transport.is_closing():
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
            self._stalled = self.loop.call_later(limits.idle_s, self.transport.abort)

        def resume_writing(self) -> None:
            if self._stalled is not None:
                self._stalled.cancel()
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            if self._stalled is not None:
                self._stalled.cancel()
            open_of[self._peer] -= 1
            if not open_of[self._peer]:
                del open_of[self._peer]
            super().connection_lost(exc)

        def _stop_clock(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

    return Limited

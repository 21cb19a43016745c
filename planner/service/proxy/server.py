"""The front door listens: `serve_proxy(proxy, host, port)` until told to stop, `proxy_in_thread` beside other work.

uvicorn serves (`pip install 'vllm-planner[server]'`), with the limits of `limited_protocol.py`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from planner.errors import BackendError, InputError
from planner.service.proxy.app import Proxy
from planner.version import install_hint

if TYPE_CHECKING:
    import uvicorn


GRACE_S = 5
"""Seconds that open streams may go on after the door was closed."""
BACKLOG = 2048


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

        from planner.service.proxy.limited_protocol import limited_by
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
        http=limited_by(limits),
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

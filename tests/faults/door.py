"""The Docker Engine's socket as a TCP port: it can be closed, which refuses connections, or fall silent, and somebody
can be told of a request before it passes."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

SOCKET = "/var/run/docker.sock"


class DoorToDocker:
    """Open within a `with`; `DOCKER_HOST=door.host` leads through it."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.host = f"tcp://127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []
        self._passes = threading.Event()
        self._on_request: Callable[[bytes], None] | None = None

    def when(self, request: str, count: int, act: Callable[[], None]) -> None:
        """Do something when the so-manieth request that begins like this pattern comes, before it is passed on.

        It is not passed on where that raises OSError.
        """
        left = iter(range(count - 1, -1, -1))

        def look(data: bytes) -> None:
            if re.match(request.encode(), data) and next(left, None) == 0:
                act()

        self._on_request = look

    def open(self) -> None:
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._sockets = []

    def fall_silent(self) -> None:
        """Connections are taken, nothing is answered, until `speak`."""
        self._passes.clear()

    def speak(self) -> None:
        self._passes.set()

    def __enter__(self) -> DoorToDocker:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.speak()
        self.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(SOCKET)
                self._sockets += [near, far]
                for source, target, asks in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pass_on, args=(source, target, asks), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._passes.wait()
                if asks and self._on_request is not None:
                    self._on_request(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

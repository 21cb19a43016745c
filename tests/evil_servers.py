"""Servers that answer as none should: a byte at a time, without end, with a wrong encoding, with no HTTP at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def serving(
    answer: Callable[[socket.socket, threading.Event], None], heads: list[bytes] | None = None
) -> Iterator[str]:
    """A server that reads each request's head, keeps it in `heads`, and does what `answer` does to the connection."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the client has gone
            head = connection.recv(65536)
            if heads is not None:
                heads.append(head)
            answer(connection, ended)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def dribble(prefix: bytes) -> Callable[[socket.socket, threading.Event], None]:
    """Send `prefix`, then a byte every hundredth of a second for ever."""

    def answer(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(prefix)
        while not ended.wait(0.01):
            connection.sendall(b"a")

    return answer


def flood(prefix: bytes, chunk: bytes) -> Callable[[socket.socket, threading.Event], None]:
    def answer(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(prefix)
        while not ended.is_set():
            connection.sendall(chunk)

    return answer


def once(content: bytes) -> Callable[[socket.socket, threading.Event], None]:
    return lambda connection, _: connection.sendall(content)


def body(content: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((HEAD.rstrip(), b"content-length: %d" % len(content), *headers, b"", content))

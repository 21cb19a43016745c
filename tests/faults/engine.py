"""An engine with a fault: `python engine.py FAULT MARKER ARGS...`. The simulated engine, but for what is wrong with it.

Only the candidate with `--max-num-seqs 6` has the fault, and only once where it is none of its own:
MARKER is the file that says it has happened, MARKER.load that the load is under way, MARKER.done, of somebody outside,
that it may go on. Everything else is `python -m planner.simulated`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import planner.simulated.server as server
from planner.simulated.__main__ import main

FAULTY_SEQS = "6"
BEFORE_FAULT = 12
"""Completions answered before a fault under load: the warm-up and some of the load."""
OUT_OF_MEMORY = (
    "ERROR 01-01 00:00:00 [engine.py:160] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.50 GiB. "
    "GPU 0 has a total capacity of 21.48 GiB of which 512.00 MiB is free."
)
LOG_BYTES = 300_000_000
BALLAST = "ballast"
DONE, WAIT_S, LOOK_EVERY_S = ".done", 120.0, 0.05
"""An answer waits until somebody outside has done something, and says so with a file; not for ever."""

Send = Callable[[dict[str, Any]], Any]


PLANNER = os.getppid()
"""The engine is its child."""
ENDS_IN_S = 2.0


def kill_planner(number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(PLANNER, number)


def kill_planner_at_the_end(number: int, frame: object) -> None:  # noqa: ARG001
    """The server has been told to end and calls this last; the next such signal finds it ending."""
    signal.signal(number, signal.SIG_IGN)
    kill_planner(signal.SIGKILL)
    time.sleep(ENDS_IN_S)
    sys.exit(0)


def at_start(fault: str) -> None:
    match fault:
        case "out of memory at start":
            print(OUT_OF_MEMORY, file=sys.stderr)
            sys.exit(1)
        case "killed at start":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hangs at start":
            time.sleep(3600)
        case "waits at start":
            time.sleep(3600)
        case "planner killed while an engine starts":
            kill_planner(signal.SIGKILL)
            time.sleep(3600)
        case "planner killed while an engine ends":
            signal.signal(signal.SIGTERM, kill_planner_at_the_end)
        case "planner stopped twice while an engine starts":
            kill_planner(signal.SIGINT)
            time.sleep(0.3)
            kill_planner(signal.SIGINT)
            time.sleep(3600)


async def until_there(path: Path) -> None:
    for _ in range(round(WAIT_S / LOOK_EVERY_S)):
        if path.exists():
            break
        await asyncio.sleep(LOOK_EVERY_S)


def fill(path: Path) -> None:
    """Until the disk has no room left."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"=" * 99 + b"\n")


class Faulty:
    """The server's app, and what is wrong with it."""

    def __init__(self, app: Any, fault: str, marker: Path) -> None:
        self._app, self._fault, self._marker, self._seen = app, fault, marker, 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/health" and self._fault == "never healthy":
            await _answer(send, 503, b"")
            return
        if path not in ("/v1/completions", "/v1/chat/completions"):
            await self._app(scope, receive, send)
            return
        self._seen += 1
        await self._complete(scope, receive, send)

    async def _complete(self, scope: dict[str, Any], receive: Any, send: Send) -> None:
        is_due, is_first = self._seen > BEFORE_FAULT, self._seen == BEFORE_FAULT + 1
        match self._fault:
            case "out of memory under load" if is_due:
                print(OUT_OF_MEMORY, file=sys.stderr, flush=True)
                os._exit(1)
            case "killed under load" if is_due:
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs under load" if is_due:
                await asyncio.sleep(3600)
            case "stopped under load" if is_due:
                os.kill(os.getpid(), signal.SIGSTOP)
            case "waits under load" | "waits under each load" if is_due:
                self._marker.with_suffix(".load").touch()
                await until_there(self._marker.with_suffix(DONE))
            case "takes memory under load" if is_due:
                _ = bytearray(4 << 30).count(1)  # read, so that it is there
            case "disk full under load" if is_first:
                fill(self._marker.with_name(BALLAST))
            case "disk filled by an engine's log" if is_first:
                fill(Path("/proc/self/fd/2"))
            case "planner killed under load" if is_first:
                kill_planner(signal.SIGKILL)
            case "planner told to end under load" if is_first:
                kill_planner(signal.SIGTERM)
            case "terminal closed under load" if is_first:
                kill_planner(signal.SIGHUP)
            case "planner told to end again and again" if is_due:
                kill_planner(signal.SIGTERM)
            case "a log of 300 MB" if self._seen == 1:
                line = f"INFO 01-01 00:00:00 [x.py:1] {'=' * 1000}\n"
                for _ in range(LOG_BYTES // len(line)):
                    sys.stderr.write(line)
            case "HTTP 500":
                await _answer(send, 500, b'{"object": "error", "message": "boom"}')
                return
            case "HTTP 500 now and then" if self._seen % 8 == 0:
                await _answer(send, 500, b'{"object": "error", "message": "boom"}')
                return
            case "garbage":
                await _answer(send, 200, b"data: {not JSON\n\ndata: [DONE]\n\n", b"text/event-stream")
                return
            case "empty answers":
                await _answer(send, 200, b"data: [DONE]\n\n", b"text/event-stream")
                return
        await self._app(scope, receive, self._changed(send))

    def _changed(self, send: Send) -> Send:
        chunks = 0

        async def changed(message: dict[str, Any]) -> None:
            nonlocal chunks
            body = message.get("body", b"")
            if self._fault == "cut streams" and body and (chunks := chunks + 1) > 3:
                raise ConnectionError("cut")  # the server closes the connection in the middle
            if self._fault == "no usage" and b'"usage"' in body:
                message = {**message, "body": b""}
            await send(message)

        return changed


async def _answer(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


def serve(fault: str, marker: Path, argv: list[str]) -> int:
    is_due = "--max-num-seqs" in argv and argv[argv.index("--max-num-seqs") + 1] == FAULTY_SEQS
    is_once = fault.startswith(("planner", "terminal", "disk", "waits at", "waits under load"))
    if is_due and is_once and marker.exists():
        is_due = False
    if is_due:
        marker.touch()
        at_start(fault)
        build_app = server.build_app
        server.build_app = lambda *args, **kwargs: Faulty(build_app(*args, **kwargs), fault, marker)
    return main(argv)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))

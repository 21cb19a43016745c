"""Waiting for an engine: whatever its /health sends, the wait ends by its deadline, with what was seen."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from planner.errors import Disturbed, EngineOutOfMemory, EngineStartTimeout
from planner.launch import backend
from planner.launch.backend import Ending, Server, wait_until_ready
from tests.evil_servers import HEAD, body, dribble, flood, once, serving


@dataclass
class Running:
    """An engine that runs and logs, whatever it answers."""

    base_url: str

    def is_running(self) -> bool:
        return True

    def log_text(self) -> str:
        return "INFO: loading"

    def ending(self) -> Ending:
        return Ending(None)

    def stop(self) -> None: ...


EVIL: dict[str, tuple[Callable[..., Any], str]] = {
    "a byte at a time": (dribble(HEAD + b"content-length: 9999\r\n\r\n"), "no whole answer in"),
    "a head without end": (dribble(HEAD + b"x-a: "), "no whole answer in"),
    "a body without end": (flood(HEAD + b"\r\n", b"a" * 65536), "more than|no whole answer in"),
    "a false encoding": (once(body(b"ok", b"content-encoding: gzip")), "content-encoding 'gzip'"),
    "a bomb": (once(body(gzip.compress(b"0" * 9_000_000), b"content-encoding: gzip")), "content-encoding 'gzip'"),
    "no HTTP": (once(b"SSH-2.0-OpenSSH_9.2\r\n"), "/health: "),
    "busy": (once(body(b"").replace(b"200 OK", b"503 Busy")), "status 503"),
}


@pytest.mark.parametrize("evil", EVIL)
def test_no_answer_of_health_keeps_the_planner(evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "HEALTH_TIMEOUT_S", 0.2)
    monkeypatch.setattr(backend, "POLL_S", 0.01)
    answer, said = EVIL[evil]
    with serving(answer) as url, pytest.raises(EngineStartTimeout, match=said) as told:
        wait_until_ready(Running(url), time.monotonic() + 0.5)
    assert told.value.log_tail == "INFO: loading"


def unreachable() -> str:
    """URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_engine_that_runs_and_cannot_be_reached_is_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "POLL_S", 0.01)
    with pytest.raises(Disturbed, match="runs and cannot be reached"):
        Server((Running(unreachable()),), 1.0).check()
    with serving(once(b"")) as url, pytest.raises(Disturbed, match="runs and cannot be reached"):
        Server((Running(url),), 1.0).check()  # as a forwarded port whose network is gone


@pytest.mark.parametrize("answer", [body(b""), body(b"").replace(b"200 OK", b"500 Dead")])
def test_an_engine_that_answers_anything_is_reached(answer: bytes) -> None:
    with serving(once(answer)) as url:
        Server((Running(url),), 1.0).check()


def test_a_hung_engine_is_no_network_that_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "HEALTH_TIMEOUT_S", 0.1)
    with serving(lambda _, ended: ended.wait() and None) as url:
        Server((Running(url),), 1.0).check()


def test_an_engine_that_dies_meanwhile_has_its_own_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "POLL_S", 0.01)

    class Dying(Running):
        asked = 0

        def is_running(self) -> bool:
            self.asked += 1
            return self.asked < 3

        def log_text(self) -> str:
            return "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"

    with pytest.raises(EngineOutOfMemory):
        Server((Dying(unreachable()),), 1.0).check()


def test_a_whole_answer_is_ready() -> None:
    with serving(once(body(b""))) as url:
        wait_until_ready(Running(url), time.monotonic() + 60)

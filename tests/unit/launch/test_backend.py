"""Waiting for an engine: whatever its /health sends, the wait ends by its deadline, with what was seen."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from planner.errors import EngineStartTimeout
from planner.launch import backend
from planner.launch.backend import Ending, wait_until_ready
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


def test_a_whole_answer_is_ready() -> None:
    with serving(once(body(b""))) as url:
        wait_until_ready(Running(url), time.monotonic() + 60)

"""Questions to servers that dribble, never end, lie about their encoding or are none: one `NoAnswer`, in time."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys

import httpx
import pytest

from planner.benchmark.client.access import Access
from planner.benchmark.client.asking import Asker, NoAnswer, ask_server, asker_of
from planner.errors import InputError
from tests.evil_servers import HEAD, body, dribble, flood, once, serving


@pytest.mark.parametrize(
    ("prefix", "where"),
    [(b"", "status line"), (HEAD + b"x-a: ", "head"), (HEAD + b"content-length: 1000000\r\n\r\n", "body")],
)
def test_a_byte_at_a_time_is_no_answer(prefix: bytes, where: str) -> None:
    with (
        serving(dribble(prefix)) as url,
        Asker(Access(), timeout_s=0.5) as asker,
        pytest.raises(NoAnswer, match=r"no whole answer in 0\.5 s|illegal|invalid"),
    ):
        asker.ask("GET", f"{url}/{where.replace(' ', '-')}")


def test_an_answer_without_end_stops_at_its_limit() -> None:
    endless = flood(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"400\r\n" + b"a" * 1024 + b"\r\n")
    with (
        serving(endless) as url,
        Asker(Access(), timeout_s=60, most_bytes=100_000) as asker,
        pytest.raises(NoAnswer, match="more than 100000 bytes"),
    ):
        asker.ask("GET", url)


def test_what_is_compressed_although_not_asked_for_is_not_opened() -> None:
    packed = body(gzip.compress(b"a" * 10_000_000), b"content-encoding: gzip")
    with (
        serving(once(packed)) as url,
        Asker(Access(), timeout_s=60) as asker,
        pytest.raises(NoAnswer, match="content-encoding 'gzip'"),
    ):
        asker.ask("GET", url)


@pytest.mark.parametrize("content", [b"no HTTP at all\r\n\r\n", b"", HEAD + b"content-length: 9\r\n\r\nhalf"])
def test_what_is_no_http_or_broken_off_is_no_answer(content: bytes) -> None:
    with serving(once(content)) as url, Asker(Access(), timeout_s=60) as asker, pytest.raises(NoAnswer) as told:
        asker.ask("GET", url)
    assert url not in told.value.kind


def test_an_answer_has_status_text_and_json() -> None:
    with serving(once(body(b'{"a": 1}').replace(b"200 OK", b"404 No"))) as url, Asker(Access(), timeout_s=60) as asker:
        answer = asker.ask("POST", url, {"b": 2})
    assert (answer.status, answer.is_ok, answer.text, answer.json()) == (404, False, '{"a": 1}', {"a": 1})


@pytest.mark.parametrize("content", [b"[1]", b"{", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_object_is_empty(content: bytes) -> None:
    with serving(once(body(content))) as url, Asker(Access(), timeout_s=60) as asker:
        assert asker.ask("GET", url).json() == {}


def test_the_key_is_sent_and_nothing_compressed_is_asked_for() -> None:
    heads: list[bytes] = []
    with serving(once(body(b"ok")), heads) as url, Asker(Access(api_key="k"), timeout_s=60) as asker:
        asker.ask("GET", url)
    lines = heads[0].lower().split(b"\r\n")
    assert b"authorization: bearer k" in lines
    assert b"accept-encoding: identity" in lines


async def _ask_from_a_loop(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await ask_server(client, "GET", url, timeout_s=60)).text


def test_a_coroutine_asks_the_same() -> None:
    with serving(once(body(b"ok"))) as url:
        assert asyncio.run(_ask_from_a_loop(url)) == "ok"


INTERRUPTED = """
import os, signal, sys, threading
from planner.benchmark.client.access import Access
from planner.benchmark.client.asking import Asker
from planner.launch import sigterm_as_interrupt
with sigterm_as_interrupt():
    try:
        with Asker(Access(), timeout_s=600) as asker:
            threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGTERM)).start()
            asker.ask("GET", sys.argv[1])
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.01, 0.5])
def test_a_signal_ends_a_question(after_s: float) -> None:
    """Also where it comes while the question is only being made; a server that never answers keeps nobody."""
    with serving(lambda _, ended: ended.wait() and None) as url:
        done = subprocess.run(
            [sys.executable, "-c", INTERRUPTED, url, str(after_s)],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert done.stdout == "interrupted\n", done.stderr


def test_what_is_no_url_is_said() -> None:
    with pytest.raises(InputError, match="is no URL"):
        asker_of("http://[::1", Access(), 1.0)
    with Asker(Access(), timeout_s=1.0) as asker, pytest.raises(NoAnswer):
        asker.ask("GET", "http://" + "a" * 70 + ".example/")

"""The front door and clients that mean harm: raw bytes to the real server on loopback, and what reaches the engine."""

from __future__ import annotations

import contextlib
import socket

import pytest

from planner.service.proxy.context_limit import num_sequences
from planner.service.proxy.request import ProxyLimits
from tests.unit.service.proxy.test_app import PATIENCE_S, WELL, door, raw, scripted, wait_until

QUICK = ProxyLimits(header_s=0.6, body_s=0.6, keep_alive_s=1)
"""For clients that are slow on purpose: any other one may be slow on a busy machine."""
BRIEF = ProxyLimits(header_s=PATIENCE_S, body_s=PATIENCE_S, keep_alive_s=1)
"""Connections that are done are closed soon."""
POST = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\n"
SMUGGLED = b"0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + SMUGGLED,
        POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + SMUGGLED,
        POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        POST + b"content-length: 5, 5\r\n\r\nhello",
        POST + b"content-length: +5\r\n\r\nhello",
        POST + b"transfer-encoding: xchunked\r\n\r\n" + SMUGGLED,
        POST + b"transfer-encoding: chunked, identity\r\n\r\n" + SMUGGLED,
        POST + b"transfer-encoding : chunked\r\n\r\n" + SMUGGLED,
        POST + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n" + SMUGGLED,
        POST + b'transfer-encoding: chunked\r\n\r\n5;x="\n"\r\nhello\r\n' + SMUGGLED,
        POST + b"x: a\r\n folded\r\ncontent-length: 0\r\n\r\n",
        POST + b"x: a\rinjected: 1\r\ncontent-length: 0\r\n\r\n",
        POST + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
        POST.replace(b"\r\n", b"\n") + b"content-length: 0\n\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(request_bytes: bytes) -> None:
    """Lengths that contradict each other, blanks, folds: the way one request is smuggled inside of another."""
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        assert raw(url, request_bytes).startswith(b"HTTP/1.1 400 ")
        assert server.requests == []


@pytest.mark.parametrize(
    "first_line",
    [
        b"GET http://example.com/v1/models HTTP/1.1",
        b"GET http://127.0.0.1@example.com:80/v1/models HTTP/1.1",
        b"GET /v1/models HTTP/1.0",
    ],
)
def test_only_our_engine_is_asked_whatever_the_target_and_the_host(first_line: bytes) -> None:
    rest = (
        b"\r\nhost: example.com\r\nhost: b\r\nx-forwarded-host: c\r\nupgrade: h2c\r\nconnection: upgrade, close\r\n\r\n"
    )
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        assert raw(url, first_line + rest).startswith(b"HTTP/1.1 200 ")
        (asked,) = server.requests
        line, *headers = asked.split(b"\r\n")
        assert line == b"GET /v1/models HTTP/1.1"
        assert [one for one in headers if one.startswith((b"host:", b"upgrade:", b"connection:"))] == [
            b"host: " + server.url.removeprefix("http://").encode()
        ]


@pytest.mark.parametrize(
    "target",
    [
        b"//example.com/v1/models", b"/v1/..\\metrics", b"/v1//../metrics", b"*", b"/v1/load_lora_adapter",
        b"/v1/load_lora_adapter/", b"/v1//load_lora_adapter", b"/v1/./load_lora_adapter", b"/v1/load%5Flora_adapter",
    ],
)  # fmt: skip
def test_paths_that_are_not_the_apis(target: bytes) -> None:
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        assert raw(url, b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % target).startswith(b"HTTP/1.1 404 ")
        assert server.requests == []


def test_a_trailer_is_no_header_and_a_line_end_in_a_query_stays_written() -> None:
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        raw(url, POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nhost: evil\r\n\r\n")
        raw(url, b"GET /v1/models?a=%0d%0aevil:%20x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        posted, queried = server.requests
        assert posted.endswith(b"\r\ncontent-length: 5\r\n\r\nhello")
        assert queried.startswith(b"GET /v1/models?a=%0d%0aevil:%20x HTTP/1.1\r\n")
        assert b"evil" not in posted


def test_a_trailer_in_the_first_read_is_no_header_either() -> None:
    whole = POST + b"transfer-encoding: chunked\r\n\r\n0\r\nauthorization: Bearer evil\r\n\r\n"
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        raw(url, whole)
        (posted,) = server.requests
        assert b"evil" not in posted


@pytest.mark.parametrize("endless", [b"x-1: " + b"a" * 1000 + b"\r\n", b"a" * 1000], ids=["trailers", "one trailer"])
def test_trailers_without_end_are_cut_off(endless: bytes) -> None:
    """None of them is kept: the door closes once they have more bytes than headers may have."""
    sent = 0
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-0: ")
            with contextlib.suppress(OSError):
                while sent < 100_000_000:
                    connection.sendall(endless)
                    sent += len(endless)
        assert sent < 100_000_000
        assert server.requests == []


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": [%s]}' % b",".join([b'"a"'] * 2000),
        b'{"prompt": [%s]}' % b",".join([b"[1]"] * 2000),
        b'{"prompt": "a", "n": 2000}',
        b'{"prompt": ["a", "b"], "best_of": 1000}',
        b'{"input": [%s]}' % b",".join([b'"a"'] * 2000),
        b'{"query": "a", "documents": [%s]}' % b",".join([b'"a"'] * 2000),
    ],
)
def test_one_request_does_not_become_thousands(content: bytes) -> None:
    with scripted(WELL) as (server,), door(server.url, limits=BRIEF) as (url, _):
        answer = raw(url, POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"too_many_sequences" in answer
        assert server.requests == []


@pytest.mark.parametrize(
    "content", [b'{"prompt": "a"}', b'{"prompt": [%s]}' % b",".join([b"1"] * 5000), b"{", b'{"n": 1}']
)
def test_one_request_is_one(content: bytes) -> None:
    assert num_sequences(content) == 1


def test_one_client_cannot_take_all_connections() -> None:
    """Those beyond its limit are closed without a word; once it has fewer, it is served again."""
    asked = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

    def answered(url: str) -> bytes:
        try:
            return raw(url, asked)
        except ConnectionError:
            return b""

    limits = ProxyLimits(max_connections_per_client=4)
    with scripted(WELL) as (server,), door(server.url, limits=limits) as (url, _), contextlib.ExitStack() as idle:
        host, port = url.removeprefix("http://").split(":")
        for _ in range(4):
            idle.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE_S))
        wait_until(lambda: answered(url) == b"")
        idle.close()
        wait_until(lambda: answered(url).startswith(b"HTTP/1.1 200 "))


@pytest.mark.parametrize("head", [b"", POST + b"content-length: 5000\r\n\r\n"], ids=["headers", "body"])
def test_a_byte_now_and_then_does_not_keep_the_door(head: bytes) -> None:
    """Slow loris: each byte comes in time, the whole does not. The door ends it long before the last drop."""
    drops = b"POST /v1/completions HTTP/1.1\r\nx: " + b"a" * 2000 if not head else b"a" * 2000
    with scripted(WELL) as (server,), door(server.url, limits=QUICK) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(head)
            connection.settimeout(0.1)
            said = None
            for drop in drops:
                try:
                    connection.sendall(bytes([drop]))
                    said = connection.recv(100)
                    break
                except TimeoutError:
                    continue
                except OSError:
                    said = b""
                    break
        assert said is not None, "it took all drops"
        assert said == b"" if not head else said.startswith(b"HTTP/1.1 408") or said == b""
        assert server.requests == []


def test_connections_have_a_limit() -> None:
    """Those beyond it are told so and cost nothing; the others go on."""
    with scripted(WELL) as (server,), door(server.url, limits=ProxyLimits(max_connections=4)) as (url, _):
        host, port = url.removeprefix("http://").split(":")
        idle = [socket.create_connection((host, int(port)), timeout=PATIENCE_S) for _ in range(4)]
        asked = b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        wait_until(lambda: raw(url, asked).startswith(b"HTTP/1.1 503 "))  # those were taken before
        answer = raw(url, b"GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        for connection in idle:
            connection.close()
        assert server.requests == []

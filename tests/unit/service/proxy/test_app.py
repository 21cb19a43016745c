"""The front door before simulated engines over HTTP, and before servers that break off, refuse or say nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from planner.engine.config import EngineConfig
from planner.errors import BackendError, InputError
from planner.launch.container import ContainerRun
from planner.service.guard import loop as guard_loop
from planner.service.guard.decisions import State
from planner.service.ladder import Ladder, Rung
from planner.service.proxy.app import Proxy
from planner.service.proxy.request import ProxyLimits
from planner.service.proxy.server import proxy_in_thread, serve_proxy
from tests.places import ROOT

PATIENCE_S = 120.0
"""For what comes at once: a busy machine is no fault."""
CONTEXT = 512
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def simulated(*speedups: float, port: int | None = None) -> Iterator[list[str]]:
    """SIMULATED engines, answering, each so many times as fast as an L4."""
    urls, processes = [], []
    for speedup in speedups:
        urls.append(f"http://127.0.0.1:{port or free_port()}")
        command = [
            *(sys.executable, "-m", "planner.simulated", "serve", "--model", "Qwen/Qwen3-8B", "--gpu", "L4"),
            *("--vllm-version", "0.11.0", "--served-model-name", "m", "--max-model-len", str(CONTEXT)),
            *("--port", urls[-1].rpartition(":")[2], "--speedup", str(speedup)),
        ]
        processes.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))
    try:
        for url in urls:
            wait_until(lambda url=url: answers(url))  # type: ignore[misc]
        yield urls
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
    except httpx.TransportError:
        return False


def wait_until(is_so: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Scripted:
    """A server that treats each connection as its script says; it counts them and keeps what it was sent."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self.script = script
        self.requests: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            request = connection.recv(1 << 20)
            if request.startswith(b"GET /health"):  # not well: it stays what it was found to be
                return
            self.requests.append(request)
            self.script(connection)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@contextmanager
def scripted(*scripts: Callable[[socket.socket], None]) -> Iterator[list[Scripted]]:
    servers = [Scripted(script) for script in scripts]
    try:
        yield servers
    finally:
        for server in servers:
            server.close()


def says(answer: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(answer)


def whole(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


HANGS_UP = says(b"")
WELL = says(whole(b"well"))


@contextmanager
def door(*urls: str, **options: Any) -> Iterator[tuple[str, Proxy]]:
    proxy = Proxy(urls, **options)
    with proxy_in_thread(proxy, "127.0.0.1", 0) as url:
        wait_until(lambda: bool(httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code))
        yield url, proxy


@pytest.fixture(scope="module")
def all_engines() -> Iterator[list[str]]:
    with simulated(1000, 1000, 0.05, 0.05) as urls:
        yield urls


@pytest.fixture
def engines(all_engines: list[str]) -> list[str]:
    return all_engines[:2]


@pytest.fixture
def slow(all_engines: list[str]) -> list[str]:
    """A token a second, about."""
    return all_engines[2:]


def ask(num_tokens: int = 4, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": [1] * 8, "max_tokens": num_tokens, **fields}


def post(url: str, path: str = COMPLETIONS, num_tokens: int = 4, **fields: Any) -> httpx.Response:
    return httpx.post(url + path, json=ask(num_tokens, **fields), timeout=PATIENCE_S)


# --- what passes


def test_a_stream_passes_unchanged() -> None:
    """Byte for byte, whatever they are, in parts as they come."""
    parts = [
        b": comment\n\n",
        b'data: {"a":1}\n\ndata: {"b"',
        b":2}\r\n\r\n",
        b"\x00\xff odd bytes",
        b"data: [DONE]\n\n",
    ]

    has_come = threading.Event()

    def script(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-own: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for part in parts:
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            assert has_come.wait(PATIENCE_S), "each comes before the next is there: not gathered to one piece"
            has_come.clear()
        connection.sendall(b"0\r\n\r\n")

    with scripted(script) as (server,), door(server.url) as (url, _):
        with httpx.stream("POST", url + COMPLETIONS, json=ask(), timeout=PATIENCE_S) as response:
            seen = b""
            for piece in response.iter_raw():
                seen += piece
                if any(seen == b"".join(parts[:count]) for count in range(1, len(parts) + 1)):
                    has_come.set()
        assert seen == b"".join(parts)
        assert response.headers["x-own"] == "1"
        assert response.headers["content-type"] == "text/event-stream"


def test_a_simulated_engine_behind_the_door(engines: list[str]) -> None:
    with door(engines[0]) as (url, _):
        assert post(url).json()["usage"]["completion_tokens"] == 4
        assert (
            httpx.get(f"{url}/v1/models", timeout=PATIENCE_S).json()
            == httpx.get(f"{engines[0]}/v1/models", timeout=PATIENCE_S).json()
        )
        with httpx.stream("POST", url + COMPLETIONS, json=ask(20, stream=True), timeout=PATIENCE_S) as response:
            lines = [line for line in response.iter_lines() if line]
        assert len(lines) == 21
        assert lines[-1] == "data: [DONE]"
        wrong = post(url, model="other")
        assert (wrong.status_code, wrong.json()["error"]["type"]) == (404, "NotFoundError"), "the engine's own words"


def test_headers_of_one_connection_stay_there() -> None:
    kept = b"connection: x-private, keep-alive\r\nx-private: 1\r\nproxy-authenticate: no\r\nx-public: 1\r\n"
    sent = {"connection": "x-mine", "x-mine": "1", "te": "trailers", "authorization": "Bearer k", "x-other": "1"}
    with scripted(says(whole(b"{}", headers=kept))) as (server,), door(server.url) as (url, _):
        answer = httpx.post(url + COMPLETIONS, json={}, headers=sent, timeout=PATIENCE_S)
        assert "x-public" in answer.headers
        assert not {"x-private", "proxy-authenticate"} & set(answer.headers)
        head = server.requests[0].lower()
        assert b"authorization: bearer k\r\n" in head
        assert b"x-other: 1" in head
        assert b"x-mine" not in head
        assert b"te: trailers" not in head
        assert b"host: 127.0.0.1:%d\r\n" % server.listener.getsockname()[1] in head


# --- which instance


def test_the_least_loaded_instance_is_asked(slow: list[str]) -> None:
    with ExitStack() as stack:
        url, proxy = stack.enter_context(door(*slow))
        for expected in ([1, 0], [1, 1], [2, 1], [2, 2]):
            stack.enter_context(httpx.stream("POST", url + COMPLETIONS, json=ask(400, stream=True), timeout=PATIENCE_S))
            assert sorted(proxy.in_flight.values()) == sorted(expected)


def test_a_client_that_goes_ends_its_request(slow: list[str]) -> None:
    with door(slow[0]) as (url, proxy):

        def running() -> float:
            lines = httpx.get(f"{slow[0]}/metrics", timeout=PATIENCE_S).text.splitlines()
            return float(next(line for line in lines if line.startswith("vllm:num_requests_running")).split()[-1])

        with httpx.stream("POST", url + COMPLETIONS, json=ask(400, stream=True), timeout=PATIENCE_S):
            wait_until(lambda: running() > 0)
        wait_until(lambda: running() == 0)
        wait_until(lambda: set(proxy.in_flight.values()) == {0})


def test_a_dead_instance_is_passed_over_until_it_is_well(engines: list[str]) -> None:
    port, said = free_port(), []
    with door(f"http://127.0.0.1:{port}", engines[0], on_event=said.append) as (url, proxy):
        assert [post(url).status_code for _ in range(4)] == [200] * 4
        assert len(said) == 1, "found out once"
        with simulated(1000, port=port):
            wait_until(lambda: len(said) == 2)
            assert "answers again" in said[1]
            assert post(url).status_code == 200
            wait_until(lambda: set(proxy.in_flight.values()) == {0})


def test_what_got_no_answer_is_asked_elsewhere_once() -> None:
    with scripted(HANGS_UP, WELL) as (broken, well), door(broken.url, well.url) as (url, _):
        assert post(url).text == "well"
        assert [len(broken.requests), len(well.requests)] == [1, 1]


def test_a_request_that_breaks_two_engines_breaks_no_third() -> None:
    with scripted(HANGS_UP, HANGS_UP, WELL) as servers, door(*[server.url for server in servers]) as (url, _):
        answer = post(url)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bad_gateway")
        assert [len(server.requests) for server in servers] == [1, 1, 0]


def test_what_may_leave_something_behind_is_asked_once() -> None:
    with scripted(HANGS_UP, WELL) as (broken, well), door(broken.url, well.url) as (url, _):
        assert post(url, "/v1/responses").status_code == 502
        assert [len(broken.requests), len(well.requests)] == [1, 0]


def test_a_kept_connection_that_was_just_closed_is_nobodys_fault() -> None:
    """The second request meets a server that closes it as idle: asked again on a new one, no instance blamed."""
    again, said = [], []

    def script(connection: socket.socket) -> None:
        WELL(connection)
        again.append(connection.recv(1 << 16))

    with scripted(script) as (server,), door(server.url, on_event=said.append) as (url, _):
        assert [post(url).text for _ in range(2)] == ["well", "well"]
        assert len(server.requests) == 2
        assert again[0].startswith(b"POST"), "it was tried on the kept connection"
        assert said == []
        assert post(url, "/v1/responses").text == "well", "what may not be repeated gets a connection of its own"
        assert len(again) == 1


def test_nothing_is_asked_again_after_the_first_byte() -> None:
    begun = says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n")
    with scripted(begun, WELL) as (broken, well), door(broken.url, well.url) as (url, _):
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", url + COMPLETIONS, json=ask(), timeout=PATIENCE_S) as response,
        ):
            assert list(response.iter_raw()) == [b"data:"], "what came is passed on, and no end is made up"
        assert [len(broken.requests), len(well.requests)] == [1, 0]


def test_an_instance_that_does_not_serve_yet_is_passed_over() -> None:
    starting = says(whole(b"", b"503 Service Unavailable"))
    with scripted(starting, WELL) as (first, second), door(first.url, second.url) as (url, _):
        assert post(url).text == "well"
    with scripted(starting) as (only,), door(only.url) as (url, _):
        assert post(url).status_code == 503, "alone, its own answer is the best there is"


def test_instances_change_while_answers_are_under_way(engines: list[str], slow: list[str]) -> None:
    with (
        door(slow[0]) as (url, proxy),
        httpx.stream("POST", url + COMPLETIONS, json=ask(5, stream=True), timeout=PATIENCE_S) as response,
    ):
        proxy.set_instances(engines, 100)
        wait_until(lambda: list(proxy.in_flight) == engines)
        assert post(url, prompt=[1] * 100).status_code == 400
        assert len([line for line in response.iter_lines() if line]) == 6


# --- while none serves


def test_requests_wait_for_a_restart(engines: list[str]) -> None:
    with door(limits=ProxyLimits(queue_s=PATIENCE_S)) as (url, proxy), ThreadPoolExecutor() as pool:
        assert httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code == 503
        waiting = [pool.submit(post, url) for _ in range(3)]
        wait_until(lambda: proxy._instances._num_queued == 3)
        assert not any(one.done() for one in waiting)
        proxy.set_instances(engines[:1], None)
        assert [one.result().status_code for one in waiting] == [200] * 3


def test_not_for_ever_and_not_any_number(engines: list[str]) -> None:
    limits = ProxyLimits(queue_s=PATIENCE_S, max_queued=2)
    with door(limits=limits) as (url, proxy), ThreadPoolExecutor() as pool:
        waiting = [pool.submit(post, url) for _ in range(2)]
        wait_until(lambda: proxy._instances._num_queued == 2)
        answers = [post(url) for _ in range(2)]
        assert not any(one.done() for one in waiting), "two are refused at once, while two wait"
        proxy.set_instances(engines[:1], None)
        assert [one.result().status_code for one in waiting] == [200] * 2
    with door(limits=ProxyLimits(queue_s=0.3)) as (url, _):
        answers.append(post(url))
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)


# --- lengths


def refused(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "context_length_exceeded")
    return dict(error)


def test_token_ids_are_counted_exactly(engines: list[str]) -> None:
    """Up to one below the context: an answer has a token at least."""
    with door(engines[0], context_tokens=100) as (url, _):
        assert post(url, prompt=[1] * 99).status_code == 200
        error = refused(post(url, prompt=[1] * 100))
        assert error["param"] == "prompt"
        assert error["message"] == (
            "This model's maximum context length is 100 tokens. However, your prompt resulted in 100 tokens. Please "
            "reduce the length of the prompt."
        )
        refused(post(url, prompt=[[1] * 5, [1] * 100]))


def test_the_engines_own_refusal_has_the_same_form(engines: list[str]) -> None:
    """Whether max_tokens counts is the engine's to say; this one, as vLLM 0.8, says yes."""
    with door(engines[0]) as (url, _):
        error = refused(post(url, prompt=[1] * 500, num_tokens=13))
        assert error["message"].startswith(
            "This model's maximum context length is 512 tokens. However, you requested 513"
        )
        other = post(url, num_tokens=0)
        assert (other.status_code, other.json()["error"]["type"]) == (400, "BadRequestError"), "left as it is"


def test_text_is_counted_by_the_engines_tokenizer(engines: list[str]) -> None:
    """A word is a token of the simulated engine's, and much longer than a byte."""
    with door(engines[0], context_tokens=100) as (url, _):
        assert post(url, prompt="incomprehensibilities " * 99).status_code == 200
        refused(post(url, prompt="incomprehensibilities " * 100))
        chat = {"messages": [{"role": "user", "content": "incomprehensibilities " * 97}]}
        assert post(url, CHAT, **chat).status_code == 200
        chat["messages"][0]["content"] += "more"
        assert refused(post(url, CHAT, **chat))["param"] == "messages"


def conversation(num_turns: int) -> list[dict[str, str]]:
    """Of 10 tokens a turn: two roles and eight words."""
    turn = [{"role": "user", "content": "why " * 4}, {"role": "assistant", "content": "because " * 4}]
    return [{"role": "system", "content": "be brief"}, *turn * num_turns, {"role": "user", "content": "last " * 4}]


@pytest.mark.parametrize(("num_tokens", "kept"), [(4, 8), (40, 5), (60, 6)])
def test_the_oldest_turns_are_left_out_where_that_is_wanted(engines: list[str], num_tokens: int, kept: int) -> None:
    """Of 100 tokens 9 are system, last question and the answer's role; 60 for the answer are more than half, so 25."""
    with door(engines[0], context_tokens=100) as (url, proxy):
        refused(post(url, CHAT, messages=conversation(30), num_tokens=num_tokens))
        proxy.trim = "oldest"
        answer = post(url, CHAT, messages=conversation(30), num_tokens=num_tokens)
        assert answer.status_code == 200
        assert answer.json()["usage"]["prompt_tokens"] == 9 + kept * 10
        assert answer.headers["x-planner-trimmed"] == str((30 - kept) * 2)


def test_what_fits_stays_whole_and_what_cannot_is_refused(engines: list[str]) -> None:
    with door(engines[0], context_tokens=100, trim="oldest") as (url, _):
        assert "x-planner-trimmed" not in post(url, CHAT, messages=conversation(2)).headers
        whole = post(url, CHAT, messages=[{"role": "user", "content": "last " * 90}], num_tokens=50)
        assert whole.json()["usage"]["prompt_tokens"] == 92, "one turn that leaves some room"
        refused(post(url, CHAT, messages=[{"role": "user", "content": "last " * 200}]))


def test_what_cannot_be_judged_is_left_to_the_engine(engines: list[str]) -> None:
    with door(engines[0], context_tokens=100) as (url, _):
        answer = httpx.post(url + COMPLETIONS, content=b"no json", timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "BadRequestError")
        image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4000}}]
        assert post(url, CHAT, messages=[{"role": "user", "content": image}]).status_code == 200


# --- limits


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 404),
        ("POST", "/tokenize", 404),
        ("GET", "/", 404),
        ("POST", "/v1/load_lora_adapter", 404),
        ("GET", "/v1/../metrics", 404),
        ("GET", "/v1/%2e%2e/metrics", 404),
        ("GET", "http://example.com/metrics", 404),
        ("DELETE", "/v1/models", 405),
        ("PUT", "/v1/completions", 405),
    ],
)
def test_only_the_api_is_open(method: str, path: str, status: int) -> None:
    with scripted(WELL) as (server,), door(server.url) as (url, _):
        answer = raw(url, f"{method} {path} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 %d" % status)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
        assert server.requests == []


def test_further_paths_where_asked(engines: list[str]) -> None:
    with door(engines[0], also=("/metrics",)) as (url, _):
        assert "vllm:num_requests_running" in httpx.get(f"{url}/metrics", timeout=PATIENCE_S).text


def raw(url: str, request: bytes, timeout_s: float = PATIENCE_S) -> bytes:
    """All that comes until the server closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(1 << 16):
            answer += data
        return answer


def test_bodies_have_a_limit() -> None:
    with scripted(WELL, WELL) as (server, _), door(server.url, limits=ProxyLimits(max_body_bytes=1000)) as (url, _):
        assert httpx.post(url + COMPLETIONS, content=b"a" * 1000, timeout=PATIENCE_S).text == "well"
        assert httpx.post(url + COMPLETIONS, content=b"a" * 1001, timeout=PATIENCE_S).status_code == 413

        def parts() -> Iterator[bytes]:
            yield from [b"a" * 400] * 4

        assert httpx.post(url + COMPLETIONS, content=parts(), timeout=PATIENCE_S).status_code == 413, (
            "without a length too"
        )
        assert len(server.requests) == 1


def test_headers_have_a_limit() -> None:
    with scripted(WELL) as (server,), door(server.url, limits=ProxyLimits(max_header_bytes=2000)) as (url, _):
        begin = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n"
        assert raw(url, begin + b"x: " + b"a" * 2000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")
        assert raw(url, begin + b"x: " + b"a" * 3000).startswith(b"HTTP/1.1 431"), "also those that never end"
        assert server.requests == []


def test_slow_requests_are_ended() -> None:
    with scripted(WELL) as (server,), door(server.url, limits=ProxyLimits(header_s=0.3)) as (url, _):
        assert raw(url, b"") == b""
        assert raw(url, b"POST /v1/completions HTTP/1.1\r\nhost:") == b""
        assert server.requests == []
    with scripted(WELL) as (server,), door(server.url, limits=ProxyLimits(body_s=0.3)) as (url, _):
        half = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nfive"
        assert raw(url, half).startswith(b"HTTP/1.1 408")
        assert server.requests == []


def test_silent_instances_are_given_up() -> None:
    silent = lambda connection: connection.recv(1)  # noqa: E731
    limits = ProxyLimits(first_byte_s=0.5, queue_s=0.5)
    with scripted(silent) as (server,), door(server.url, limits=limits) as (url, _):
        assert post(url, "/v1/responses").status_code == 502


def test_a_slow_client_holds_up_its_engine_and_not_our_memory() -> None:
    size, sent = 64 << 20, []

    def script(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        block = bytes(1 << 16)
        for _ in range(size // len(block)):
            connection.sendall(block)
            sent.append(len(block))

    with (
        scripted(script) as (server,),
        door(server.url) as (url, _),
        httpx.stream("POST", url + COMPLETIONS, json=ask(), timeout=PATIENCE_S) as response,
    ):
        held = -1
        while held != sum(sent):  # until nothing more is taken; all of it would be in a moment
            held = sum(sent)
            time.sleep(1)
        assert 0 < held < size / 2, "the engine waits for the client"
        assert sum(map(len, response.iter_raw())) == size


@pytest.mark.parametrize(
    "url",
    ["http://10.0.0.1:8000", "http://example.com:80", "https://127.0.0.1:8000", "http://127.0.0.1", "127.0.0.1:1"],
)
def test_it_is_no_open_relay(url: str) -> None:
    with pytest.raises(InputError, match="this machine only"):
        Proxy([url])


def test_a_taken_port_and_a_missing_library_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackendError, match=f"127.0.0.1:{port}: cannot listen there"):
            serve_proxy(Proxy([]), "127.0.0.1", port)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'vllm-planner\[server\]'"):
        serve_proxy(Proxy([]), "127.0.0.1", 0)


def test_a_guards_door_refuses_what_the_rung_is_too_short_for(engines: list[str]) -> None:
    """`planner guard --proxy`: the context is that of the lowest rung among the containers, also after a step."""
    ports = [int(url.rpartition(":")[2]) for url in engines]
    containers = [
        ContainerRun(image="", name=f"c{port}", command=(), host_ip="127.0.0.1", host_port=port, container_port=port)
        for port in ports
    ]
    rungs = [Rung(name=str(size), settings=EngineConfig(), max_model_len=size) for size in (64, 16)]
    ladder = Ladder(name="door", version="0.8.5", containers=containers, rungs=rungs)
    keepers: Any = [SimpleNamespace(state=State()) for _ in containers]
    port = free_port()
    with guard_loop._opened(guard_loop.Door(port=port, trim=None), ladder, keepers):
        url = f"http://127.0.0.1:{port}"
        assert post(url, prompt=[1] * 32).status_code == 200
        keepers[1].state = replace(State(), rung=1)
        keepers[1].on_rung()
        refused = post(url, prompt=[1] * 32)
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"
        assert post(url).status_code == 200

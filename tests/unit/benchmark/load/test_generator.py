"""The load generator against real HTTP servers on loopback, scripted answer by answer."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
import uvloop

from planner.benchmark.client.access import Access
from planner.benchmark.client.connections import HTTPX_ERRORS, Connections, _Connection, error_kind
from planner.benchmark.client.events import StreamedAnswer as WireAnswer
from planner.benchmark.client.events import _Usage, error_message
from planner.benchmark.load import generator as loadgen
from planner.benchmark.load.send import send_load
from planner.benchmark.load.target import Target, prompt_text, target_of
from planner.benchmark.load.watcher import STOPPED, SilentWatcher, Watcher
from planner.benchmark.records import RequestRecord
from planner.workload.prompts import prompt_token_ids
from planner.workload.shapes import ClosedLoop, OpenLoop, Replay
from planner.workload.workload import RequestPlan, Workload, plan_requests

VOCAB_SIZE = 1000
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSE = HEAD + b"connection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def watcher(**methods: Any) -> Watcher:
    """A watcher with these methods, and silent in the others."""
    made = SilentWatcher()
    for name, method in methods.items():
        assert hasattr(made, name)
        setattr(made, name, method)
    return made


def run_load(
    base_urls: list[str], model: str, workload: Workload, vocab_size: int, plans: Any, **methods: Any
) -> list[RequestRecord]:
    """`send_load` of a workload's closed loop, with the methods of a watcher."""
    target = target_of(base_urls, model, workload, vocab_size)
    return send_load(target, plans, ClosedLoop(workload.concurrency), watcher(**methods)).records


def event(content: Any) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def token(text: str = " a", finish_reason: str | None = None) -> bytes:
    return event({"id": "cmpl-1", "choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]})


def usage(num_prompt: int, num_completion: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": num_prompt, "completion_tokens": num_completion}})


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b"")


class Exchange:
    """One request as the server sees it, and the wire to answer on."""

    def __init__(self, server: Server, head: bytes, content: bytes, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.path = head.split(b" ")[1].decode()
        self.head = head.lower()
        self.body: dict[str, Any] = json.loads(content)
        self.writer = writer

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def complete(self) -> None:
        """The answer vLLM gives."""
        num_prompt, num_tokens = len(self.body["prompt"]), self.body["max_tokens"]
        tokens = [chunk(token(finish_reason="length" if i == num_tokens - 1 else None)) for i in range(num_tokens)]
        ending = chunk(usage(num_prompt, num_tokens)) + chunk(DONE) + END
        self.server.leave()
        await self.send(CHUNKED, *tokens, ending)


Answer = Callable[[Exchange], Awaitable[None]]


class Server:
    """An HTTP server in a thread. `answer` writes the answer; returning None keeps the connection."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.exchanges: list[Exchange] = []
        self.num_connections = 0
        self.num_in_flight = 0
        self.most_in_flight = 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Server:
        self.thread.start()
        self.listening = self.call(asyncio.start_server(self.serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        async def close() -> None:
            self.listening.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.call(close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
                content = await reader.readexactly(int(length.split(b":")[1]))
                self.num_in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.num_in_flight)
                exchange = Exchange(self, head, content, writer)
                self.exchanges.append(exchange)
                await self.answer(exchange)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def leave(self) -> None:
        """The request is about to be over: before the last bytes, so the client cannot be ahead of the count."""
        self.num_in_flight -= 1


def workload(**changes: Any) -> Workload:
    fields: dict[str, Any] = {"concurrency": 1, "num_requests": 1, "input_tokens": 8, "output_tokens": 3}
    return Workload(**{**fields, "request_timeout": 30.0, **changes})


def load(answer: Answer, **changes: Any) -> tuple[list[RequestRecord], Server]:
    asked = workload(**changes)
    with Server(answer) as server:
        return run_load([server.url], "model", asked, VOCAB_SIZE, plan_requests(asked)), server


def one(answer: Answer, **changes: Any) -> RequestRecord:
    (record,), _ = load(answer, **changes)
    return record


def wire(*pieces: bytes) -> Answer:
    """Send these bytes and close."""

    async def answer(exchange: Exchange) -> None:
        await exchange.send(*pieces)
        exchange.writer.close()

    return answer


def stream(*events: bytes) -> Answer:
    """A well-formed chunked answer of these events."""
    return wire(CHUNKED, *map(chunk, events), END)


@pytest.fixture(autouse=True)
def _no_back_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "_BACK_OFF_S", 0.0)


# ---------------------------------------------------------------- what is sent, what is recorded


def test_on_the_loop_that_rays_workers_have_beside_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "run", uvloop.run)
    (record,), _ = load(Exchange.complete)
    assert record.error is None
    assert (record.output_tokens, len(record.chunk_s)) == (3, 3)


def test_a_complete_answer() -> None:
    (record,), server = load(Exchange.complete, seed=5)
    assert record.error is None
    assert (record.input_tokens, record.output_tokens, record.finish_reason) == (8, 3, "length")
    assert len(record.chunk_s) == 3
    assert record.started_s < record.chunk_s[0] <= record.chunk_s[1] <= record.chunk_s[2] == record.finished_s
    plan = plan_requests(workload(seed=5))[0]
    assert server.exchanges[0].path == "/v1/completions"
    assert server.exchanges[0].body == {
        "model": "model",
        "prompt": prompt_token_ids(plan, VOCAB_SIZE, 5),
        "max_tokens": 3,
        "ignore_eos": True,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_chat_counts_tokens_not_the_role() -> None:
    async def answer(exchange: Exchange) -> None:
        def delta(**content: Any) -> bytes:
            return event({"choices": [{"delta": content, "finish_reason": None}]})

        events = [
            delta(role="assistant", content=""),
            delta(content="a"),
            delta(content=""),
            delta(reasoning_content="b"),
            usage(23, 3),
            DONE,
        ]
        await stream(*events)(exchange)

    (record,), server = load(answer, endpoint="chat", input_tokens=30)
    assert (record.error, len(record.chunk_s), record.input_tokens, record.output_tokens) == (None, 3, 23, 3)
    assert server.exchanges[0].path == "/v1/chat/completions"
    assert "prompt" not in server.exchanges[0].body
    (message,) = server.exchanges[0].body["messages"]
    assert message["role"] == "user"
    assert len(message["content"].split()) == 20  # a chat template adds about ten tokens


def test_chat_texts_share_the_prefix_alone() -> None:
    first, second = (
        prompt_text(RequestPlan(index=i, input_tokens=60, output_tokens=1, shared_prefix_tokens=20), seed=1).split()
        for i in (0, 1)
    )
    assert len(first) == len(second) == 50
    assert first[:20] == second[:20]
    assert first[20:] != second[20:]


def test_records_come_in_the_plans_order_and_progress_is_told() -> None:
    asked = workload(concurrency=3, num_requests=7)
    progress: list[tuple[int, int]] = []
    with Server(Exchange.complete) as server:
        records = run_load(
            [server.url + "/"],
            "model",
            asked,
            VOCAB_SIZE,
            plan_requests(asked),
            on_progress=lambda *p: progress.append(p),
        )
        assert server.num_connections == 3  # kept over requests
    assert [record.index for record in records] == list(range(7))
    assert progress == [(i, 7) for i in range(1, 8)]
    assert all(record.error is None for record in records)


def test_more_workers_than_plans_and_no_plans() -> None:
    asked = workload(concurrency=64, num_requests=2)
    with Server(Exchange.complete) as server:
        assert len(run_load([server.url], "model", asked, VOCAB_SIZE, plan_requests(asked))) == 2
        assert run_load([server.url], "model", asked, VOCAB_SIZE, []) == []


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert one(Exchange.complete).error is None


# ---------------------------------------------------------------- the stream

EVENTS = (token(), token(""), token("\u00e9"), usage(8, 2), DONE)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([CHUNKED, *map(chunk, EVENTS), END], id="an event a chunk"),
        pytest.param([CHUNKED + b"".join(map(chunk, EVENTS)) + END], id="all in one read"),
        pytest.param([CHUNKED, chunk(b"".join(EVENTS)), END], id="all in one chunk"),
        pytest.param([CHUNKED, *[chunk(bytes([b])) for b in b"".join(EVENTS)], END], id="a byte a chunk"),
        pytest.param([bytes([b]) for b in CHUNKED + b"".join(map(chunk, EVENTS)) + END], id="a byte a read"),
        pytest.param([CHUNKED, *map(chunk, EVENTS), b"0\r\nx-trailer: 1\r\n", b"\r\n"], id="trailers"),
        pytest.param([b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED, *map(chunk, EVENTS), END], id="continue first"),
        pytest.param([UNTIL_CLOSE, *EVENTS], id="until the end"),
        pytest.param([HEAD + b"Content-Length: %d\r\n\r\n" % len(b"".join(EVENTS)), *EVENTS], id="counted"),
        pytest.param([CHUNKED, *[chunk(e.replace(b"\n", b"\r\n")) for e in EVENTS], END], id="CRLF"),
        pytest.param([CHUNKED, chunk(b": ping\n\n"), *[chunk(b"event: x\n" + e) for e in EVENTS], END], id="fields"),
    ],
)
def test_wherever_the_bytes_are_cut(pieces: list[bytes]) -> None:
    record = one(wire(*pieces))
    assert record.error is None
    assert len(record.chunk_s) == 3  # an empty text is a token too
    assert (record.input_tokens, record.output_tokens) == (8, 2)  # usage counts, not the chunks


def test_every_cut_of_the_bytes_reads_the_same() -> None:
    whole = CHUNKED + b"".join(map(chunk, EVENTS)) + END

    async def read(cut: int) -> tuple[int, bool, Any]:
        answer = WireAnswer()
        connection = _Connection(Connections())
        connection.request = httpx.Request("POST", "http://x/", extensions={"on_data": answer.feed})
        connection.ended = asyncio.get_running_loop().create_future()
        for piece in (whole[:cut], whole[cut:]):
            if piece:
                connection.data_received(piece)
        assert connection.ended.result().status_code == 200
        return len(answer.chunk_s), answer.done, answer.usage

    async def read_all() -> list[tuple[int, bool, Any]]:
        return [await read(cut) for cut in range(len(whole))]

    assert all(found == (3, True, _Usage(8, 2)) for found in asyncio.run(read_all()))


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "body",
    [
        b'{"object": "error", "message": "too\\nlong", "type": "BadRequestError", "code": 400}',
        b'{"error": {"message": "too long", "type": "BadRequestError", "code": 400}}',
        b'{"detail": "too long"}',
        b"too long",
    ],
)
def test_http_errors_carry_the_message(body: bytes) -> None:
    head = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n" % len(body)
    record = one(wire(head, body))
    assert record.error == "http 400: too long"
    assert (record.chunk_s, record.output_tokens) == ((), 0)


def test_a_prompt_cannot_have_more_tokens_than_bytes() -> None:
    record = one(stream(*[token()] * 3, usage(2**31 - 1, 3), DONE))
    assert record.error is not None
    assert record.error.startswith("false usage: a prompt of 2147483647 tokens, where at most ")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(wire(CHUNKED, chunk(token()), chunk(token())[:9]), "cut stream", id="in a chunk"),
        pytest.param(wire(CHUNKED, chunk(token())), "cut stream", id="between chunks"),
        pytest.param(wire(UNTIL_CLOSE, token(), usage(8, 1)), "cut stream", id="no DONE"),
        pytest.param(wire(HEAD[:20]), "cut stream", id="in the head"),
        pytest.param(wire(CHUNKED, b"zz\r\n"), "cut stream", id="not HTTP"),
        pytest.param(wire(b"nonsense\r\n\r\n"), "cut stream", id="not HTTP either"),
        pytest.param(wire(), "connection", id="closed at once"),
        pytest.param(stream(token(), DONE), "no usage", id="no usage"),
        pytest.param(
            stream(token(), event({"choices": [], "usage": {"prompt_tokens": 8}}), DONE), "no usage", id="half"
        ),
        pytest.param(stream(usage(8, 0), DONE), "no tokens", id="no tokens"),
        pytest.param(
            stream(*[token()] * 3, usage(8, 2**31 - 1), DONE),
            "false usage: 2147483647 tokens in 3 events, of 3 asked for",
            id="more than asked for",
        ),
        pytest.param(
            stream(*[token()] * 8, usage(8, 1), DONE), "false usage: 1 tokens in 8 events, of 3 asked for", id="fewer"
        ),
        pytest.param(stream(b"data: {oops\n\n"), "bad event", id="bad JSON"),
        pytest.param(stream(b"data: [1]\n\n"), "bad event", id="not an object"),
        pytest.param(
            stream(token(), event({"error": {"message": "engine is dead", "code": 500}}), DONE),
            "stream error: engine is dead",
            id="error event",
        ),
    ],
)
def test_a_failure_is_a_record(answer: Answer, error: str) -> None:
    record = one(answer)
    assert record.error == error
    assert record.input_tokens == 8
    assert record.finished_s >= record.started_s


def test_without_usage_the_chunks_are_counted_but_the_record_says_so() -> None:
    record = one(stream(token(), token(), DONE))
    assert (record.error, record.output_tokens) == ("no usage", 2)


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        asked = workload(concurrency=2, num_requests=3)
        records = run_load([url], "model", asked, VOCAB_SIZE, plan_requests(asked))
    assert [record.error for record in records] == ["connection"] * 3


async def never(exchange: Exchange) -> None:  # noqa: ARG001
    await asyncio.sleep(3600)


@pytest.mark.parametrize("begun", [False, True])
def test_a_request_has_a_deadline(begun: bool) -> None:
    async def answer(exchange: Exchange) -> None:
        if begun:
            await exchange.send(CHUNKED, chunk(token()))
        await never(exchange)

    assert one(answer, request_timeout=0.3).error == "timeout"


def test_one_failure_leaves_the_others_alone() -> None:
    async def answer(exchange: Exchange) -> None:
        if len(exchange.server.exchanges) == 2:
            await wire(CHUNKED, chunk(token()))(exchange)
        else:
            await exchange.complete()

    records, _ = load(answer, num_requests=4)
    assert [record.error for record in records] == [None, "cut stream", None, None]


def test_a_kept_connection_that_the_server_closed_is_made_anew() -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.complete()
        exchange.writer.close()  # without having announced it

    records, server = load(answer, num_requests=5)
    assert [record.error for record in records] == [None] * 5
    assert server.num_connections == 5


# ---------------------------------------------------------------- concurrency


def test_concurrency_is_reached_never_exceeded_and_even_over_servers() -> None:
    """Nobody is answered before all eight are in flight, so every wave shows how they are spread."""
    concurrency, num_waves = 8, 4
    spreads: list[list[int]] = []
    waiting: list[Exchange] = []
    lock = threading.Lock()

    async def answer(exchange: Exchange) -> None:
        with lock:
            waiting.append(exchange)
            full = len(waiting) == concurrency
            if full:
                spreads.append(sorted(server.num_in_flight for server in servers))
                released, waiting[:] = list(waiting), []
        if full:
            await asyncio.gather(*map(complete_on_its_loop, released))
        else:
            await asyncio.wait_for(exchange_done(exchange), 30)

    done: dict[Exchange, asyncio.Event] = {}

    async def exchange_done(exchange: Exchange) -> None:
        await done.setdefault(exchange, asyncio.Event()).wait()

    async def complete_on_its_loop(exchange: Exchange) -> None:
        async def complete() -> None:
            await exchange.complete()
            done.setdefault(exchange, asyncio.Event()).set()

        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(complete(), exchange.server.loop))

    asked = workload(concurrency=concurrency, num_requests=concurrency * num_waves)
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(answer)) for _ in range(2)]
        urls = [server.url for server in servers]
        records = run_load(urls, "model", asked, VOCAB_SIZE, plan_requests(asked))
        assert [record.error for record in records] == [None] * len(records)
        assert spreads == [[4, 4]] * num_waves
        assert [server.most_in_flight for server in servers] == [4, 4]


# ---------------------------------------------------------------- ending early


def test_stop_ends_what_is_in_flight() -> None:
    asked = workload(concurrency=2, num_requests=5, request_timeout=600.0)
    with Server(never) as server:
        records = run_load(
            [server.url], "model", asked, VOCAB_SIZE, plan_requests(asked), stop_reason=lambda _: STOPPED
        )
    assert [record.error for record in records] == ["stopped"] * 5


def test_a_dead_engine_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = workload(concurrency=1, num_requests=100, request_timeout=600.0)
    monkeypatch.setattr(loadgen, "_BACK_OFF_S", 0.05)  # 98 refused connections are 5 s, a dead engine is seen before
    died = threading.Event()

    async def answer(exchange: Exchange) -> None:
        if len(exchange.server.exchanges) <= 2:
            await exchange.complete()
        elif died.is_set():
            await never(exchange)
        else:
            died.set()
            exchange.writer.close()
            exchange.server.listening.close()

    with Server(answer) as server:
        records = run_load(
            [server.url], "model", asked, VOCAB_SIZE, plan_requests(asked), is_alive=lambda: not died.is_set()
        )
    errors = [record.error for record in records]
    assert errors[:3] == [None, None, "connection"]
    assert set(errors[3:]) <= {"connection", "engine died"}
    assert errors[-1] == "engine died"


def test_a_broken_callback_is_not_swallowed() -> None:
    def fail(done: int, total: int) -> None:  # noqa: ARG001
        raise ZeroDivisionError

    asked = workload(concurrency=2, num_requests=4)
    with Server(Exchange.complete) as server, pytest.raises(ZeroDivisionError):
        run_load([server.url], "model", asked, VOCAB_SIZE, plan_requests(asked), on_progress=fail)


# ---------------------------------------------------------------- shapes


def target(url: str, **changes: Any) -> Target:
    return Target(**{"base_urls": (url,), "model": "model", "vocab_size": VOCAB_SIZE, "timeout_s": 30.0, **changes})


def plans(count: int, **changes: Any) -> list[RequestPlan]:
    return [RequestPlan(i, 8, 3, 0, **changes) for i in range(count)]


def test_an_open_loop_sends_when_due_and_not_before() -> None:
    traced = [replace(plan, due_s=2 * due_s) for plan, due_s in zip(plans(4), (0.0, 0.05, 0.1, 0.3), strict=True)]
    with Server(Exchange.complete) as server:
        load = send_load(target(server.url), traced, Replay(speed=2.0))
    due = [record.due_s for record in load.records]
    assert [b - a for a, b in pairwise(due)] == pytest.approx([0.05, 0.05, 0.2])  # type: ignore[type-var]
    assert all(record.started_s >= record.due_s for record in load.records)  # type: ignore[operator]
    assert [record.error for record in load.records] == [None] * 4


def test_an_open_loop_does_not_wait_for_answers() -> None:
    """Nobody is answered before all are there: a closed loop of fewer would hang."""
    waiting: list[Exchange] = []

    async def answer(exchange: Exchange) -> None:
        waiting.append(exchange)
        while len(waiting) < 5:
            await asyncio.sleep(0.01)
        await exchange.complete()

    with Server(answer) as server:
        load = send_load(target(server.url), plans(5), OpenLoop(1000.0))
    assert [record.error for record in load.records] == [None] * 5


def test_an_open_loop_with_a_limit_says_how_long_requests_waited_in_the_client() -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(0.1)
        await exchange.complete()

    with Server(answer) as server:
        load = send_load(target(server.url), plans(3), OpenLoop(1e6, max_concurrency=1))
        assert server.most_in_flight == 1
    assert max(record.queue_s for record in load.records) >= 0.19
    assert load.client.dispatch_late_max_s >= 0.19


def test_turns_of_a_conversation_follow_each_other() -> None:
    order: list[int] = []

    async def answer(exchange: Exchange) -> None:
        order.append(len(exchange.body["prompt"]))
        await asyncio.sleep(0.02)
        await exchange.complete()

    talk = [RequestPlan(i, 8 + i, 3, 0, conversation=i // 3) for i in range(6)]
    with Server(answer) as server:
        load = send_load(target(server.url), talk, ClosedLoop(4))
        assert server.most_in_flight == 2, "two conversations, one turn each at a time"
    assert [length for length in order if length < 11] == [8, 9, 10]
    assert [length for length in order if length >= 11] == [11, 12, 13]
    assert [record.index for record in load.records] == list(range(6))


def test_keys_fields_and_text() -> None:
    with Server(Exchange.complete) as server:
        asked = target(server.url, access=Access(api_key="sk-1"), fields={"top_p": 0.5}, keeps_text=True)
        (record,) = send_load(asked, plans(1), ClosedLoop(1)).records
        (exchange,) = server.exchanges
    assert b"authorization: bearer sk-1" in exchange.head
    assert exchange.body["top_p"] == 0.5
    assert "ignore_eos" not in exchange.body
    assert record.text == " a a a"


def test_prompts_that_are_given_or_counted_are_sent_as_they_are() -> None:
    with Server(stream(token(), usage(2, 1), DONE)) as server:
        send_load(target(server.url, prompts={1: "counted"}), [*plans(1, prompt="given"), RequestPlan(1, 8, 3, 0)],
                  ClosedLoop(1))  # fmt: skip
        assert [exchange.body["prompt"] for exchange in server.exchanges] == ["given", "counted"]


def test_the_client_measures_itself() -> None:
    with Server(Exchange.complete) as server:
        client = send_load(target(server.url), plans(20), ClosedLoop(4)).client
    assert client.num_chunks == 60
    assert client.bytes_sent > 20 * 100
    assert client.bytes_received > client.num_chunks * 50
    assert client.cpu_s > 0
    assert 0 <= client.loop_lag_mean_s <= client.loop_lag_max_s
    assert 0 <= client.dispatch_late_mean_s <= client.dispatch_late_max_s <= client.wall_s


def test_each_record_is_told() -> None:
    seen: list[int] = []
    with Server(Exchange.complete) as server:
        following = watcher(on_record=lambda record: seen.append(record.index))
        send_load(target(server.url), plans(5), ClosedLoop(2), following)
    assert sorted(seen) == [0, 1, 2, 3, 4]


# ---------------------------------------------------------------- the door for errors

HTTPX_EXCEPTIONS = sorted(
    {kind for kind in vars(httpx).values() if isinstance(kind, type) and issubclass(kind, Exception)},
    key=lambda kind: kind.__name__,
)


def test_httpx_has_the_exceptions_this_walks() -> None:
    assert len(HTTPX_EXCEPTIONS) > 25


@pytest.mark.parametrize("kind", HTTPX_EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_httpx_exception_is_caught_and_mapped(kind: type[Exception]) -> None:
    assert issubclass(kind, HTTPX_ERRORS)
    found = error_kind(kind.__new__(kind))
    expected = "timeout" if issubclass(kind, httpx.TimeoutException) else None
    if issubclass(kind, httpx.NetworkError | httpx.ProxyError):
        expected = "connection"
    elif kind in (httpx.RemoteProtocolError, httpx.DecodingError):
        expected = "cut stream"
    assert found == (expected or f"client error: {kind.__name__}")


def test_other_errors_of_a_request_are_mapped() -> None:
    assert error_kind(TimeoutError()) == "timeout"
    assert error_kind(ConnectionResetError()) == "connection"
    assert error_kind(msgspec.DecodeError()) == "bad event"


def test_messages_are_one_short_line() -> None:
    assert error_message(b"{}") == "{}"
    assert error_message(b"\xff") == "\ufffd"

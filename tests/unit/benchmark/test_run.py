"""`planner bench` against a scripted server on loopback: what it asks, what it says, what it writes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.benchmark.ask import BenchAsk, workload_of
from planner.benchmark.run import BenchOutcome, run_bench
from planner.benchmark.session import plans_of
from planner.benchmark.slo import parse_slo
from planner.cli.main import app
from planner.errors import BenchmarkError, ClientBottleneck, InputError
from planner.trials.racing import Repeats
from planner.tuning.measure import live
from planner.workload.shapes import ClosedLoop, OpenLoop, Replay, shape_of
from tests.places import ROOT

NOW = datetime(2026, 1, 2, 3, 4, 5)
VOCAB_SIZE = 5000


class FakeServer(ThreadingHTTPServer):
    """An OpenAI server whose answers are scripted by `answer(body, number)`: (finish reason, tokens) or an action."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[dict[str, Any], int], Any] = lambda body, _: ("length", body["max_tokens"])
        self.takes_ids = True
        self.max_model_len: int | None = 100_000
        self.has_tokenizer = True
        self.refuses: tuple[str, ...] = ()
        self.metrics_page = ""
        self.is_dead = False
        self.api_key: str | None = None
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the script."""

    @property
    def measured(self) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body.get("stream")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def reply(self, content: Any, status: int = 200) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        server = self.server
        server.headers.append(dict(self.headers))
        if server.is_dead:
            self.close_connection = True
            return
        if server.api_key and self.headers.get("authorization") != f"Bearer {server.api_key}":
            self.reply({"error": "key"}, 401)
        elif self.path == "/v1/models":
            self.reply({"data": [{"id": "tiny", "max_model_len": server.max_model_len}]})
        elif self.path == "/version":
            self.reply({"version": "0.32.0"})
        elif self.path == "/metrics" and server.metrics_page:
            self.reply(server.metrics_page)
        else:
            self.reply({}, 404)

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body.get("prompt") or " ".join(m["content"] for m in body.get("messages", []))
        if self.path == "/tokenize":
            extra = 7 if "messages" in body else 1  # a template, a BOS
            text = prompt if isinstance(prompt, str) else " ".join(prompt)
            self.reply(
                {"count": len(text.split()) + extra} if server.has_tokenizer else {},
                200 if server.has_tokenizer else 404,
            )
            return
        with server.lock:
            server.bodies.append(body)
            server.paths.append(self.path)
            number = len(server.measured)
        if refused := [name for name in server.refuses if name in body]:
            self.reply({"error": {"message": f"unknown field {refused[0]}"}}, 400)
        elif isinstance(prompt, list) and (not server.takes_ids or max(prompt) >= VOCAB_SIZE):
            self.reply({"error": {"message": "Token id is out of vocabulary"}}, 400)
        elif not body.get("stream"):
            self.reply({"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        else:
            self.stream(prompt, server.answer(body, number))

    def stream(self, prompt: Any, script: Any) -> None:
        if callable(script):
            script(self)
            return
        finish_reason, num_tokens = script
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for i in range(num_tokens):
            self.event(
                {
                    "choices": [
                        {"index": 0, "text": "a", "finish_reason": finish_reason if i == num_tokens - 1 else None}
                    ]
                }
            )
        num_prompt = len(prompt.split() if isinstance(prompt, str) else prompt)
        self.event({"choices": [], "usage": {"prompt_tokens": num_prompt, "completion_tokens": num_tokens}})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, content: Any) -> None:
        self.chunk(b"data: " + json.dumps(content).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield fake
        fake.shutdown()
        thread.join()


@pytest.fixture
def workload_file(tmp_path: Path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nconcurrency: 2\nnum_requests: 8\ninput_tokens: {low: 10, high: 20}\noutput_tokens: 4\n"
    )
    return str(path)


def ask(server: FakeServer, **changes: Any) -> BenchAsk:
    return BenchAsk(**{"url": server.url, "repeats": 1, **changes})


def run(asked: BenchAsk) -> BenchOutcome:
    return run_bench(asked, lambda *_: None, lambda _: None, NOW)


# ---------------------------------------------------------------- what is asked of the server


def test_token_ids_of_the_planned_lengths_within_the_servers_vocabulary(server: FakeServer, workload_file: str) -> None:
    run(ask(server, workload=workload_file))
    prompts = [body["prompt"] for body in server.measured]
    assert len(prompts) == 2 + 8  # warm-up as wide as the load
    assert all(10 <= len(prompt) <= 20 and max(prompt) < VOCAB_SIZE for prompt in prompts)
    assert len({tuple(prompt) for prompt in prompts}) == 10, "never the same prompt twice"
    assert all(body["ignore_eos"] and body["stream_options"] == {"include_usage": True} for body in server.measured)


def test_repeats_have_prompts_of_their_own_and_another_run_the_same(server: FakeServer, workload_file: str) -> None:
    run(ask(server, workload=workload_file, repeats=3))
    first = sorted(tuple(body["prompt"]) for body in server.measured)
    assert len(set(first)) == 2 + 3 * 8
    server.bodies.clear()
    run(ask(server, workload=workload_file, repeats=3))
    assert sorted(tuple(body["prompt"]) for body in server.measured) == first


def test_a_server_without_token_ids_gets_counted_text(server: FakeServer, workload_file: str) -> None:
    server.takes_ids = False
    run(ask(server, workload=workload_file, input_tokens=12))
    assert {len(body["prompt"].split()) for body in server.measured} == {11}, "11 words and a BOS are 12 tokens"


def test_a_server_that_counts_nothing_gets_words(server: FakeServer, workload_file: str) -> None:
    server.takes_ids = server.has_tokenizer = False
    run(ask(server, workload=workload_file, input_tokens=12))
    assert {len(body["prompt"].split()) for body in server.measured} == {12}


def test_chat_counts_the_template(server: FakeServer, workload_file: str) -> None:
    run(ask(server, workload=workload_file, endpoint="chat", input_tokens=20))
    assert {len(body["messages"][0]["content"].split()) for body in server.measured} == {13}
    assert set(server.paths) == {"/v1/chat/completions"}


def test_ignore_eos_is_left_out_where_it_is_refused(server: FakeServer, workload_file: str) -> None:
    server.refuses = ("ignore_eos",)
    outcome = run(ask(server, workload=workload_file))
    assert outcome.documents[0]["completed"] == 8
    assert not any("ignore_eos" in body for body in server.measured)


def test_the_api_key_is_sent_and_never_written(
    server: FakeServer, workload_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.api_key = "sk-secret"
    with pytest.raises(BenchmarkError, match="--api-key-env"):
        run(ask(server, workload=workload_file))
    monkeypatch.setenv("MY_KEY", "sk-secret")
    outcome = run(ask(server, workload=workload_file, api_key_env="MY_KEY"))
    assert outcome.documents[0]["completed"] == 8
    assert "sk-secret" not in json.dumps(outcome.documents)
    with pytest.raises(InputError, match="the environment has no NO_SUCH_KEY"):
        run(ask(server, workload=workload_file, api_key_env="NO_SUCH_KEY"))


def test_what_the_server_cannot_take_is_said_before_it_is_sent(server: FakeServer, workload_file: str) -> None:
    server.max_model_len = 16
    with pytest.raises(InputError, match=r"longest request has .* tokens and the server takes 16"):
        run(ask(server, workload=workload_file))
    assert server.measured == []


def test_nobody_answers() -> None:
    with pytest.raises(BenchmarkError, match="does not answer"):
        run(BenchAsk(url="http://127.0.0.1:9"))


def test_all_requests_fail(server: FakeServer, workload_file: str) -> None:
    server.answer = lambda _body, _number: lambda handler: handler.reply({"error": {"message": "overloaded"}}, 503)
    with pytest.raises(BenchmarkError, match="none of 8 requests completed; most often: http 503: overloaded"):
        run(ask(server, workload=workload_file))


# ---------------------------------------------------------------- the document

VLLM_KEYS = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate",
    "burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "max_output_tokens_per_s",
    "max_concurrent_requests", "rtfx", "latencies", "queue_times",
    *(f"{s}_{m}_ms" for m in ("ttft", "tpot", "itl", "e2el") for s in ("mean", "median", "std", "p50", "p90", "p95")),
    *(f"p99_{m}_ms" for m in ("ttft", "tpot", "itl", "e2el")),
}  # fmt: skip
VLLM_DETAILS = {
    "input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors",
}  # fmt: skip


def test_the_document_has_vllms_keys_and_the_sums_are_right(server: FakeServer, workload_file: str) -> None:
    outcome = run(ask(server, workload=workload_file, repeats=3, slo="ttft_p95=60s", label="mine"))
    (found,) = outcome.documents
    assert set(found) >= VLLM_KEYS
    assert not VLLM_DETAILS & set(found)
    json.dumps(found, allow_nan=False)
    assert (found["num_prompts"], found["completed"], found["failed"]) == (24, 24, 0)
    assert (found["date"], found["label"], found["model_id"]) == ("20260102-030405", "mine", "tiny")
    assert (found["request_rate"], found["max_concurrency"]) == ("inf", 2)
    assert found["total_output_tokens"] == 24 * 4
    assert found["output_throughput"] == pytest.approx(96 / found["duration"])
    assert found["request_goodput"] == pytest.approx(found["request_throughput"])
    assert found["slo_attainment"] == 1.0
    assert found["server_version"] == "0.32.0"
    assert found["intervals"]["output_throughput"]["method"] == "t over 3 repeats"
    assert len(found["repeats"]) == 3
    assert found["client_bytes_received"] > 0
    assert found["client_cpu_fraction"] > 0


def test_details_have_one_entry_a_request(server: FakeServer, workload_file: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Any:
        return (lambda handler: handler.reply({"detail": "no"}, 500)) if number == 5 else ("length", body["max_tokens"])

    server.answer = answer
    (found,) = run(ask(server, workload=workload_file, detailed=True)).documents
    assert set(found) >= VLLM_DETAILS
    assert all(len(found[key]) == 8 for key in VLLM_DETAILS | {"latencies", "queue_times"})
    assert sorted(found["errors"])[-1] == "http 500: no"
    assert sorted(set(found["output_lens"])) == [0, 4]
    assert (found["failed"], found["error_rate"]) == (1, 1 / 8)
    assert "aaaa" in found["generated_texts"]
    assert all(len(gaps) == 3 for gaps, error in zip(found["itls"], found["errors"], strict=True) if not error)


def test_the_servers_counters_over_the_measured_window(server: FakeServer, workload_file: str) -> None:
    def page() -> str:
        sent = len(server.measured)
        return (
            f"vllm:num_preemptions_total {sent}\nvllm:prefix_cache_queries_total {10 * sent}\n"
            f"vllm:prefix_cache_hits_total {5 * sent}\nvllm:num_requests_running 0\n"
        )

    server.metrics_page = page()
    server.answer = lambda body, _: (setattr(server, "metrics_page", page()), ("length", body["max_tokens"]))[1]
    outcome = run(ask(server, workload=workload_file))
    (found,) = outcome.documents
    assert any("choose another --seed" in note for note in outcome.tables[0].notes)
    assert found["server_preemptions"] == 8, "the warm-up's are not counted"
    assert found["server_prefix_cache_hit_rate"] == 0.5
    assert found["prompts_were_cached"] is True, "nothing in this workload is sent twice"
    assert found["server_drained"] is True


def test_a_few_repeats_take_their_interval_from_within(server: FakeServer, workload_file: str) -> None:
    (found,) = run(ask(server, workload=workload_file)).documents
    assert found["intervals"]["mean_ttft_ms"]["method"] == "bootstrap over 8 requests"
    assert found["intervals"]["output_throughput"]["method"] == "batch means of 10 parts"
    for key, interval in found["intervals"].items():
        assert interval["low"] <= interval["value"] <= interval["high"] or key.startswith("p9"), key


def test_a_rate_a_sweep_and_limits(server: FakeServer, workload_file: str) -> None:
    (found,) = run(ask(server, workload=workload_file, request_rate=200.0, burstiness=math.inf)).documents
    assert (found["request_rate"], found["burstiness"], found["max_concurrency"]) == (200.0, None, None)
    swept = run(ask(server, workload=workload_file, sweep="2,1", slo="ttft_p95=0.000001s"))
    assert [one["load_level"] for one in swept.documents] == [1, 2]
    assert swept.exit_code in (3, 5)
    assert all(one["slo_attainment"] == 0.0 and not one["slo_kept"] for one in swept.documents)
    assert [row[0] for row in swept.tables[0].rows] == ["1", "2"]


def test_a_rates_limit_breaks_below_it_and_is_no_requests_own(server: FakeServer, workload_file: str) -> None:
    slow = run(ask(server, workload=workload_file, slo="output_throughput=1000000"))
    (found,) = slow.documents
    assert slow.exit_code in (3, 5)
    assert (found["slo_kept"], found["slo_attainment"], found["request_goodput"]) == (False, None, None)
    assert any("the least allowed is 1 000 000.0 tok/s" in note for note in slow.tables[0].notes)
    (both,) = run(ask(server, workload=workload_file, slo="output_throughput=0.001,ttft_p95=60s")).documents
    assert (both["slo_kept"], both["slo_attainment_by_limit"]) == (True, {"ttft_p95": 1.0})
    with pytest.raises(InputError, match="--slo output_throughput: a capacity is judged request by request"):
        run(ask(server, workload=workload_file, finds_capacity=True, slo="output_throughput=1,ttft_p95=60s"))


def test_find_capacity_needs_limits_and_finds(server: FakeServer, workload_file: str) -> None:
    with pytest.raises(InputError, match="--slo ttft_p95"):
        run(ask(server, workload=workload_file, finds_capacity=True))
    full = threading.Semaphore(3)

    def answer(body: dict[str, Any], number: int) -> Any:  # noqa: ARG001
        is_free = full.acquire(blocking=False)
        time.sleep(0.1)  # long beside what it takes to send the others: they meet
        if is_free:
            full.release()
        return ("length", 2) if is_free else (lambda handler: handler.reply({"error": "busy"}, 503))

    server.answer = answer
    stages, lines = list[tuple[str, int, int]](), list[str]()
    asked = ask(server, workload=workload_file, finds_capacity=True, slo="ttft_p95=60s")
    outcome = run_bench(asked, lambda *stage: stages.append(stage), lines.append, datetime.now())
    assert outcome.documents[0]["capacity"] == 3
    levels = [line for line in lines if line.startswith("level ")]
    assert all(" left, some " in line for line in levels[:-1])
    assert " left" not in levels[-1]
    loads = list(dict.fromkeys(stage.partition(", ")[0] for stage, _, _ in stages))
    assert loads[-1] == f"load {len(levels)}"
    assert all(0 < done <= total for _, done, total in stages)
    assert "capacity: concurrency 3 keeps the SLO" in outcome.tables[0].notes[0]


# ---------------------------------------------------------------- the stress preset


def stress(server: FakeServer, **changes: Any) -> tuple[dict[str, Any], int]:
    outcome = run(ask(server, preset="stress-32k", input_tokens=50, output_tokens=6, **changes))
    return outcome.documents[0], outcome.exit_code


def test_stress_passes(server: FakeServer) -> None:
    server.answer = lambda body, number: ("stop", 3) if number % 2 else ("length", body["max_tokens"])
    found, code = stress(server)
    assert code == 0
    assert found["verdict"].startswith("PASSED: all 10 answers were complete")
    assert len(found["requests"]) == 10
    assert len(server.measured) == 10, "no warm-up: this is a test, not a measurement"
    assert not any("ignore_eos" in body for body in server.measured)


def test_the_preset_is_ten_prompts_of_32_000(server: FakeServer) -> None:
    run(ask(server, preset="stress-32k"))
    assert {len(body["prompt"]) for body in server.measured} == {32_000}
    assert {body["max_tokens"] for body in server.measured} == {512}


def test_stress_says_what_became_of_each(server: FakeServer) -> None:
    is_over = threading.Event()

    def hang(_: Handler) -> None:
        is_over.wait(300)

    def answer(body: dict[str, Any], number: int) -> Any:  # noqa: ARG001
        return {
            1: ("length", 2),
            2: hang,
            3: lambda handler: handler.reply({"error": {"message": "too long"}}, 400),
            4: lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        }.get(number, ("stop", 3))

    server.answer = answer
    try:
        found, code = stress(server, timeout="8s")  # of which the others take some milliseconds
    finally:
        is_over.set()
    answers = sorted(one["answer"] for one in found["requests"])
    assert answers == sorted(["complete"] * 6 + ["cut short", "timed out", "refused", "timed out"]), found["requests"]
    assert code == 3
    assert found["server_answers"] is True
    whys = {one["answer"]: one["why"] for one in found["requests"]}
    assert whys["cut short"] == "2 of 6 tokens, finish_reason length"
    assert whys["refused"] == "http 400: too long"


def test_stress_names_memory(server: FakeServer) -> None:
    message = "CUDA out of memory. Tried to allocate 2.00 GiB"
    server.answer = lambda _body, _number: lambda handler: handler.reply({"error": {"message": message}}, 500)
    found, code = stress(server)
    assert code == 4
    assert found["verdict"] == "FAILED: the server ran out of memory; 0 of 10 answers were complete"


def test_stress_sees_a_server_die(server: FakeServer) -> None:
    def die(handler: Handler) -> None:
        server.is_dead = True
        handler.close_connection = True

    server.answer = lambda _body, _number: die
    found, code = stress(server)
    assert code == 4
    assert found["verdict"].startswith("FAILED: the server no longer answers")
    assert {one["answer"] for one in found["requests"]} == {"broken off"}


def test_stress_says_what_the_server_holds(server: FakeServer) -> None:
    server.metrics_page = (
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1\nvllm:num_requests_running 0\n'
    )
    found, _ = stress(server)
    assert "longest request the server takes: 100 000 tokens" in found["limits"]
    assert "KV cache: 1 600 tokens, 28.6 of these requests at once; all run together" in found["limits"]


# ---------------------------------------------------------------- workloads and options


@pytest.mark.parametrize("name", ["chat", "code", "summarize", "rag", "agent", "long-context"])
def test_shipped_names(name: str) -> None:
    workload, prompts = workload_of(BenchAsk(url="", workload=name))
    assert workload.name == name
    assert prompts == []


def test_an_unknown_name_lists_them() -> None:
    with pytest.raises(InputError, match=r"no such file .*agent, chat"):
        workload_of(BenchAsk(url="", workload="nope"))


def test_options_are_laid_over_the_file(workload_file: str) -> None:
    workload, _ = workload_of(BenchAsk(url="", workload=workload_file, input_tokens=7, seed=3, timeout="2min"))
    assert (workload.input_tokens, workload.output_tokens, workload.seed, workload.request_timeout) == (7, 4, 3, 120.0)
    with pytest.raises(InputError, match="endpoint"):
        workload_of(BenchAsk(url="", workload=workload_file, endpoint="embeddings"))
    with pytest.raises(InputError, match="--timeout"):
        workload_of(BenchAsk(url="", workload=workload_file, timeout="soon"))
    with pytest.raises(InputError, match="--preset nope: allowed: stress-32k"):
        workload_of(BenchAsk(url="", preset="nope"))


def test_recorded_prompts_are_sent_as_they_are(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "one two", "output_tokens": 3}\n\n{"prompt": "three", "max_tokens": 2}\n')
    (found,) = run(ask(server, workload=str(path), concurrency=1)).documents
    sent = [(body["prompt"], body["max_tokens"]) for body in server.measured[-2:]]
    assert sent == [("one two", 3), ("three", 2)]
    assert found["total_input_tokens"] == 3
    with pytest.raises(InputError, match="4 prompts are needed and there are 2"):
        run(ask(server, workload=str(path), repeats=2))


def test_a_trace_is_sent_as_it_is_its_shared_blocks_equal(server: FakeServer) -> None:
    trace = ROOT / "tests" / "golden" / "traces" / "mooncake.jsonl"
    lines: list[str] = []
    asked = ask(server, workload=str(trace), concurrency=4, num_requests=30, repeats=2)
    run_bench(asked, lambda *_: None, lines.append, NOW)
    assert any(line.startswith("busiest window of 30 of 60 requests cannot show the rest: ") for line in lines)
    prompts = [body["prompt"] for body in server.measured[-60:]]
    first, again = prompts[:30], prompts[30:]
    assert sorted(map(len, first)) == sorted(map(len, again))
    assert not {tuple(one[:16]) for one in first} & {tuple(one[:16]) for one in again}, "a repeat has other tokens"
    starts = Counter(tuple(one[:512]) for one in first)
    assert max(starts.values()) > 10, "the system prompt"
    assert len({tuple(one) for one in first}) == 30


def test_the_slo_is_read_strictly() -> None:
    assert parse_slo("ttft_p95=10s, tpot_p95=200ms") == {"ttft_p95": 10.0, "tpot_p95": 0.2}
    assert parse_slo(None) == {}
    for text, words in [("ttft_p95", "is not NAME=LIMIT"), ("ttft=1s", "ttft"), ("ttft_p95=soon", "soon")]:
        with pytest.raises(InputError, match=words):
            parse_slo(text)


def test_the_load_of_options_is_laid_over_the_files(workload_file: str, tmp_path: Path) -> None:
    def shape(path: str = workload_file, **options: Any) -> Any:
        workload, prompts = workload_of(BenchAsk(url="", workload=path, **options))
        return shape_of(workload, plans_of(workload, 1, prompts)[1][0])

    assert shape() == ClosedLoop(2)
    assert shape(concurrency=3, ramp="2s") == ClosedLoop(3, 2.0)
    assert shape(request_rate=2.0, burstiness=0.5, max_concurrency=9) == OpenLoop(2.0, 0.5, 9)
    assert shape(request_rate=2.0, start_rate=0.5) == OpenLoop(2.0, start_rate_per_s=0.5)
    rate = tmp_path / "rate.yaml"
    rate.write_text("concurrency: 2\nnum_requests: 8\nrequest_rate: 4\nstart_rate: 1\nburstiness: .inf\n")
    assert shape(str(rate)) == OpenLoop(4.0, math.inf, None, 1.0)
    assert shape(str(rate), concurrency=3) == ClosedLoop(3), "a closed loop is asked for"
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"prompt": "a", "arrival_s": 10}\n{"prompt": "b", "arrival_s": 12.5}\n')
    assert shape(str(trace), trace_speed=4.0) == Replay(4.0)
    assert shape(str(trace), concurrency=3) == ClosedLoop(3)
    for options, words in [
        ({"concurrency": 2, "request_rate": 1.0}, "a limit is --max-concurrency"),
        ({"start_rate": 1.0}, "start_rate is where a request_rate begins"),
        ({"request_rate": 1.0, "ramp": "1s"}, "ramp is of a closed loop"),
        ({"ramp": "soon"}, "--ramp: 'soon' is not a duration"),
        ({"trace_speed": 0.0}, "trace_speed"),
    ]:
        with pytest.raises(InputError, match=words):
            shape(**options)


# ---------------------------------------------------------------- the command


def test_the_command_prints_writes_and_compares(server: FakeServer, workload_file: str, tmp_path: Path) -> None:
    runner = CliRunner()
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        arguments = ["bench", server.url, "--workload", workload_file, "--repeats", "2", "--json", "-o", str(file)]
        done = runner.invoke(app, [*arguments, "--csv", str(tmp_path / "a.csv"), "--save-detailed"], obj=None)
        assert done.exit_code in (0, 5), done.output  # 5: a busy machine, and the client says so
        assert done.output == f"wrote {file}\n"
    assert set(json.loads(files[0].read_text())) >= VLLM_KEYS | VLLM_DETAILS
    rows = (tmp_path / "a.csv").read_text().splitlines()
    assert len(rows) == 1 + 2
    assert rows[0].startswith("load,load_level,repeat,duration,completed")
    done = runner.invoke(app, ["bench", "--compare", *map(str, files)])
    assert done.exit_code == 0, done.output
    assert "b.json against a.json" in done.output
    done = runner.invoke(app, ["bench", "--compare", *map(str, files), "--json"])
    compared = {one["metric"]: one["first"] for one in json.loads(done.output)["metrics"]}
    intervals = json.loads(files[0].read_text())["intervals"]
    assert compared["ttft_p95"] * 1e3 == pytest.approx(intervals["p95_ttft_ms"]["value"])
    assert compared["output_throughput"] == pytest.approx(intervals["output_throughput"]["value"])


def test_the_installed_command_in_two_processes(server: FakeServer, workload_file: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    command = [str(Path(sys.executable).with_name("planner")), "bench", server.url, "--workload", workload_file]
    done = subprocess.run(
        [*command, "--repeats", "1", "--client-processes", "2", "--json", "--quiet", "-o", str(path)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode in (0, 5), done.stdout + done.stderr
    found = json.loads(path.read_text())
    assert (found["client_num_processes"], found["completed"], found["failed"]) == (2, 8, 0)
    assert not done.stderr


def test_the_command_without_a_server() -> None:
    done = CliRunner().invoke(app, ["bench"])
    assert isinstance(done.exception, InputError)


# ---------------------------------------------------------------- tune does not use a measurement that is the client's


def test_a_client_at_its_limit_measures_again_with_more_processes(
    server: FakeServer, workload_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = iter(["the client used 99 %", None, "the client used 99 %"])
    monkeypatch.setattr("planner.benchmark.session.client_fault", lambda *_: next(faults))
    monkeypatch.setattr("planner.benchmark.session.processes_needed", lambda client: 2 if client.num_chunks > 8 else 1)
    (found,) = run(ask(server, workload=workload_file)).documents
    assert (found["client_num_processes"], found["client_was_bottleneck"]) == (2, False)
    assert (found["completed"], len(server.measured)) == (8, 2 + 8 + 8)
    assert len({tuple(body["prompt"]) for body in server.measured}) == 18, "with prompts that no cache knows"
    (forced,) = run(ask(server, workload=workload_file, client_processes=1)).documents
    assert (forced["client_num_processes"], forced["client_was_bottleneck"]) == (1, True)


def test_the_warm_up_shows_how_many_processes_are_needed(
    server: FakeServer, workload_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("planner.benchmark.session.processes_needed", lambda _: 2)
    outcome = run(ask(server, workload=workload_file))
    assert outcome.documents[0]["client_num_processes"] == 2
    assert len(server.measured) == 2 + 8, "measured once"
    assert any("2 processes, each" in note for note in outcome.tables[0].notes)


class FakeInstance:
    def __init__(self, log: str) -> None:
        self.log = log

    def log_text(self) -> str:
        return self.log


class FakeEngine:
    """A launched engine, as a backend's server."""

    start_s = 1.0

    def __init__(self, url: str, log: str = "") -> None:
        self.base_urls = (url,)
        self.instances = [FakeInstance(log)]

    def is_alive(self) -> bool:
        return True

    def check(self) -> None:
        pass


@pytest.fixture
def measured_with(
    server: FakeServer, make_problem: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Measure a candidate on the fake server; `faults` is what the client says of itself, repeat by repeat."""

    def measure(faults: list[str | None], log: str = "") -> Any:
        said = iter(faults)
        monkeypatch.setattr("planner.benchmark.session.client_fault", lambda *_: next(said))

        @contextmanager
        def serve(candidate: Any, number: int) -> Iterator[FakeEngine]:  # noqa: ARG001
            yield FakeEngine(server.url, log)

        problem = make_problem()
        backend = type("FakeBackend", (), {"serve": staticmethod(serve)})()
        server.takes_ids = True
        return live(problem, backend)(problem.default, 0, lambda *_: None, Repeats(0, problem.spec.repeats))

    monkeypatch.setattr(sys.modules[__name__], "VOCAB_SIZE", 1_000_000)
    return measure


def test_a_measurement_of_the_client_is_done_again(measured_with: Callable[..., Any], server: FakeServer) -> None:
    assert len(measured_with(["the client used 99 %", None]).results) == 1
    prompts = [tuple(body["prompt"]) for body in server.measured]
    assert len(prompts) == 4 + 6 + 6
    assert len(set(prompts)) == len(prompts), "the second time with prompts that no cache knows"


def test_and_refused_by_name_the_second_time(measured_with: Callable[..., Any]) -> None:
    with pytest.raises(ClientBottleneck, match="the client was the bottleneck, twice: busy"):
        measured_with(["busy", "busy"])


def test_a_simulated_engine_is_not_refused(measured_with: Callable[..., Any]) -> None:
    assert measured_with(["busy"], log="SIMULATED engine").simulated is True

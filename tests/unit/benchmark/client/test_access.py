"""Benches of real TLS servers on loopback, with certificates of an authority made here."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from planner.benchmark.client import access
from planner.benchmark.client.access import Access, engine_access
from planner.benchmark.load.send import send_load
from planner.benchmark.load.target import Target, target_of
from planner.cli.main import app
from planner.errors import BenchmarkError, InputError
from planner.tuning import quality_gate
from planner.workload.shapes import ClosedLoop
from planner.workload.workload import RequestPlan, Workload
from tests.unit.benchmark.test_run import FakeServer, ask, run

SHORT = {"workload": "chat", "concurrency": 2, "num_requests": 4, "input_tokens": 8, "output_tokens": 2}
AUTHORITY = trustme.CA()


@pytest.fixture
def tls_server() -> Iterator[Callable[[str], FakeServer]]:
    """Servers whose certificate is for a host name, signed by AUTHORITY."""
    with ExitStack() as stack:

        def make(host: str = "127.0.0.1") -> FakeServer:
            server = stack.enter_context(FakeServer())
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            AUTHORITY.issue_cert(host).configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = server.url.replace("http://", "https://")
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server

        yield make


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def completed(server: FakeServer, **options: Any) -> int:
    (found,) = run(ask(server, **SHORT, **options)).documents
    assert found["server_url"].startswith("https://")
    return int(found["completed"])


def test_an_authority_of_ones_own(tls_server: Callable[..., FakeServer], ca_file: str) -> None:
    server = tls_server()
    server.metrics_page = "vllm:num_preemptions_total 0\nvllm:num_requests_running 0\n"
    (found,) = run(ask(server, **SHORT, ca_file=ca_file)).documents
    assert (found["completed"], found["failed"]) == (4, 0)
    assert found["server_preemptions"] == 0, "its metrics are read by the same authority"


def test_a_certificate_that_nobody_vouches_for(tls_server: Callable[..., FakeServer]) -> None:
    server = tls_server()
    with pytest.raises(BenchmarkError, match=r"CERTIFICATE_VERIFY_FAILED.*--ca-file, or --insecure"):
        completed(server)
    assert completed(server, insecure=True) == 4


def test_a_certificate_of_another_host(tls_server: Callable[..., FakeServer], ca_file: str) -> None:
    server = tls_server("elsewhere.example")
    with pytest.raises(BenchmarkError, match="CERTIFICATE_VERIFY_FAILED"):
        completed(server, ca_file=ca_file)
    assert completed(server, insecure=True) == 4


def test_the_environment_names_authorities(
    tls_server: Callable[..., FakeServer], ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", ca_file)
    access._context.cache_clear()
    try:
        assert completed(tls_server()) == 4
    finally:
        access._context.cache_clear()


def test_the_hot_path_checks_too(tls_server: Callable[..., FakeServer], ca_file: str) -> None:
    """Not only the first questions: each request, and those of other processes."""
    server = tls_server()

    def errors(given: Access, num_processes: int) -> list[str | None]:
        target = Target(base_urls=(server.url,), model="tiny", vocab_size=100, access=given)
        plans = [RequestPlan(i, 8, 2, 0) for i in range(4)]
        return [record.error for record in send_load(target, plans, ClosedLoop(2), num_processes=num_processes).records]

    assert errors(Access(), 1) == ["connection"] * 4
    assert errors(Access(ca_file=ca_file), 1) == [None] * 4
    assert errors(Access(ca_file=ca_file), 2) == [None] * 4
    assert errors(Access(insecure=True), 1) == [None] * 4


def test_the_stress_preset_and_the_command(tls_server: Callable[..., FakeServer], ca_file: str) -> None:
    server = tls_server()
    outcome = run(ask(server, preset="stress-32k", input_tokens=8, output_tokens=2, ca_file=ca_file))
    assert (outcome.exit_code, outcome.documents[0]["server_answers"]) == (0, True)
    options = ["--concurrency", "2", "--num-requests", "4", "--input-tokens", "8", "--output-tokens", "2"]
    done = CliRunner().invoke(app, ["bench", server.url, *options, "--repeats", "1", "--ca-file", ca_file])
    assert done.exit_code in (0, 5), done.output
    assert "4 of 4 requests completed" in done.output


def test_what_is_no_file_of_authorities(tls_server: Callable[..., FakeServer], tmp_path: Path) -> None:
    server = tls_server()
    with pytest.raises(InputError, match=r"--ca-file /none\.pem: has no certificates: No such file"):
        completed(server, ca_file="/none.pem")
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate\n")
    with pytest.raises(InputError, match="has no certificates"):
        completed(server, ca_file=str(empty))


def test_a_key_is_not_shown() -> None:
    assert "sk-secret" not in repr(Access(api_key="sk-secret"))


# --- engines of ours --------------------------------------------------------------------------------------------------

KEY = "sk-of-our-engines"


class Keyed(BaseHTTPRequestHandler):
    """As vLLM with VLLM_API_KEY: who has no key is told so, here with what was sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        given = self.headers.get("authorization", "nothing")
        is_known = given == f"Bearer {KEY}"
        self.reply(200, {"choices": [{"text": "yes"}]}) if is_known else self.reply(401, {"error": f"not {given}"})

    def reply(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002


@pytest.fixture
def keyed() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Keyed) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_quality_gate_has_the_engines_key(keyed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", KEY)
    (answer,) = quality_gate.ask(keyed, "tiny", ["Is it?"], 8, asks_logprobs=False)
    assert "".join(answer.tokens) == "yes"
    monkeypatch.setenv("VLLM_API_KEY", "sk-of-another-engine")
    with pytest.raises(quality_gate.NoAnswers, match=r"HTTP 401 .*not Bearer <VLLM_API_KEY>"):
        quality_gate.ask(keyed, "tiny", ["Is it?"], 8, asks_logprobs=False)


@pytest.mark.parametrize(("key", "error"), [(KEY, "cut stream"), ("sk-other-key", "http 401: not Bearer <API_KEY>")])
def test_loads_of_launched_engines_have_it_too(
    keyed: str, monkeypatch: pytest.MonkeyPatch, key: str, error: str
) -> None:
    """The answer is no stream, which is seen only by who was let in."""
    monkeypatch.setenv("VLLM_API_KEY", key)
    target = target_of([keyed], "tiny", Workload(name="w", concurrency=1, num_requests=2), 100)
    for num_processes in (1, 2):
        plans = [RequestPlan(i, 8, 2, 0) for i in range(4)]
        found = {
            record.error for record in send_load(target, plans, ClosedLoop(2), num_processes=num_processes).records
        }
        assert found == {error}


def test_the_key_of_engines_comes_from_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert engine_access().headers == {}
    assert engine_access({"VLLM_API_KEY": "of a ladder".replace(" ", "-")}).api_key == "of-a-ladder"
    monkeypatch.setenv("VLLM_API_KEY", "")
    assert engine_access().headers == {}, "vLLM takes an empty one for none"


@pytest.mark.parametrize("key", ["a b", "a\r\nhost: evil", "schl\u00fcssel", "a\n", ""])
def test_a_key_that_no_header_can_have(key: str) -> None:
    with pytest.raises(InputError, match="characters that a header cannot have") as caught:
        Access(api_key=key)
    assert len(key) < 2 or key not in str(caught.value)

"""Benches of real TLS servers on loopback, with certificates of an authority made here."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trustme
from test_bench import FakeServer, ask, run
from typer.testing import CliRunner

from planner import access
from planner.access import Access
from planner.cli import app
from planner.errors import BenchmarkError, InputError
from planner.load_shapes import ClosedLoop
from planner.loadgen import Target
from planner.spread import send_spread
from planner.workload import RequestPlan

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
        return [record.error for record in send_spread(target, plans, ClosedLoop(2), num_processes).records]

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

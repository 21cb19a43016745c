"""What a guard tells and reads: telling never stops it, and only errors of the GPU are taken for such."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from planner.errors import BackendError
from planner.service.guard.decisions import GuardEvent, Seen, State
from planner.service.guard.events import Reporter
from planner.service.guard.observation import gpu_error_in
from tests.places import GOLDEN

LOGS = sorted([*GOLDEN.rglob("*.log")])
FAILED = GuardEvent(
    name="failed", rung=1, reason="CUDA out of memory", evidence={"kind": "out of memory", "exit_code": 1}
)


@pytest.fixture
def reporter(tmp_path: Path) -> Reporter:
    return Reporter("coder", tmp_path / "events.jsonl", ["winner", "more headroom"], None)


def test_an_event_is_one_line_in_the_file_and_on_stdout(
    reporter: Reporter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter.tell("coder-1", FAILED, Path("/var/log/coder.log"))
    text = (tmp_path / "events.jsonl").read_text("utf-8")
    assert capsys.readouterr().out == text
    told = json.loads(text)
    assert datetime.fromisoformat(told.pop("time")).utcoffset() is not None
    assert told == {
        "service": "coder",
        "container": "coder-1",
        "event": "failed",
        "rung": 1,
        "rung_name": "more headroom",
        "reason": "CUDA out of memory",
        "evidence": {"kind": "out of memory", "exit_code": 1, "log": "/var/log/coder.log"},
    }


def test_quietly_events_go_to_the_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Reporter("coder", tmp_path / "events.jsonl", ["winner", "more headroom"], None, quiet=True)
    quiet.tell("coder", FAILED)
    assert capsys.readouterr().out == ""
    assert json.loads((tmp_path / "events.jsonl").read_text("utf-8"))["event"] == "failed"


def test_a_file_that_cannot_be_written_is_said_once_and_passed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter("coder", tmp_path / "no such folder" / "events.jsonl", ["winner"], None)
    reporter.tell("coder", FAILED)
    reporter.tell("coder", FAILED)
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err == "planner: the events file: [Errno 2] No such file or directory: " + repr(
        str(tmp_path / "no such folder" / "events.jsonl")
    ) + "\n"  # fmt: skip


def value(reporter: Reporter, name: str, **labels: str) -> float | None:
    return reporter.registry.get_sample_value(name, {"container": "coder", **labels})


def test_metrics_follow_the_state(reporter: Reporter) -> None:
    reporter.show("coder", State(phase="serving", rung=1), Seen(ttft_p95_s=0.7), 100.0)
    reporter.tell("coder", FAILED)
    assert value(reporter, "planner_guard_up") == 1
    assert value(reporter, "planner_guard_rung") == 1
    assert value(reporter, "planner_guard_ttft_p95_seconds") == 0.7
    assert value(reporter, "planner_guard_failures_total", kind="out of memory") == 1
    reporter.show("coder", State(phase="down", retry_at_s=108.0), Seen(), 100.0)
    assert value(reporter, "planner_guard_up") == 0
    assert value(reporter, "planner_guard_retry_seconds") == 8


def test_a_taken_port_is_said_with_the_option_that_changes_it(reporter: Reporter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BackendError, match=f"127.0.0.1:{port}.*--metrics-port"):
            reporter.serve_metrics(port)


# --- the log of an engine that runs ---


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_no_ordinary_log_tells_of_a_gpu(path: Path) -> None:
    """Starts and refusals, of the GPU's memory and of none: nothing in them happened while requests ran."""
    text = path.read_text("utf-8", errors="replace")
    assert gpu_error_in(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "(EngineCore_DP0 pid=9) ERROR 11-22 07:10:00 [core.py:99] torch.OutOfMemoryError: CUDA out of memory. Tried to "
        "allocate 2.00 GiB.",
        "RuntimeError: NCCL error in: ../ProcessGroupNCCL.cpp:3690, unhandled cuda error",
    ],
)
def test_errors_of_the_gpu_are_found(line: str) -> None:
    found = gpu_error_in(f"INFO 11-22 07:09:59 [loggers.py:127] Avg prompt throughput: 1.0 tokens/s\n{line}\n")
    assert found is not None
    assert found.error in ("EngineCrashed", "EngineOutOfMemory")


def test_a_prompt_that_speaks_of_such_errors_is_none() -> None:
    line = "INFO 11-22 07:09:59 [logger.py:43] Received request cmpl-1: prompt: 'what is RuntimeError: CUDA error: x?'"
    assert gpu_error_in(line) is None


def test_the_webhooks_address_is_told_to_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever has it can post there: it is a secret like a key."""

    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

    async def tell(url: str) -> None:
        reporter = Reporter("coder", tmp_path / "events.jsonl", ["winner", "lower"], url)
        reporter.tell("coder", FAILED)
        await reporter.close()

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        asyncio.run(tell(f"http://127.0.0.1:{server.server_port}/services/T0/B0/canary"))
        server.shutdown()
    asyncio.run(tell("http://127.0.0.1:1/services/canary"))
    text = (tmp_path / "events.jsonl").read_text("utf-8")
    assert [json.loads(line)["reason"] for line in text.splitlines() if "webhook_failed" in line] == [
        "failed: status 404", "failed: ConnectError",
    ]  # fmt: skip
    assert "canary" not in text + "".join(capsys.readouterr())

"""The simulated engine over HTTP, in this process: a trace's prefix sharing is what its prefix cache finds."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
import uvicorn

from planner.benchmark.ask import BenchAsk
from planner.benchmark.run import run_bench
from planner.engine.versions import Version
from planner.simulated.server import build_app
from planner.workload import read_traffic, surveyed
from tests.places import ROOT
from tests.unit.simulated.test_load import make, settled

TRACE = ROOT / "tests" / "golden" / "traces" / "mooncake.jsonl"
NEWER = Version("0.14.1")


@pytest.fixture
def url() -> Iterator[str]:
    """A server of vLLM 0.14.1 with 160 000 tokens of KV cache, a thousand times as fast as it would be."""
    settings = {"max_model_len": 16384, "enable_prefix_caching": True}
    app = build_app("simulated", settled(NEWER, **settings), make(NEWER, num_blocks=10_000, **settings), 1000.0)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_prefix_sharing_of_a_trace_is_reproduced(url: str, tmp_path: Path) -> None:
    """Answers of two tokens, as only prompts are shared; two in flight, as two that begin alike may come together."""
    lines = [json.loads(line) | {"output_length": 2} for line in TRACE.read_text("utf-8").splitlines()]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    asked = BenchAsk(url=url, workload=str(trace), concurrency=2, repeats=1)
    (found,) = run_bench(asked, lambda *_: None, lambda _: None, datetime(2026, 1, 2)).documents
    expected = surveyed(read_traffic(trace).requests).hit_rate
    assert expected is not None
    assert expected > 0.4
    assert found["server_prefix_cache_hit_rate"] == pytest.approx(expected, abs=0.02)

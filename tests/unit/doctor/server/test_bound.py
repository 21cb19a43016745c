"""What bounds a server, in made states: each kind, the order of the rules, and what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planner.doctor.server.bound import judged
from planner.doctor.server.window import CPU_SECONDS, QUEUED, Gauges, Window
from planner.engine import PROMPTS, Histogram

INF = float("inf")


def window(*gauges: tuple[float | None, float | None, float | None], **changes: Any) -> Window:
    """Ten seconds of an engine with 100 000 tokens of KV cache and prompts of 500; each triple is read alike often."""
    facts: dict[str, Any] = {
        "url": "http://a:1",
        "name": "http://a:1",
        "seconds": 10.0,
        "gauges": [Gauges(*one) for one in gauges],
        "preemptions": 0,
        "prompt_tokens": 5000,
        "generation_tokens": 1000,
        "kv_tokens": 100_000,
        "histograms": {PROMPTS: Histogram({1000.0: 10.0, INF: 10.0}, 5000.0, 10.0)},
        "cpu_share": 0.3,
    }
    return Window(**facts | changes)


@pytest.mark.parametrize(
    ("seen", "kind", "words"),
    [
        (window((0, 0, 0), generation_tokens=0), "idle", "no request was there in 10 s"),
        (window((40, 3, 0.97), preemptions=12), "kv cache", "preempted and computed again"),
        (window((40, 9, 0.999)), "kv cache", "the queue waits for blocks"),
        (window((64, 9, 0.3), (64, 7, 0.3), (64, 5, 0.3)), "sequences", "64 requests run at once, 7 wait"),
        (window((4, 8, 0.01), (3, 8, 0.01), (4, 8, 0.01), (3, 8, 0.01)), "sequences", "4 requests run at once, 8 wait"),
        (window((10, 9, 0.3), (30, 7, 0.3), (20, 5, 0.3)), "prefill", "wait for their turn to be read"),
        (window((20, 0, 0.3), cpu_share=0.97), "host", "Python fills a processor core"),
        (window((3, 0, 0.1), (0, 0, 0.0)), "client", "no request in 50% of the readings"),
        (window((20, 0, 0.3)), "client", "they keep 20 requests in flight"),
        (window((20, 0, 0.95), hit_rate=0.1, hit_rate_before=0.7), "prefix cache", "computed again"),
    ],
)
def test_each_state_has_its_sentence(seen: Window, kind: str, words: str) -> None:
    bound = judged([seen])
    assert (bound.kind, words in bound.sentence) == (kind, True), bound.sentence
    assert bound.missing == ()


def test_one_engine_of_two_is_starved() -> None:
    busy, poor = window((30, 12, 0.5)), replace(window((0, 0, 0.0)), name="http://b:1", url="http://b:1")
    bound = judged([busy, poor])
    assert bound.kind == "instance"
    assert "1 of 2 engines get next to none of it (http://b:1)" in bound.sentence
    assert judged([busy, replace(busy, name="http://b:1")]).kind != "instance"
    assert judged([poor, replace(window((1, 0, 0.0), (0, 0, 0.0), (0, 0, 0.0)), name="c")]).kind == "client"


@pytest.mark.parametrize(
    ("gauges", "name"),
    [
        ((None, 1, 0.5), "vllm:num_requests_running"),
        ((1, None, 0.5), "vllm:num_requests_waiting"),
        ((1, 1, None), "vllm:kv_cache_usage_perc"),
    ],
)
def test_a_missing_gauge_is_named(gauges: tuple[Any, Any, Any], name: str) -> None:
    bound = judged([window(gauges)])
    assert (bound.kind, bound.missing) == ("cannot tell", (name,))
    assert name in bound.sentence


def test_what_a_surer_answer_needs_is_named() -> None:
    assert "vllm:num_preemptions_total" in judged([window((40, 9, 0.999), preemptions=None)]).missing[0]
    assert CPU_SECONDS in judged([window((20, 0, 0.3), cpu_share=None)]).missing[0]


def test_requests_on_their_way_are_no_queue() -> None:
    assert judged([window((40, 1, 0.3), (40, 0, 0.3))]).kind == "client"


def test_a_cache_without_a_size_is_judged_by_its_share() -> None:
    assert judged([window((40, 9, 0.93), kv_tokens=None)]).kind == "kv cache"
    assert judged([window((40, 9, 0.85), kv_tokens=None)]).kind == "sequences"


def test_rates_and_times_are_among_the_evidence() -> None:
    queued = {QUEUED: Histogram({1.0: 4.0, INF: 4.0}, 2.0, 4.0)}
    evidence = judged([window((20, 0, 0.3), histograms=queued)]).evidence
    assert "100 output tokens/s, 500 prompt tokens/s" in evidence
    assert "500 ms in the queue on average" in evidence

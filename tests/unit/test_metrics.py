"""Known answers, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import BenchmarkError
from planner.metrics import METRICS, RequestRecord, summarize


def record(**changes: Any) -> RequestRecord:
    fields: dict[str, Any] = {
        "index": 0,
        "started_s": 0.0,
        "chunk_s": (0.5, 0.7, 1.1),
        "finished_s": 1.1,
        "input_tokens": 10,
        "output_tokens": 3,
    }
    return RequestRecord(**{**fields, **changes})


THREE_TOKENS = record()
ONE_TOKEN = record(index=1, started_s=1.0, chunk_s=(2.0,), finished_s=2.0, input_tokens=20, output_tokens=1)
FAILED = record(index=2, started_s=0.5, chunk_s=(), finished_s=4.0, input_tokens=5, output_tokens=0, error="timeout")


def test_latencies_of_one_request() -> None:
    assert THREE_TOKENS.ttft_s == 0.5
    assert THREE_TOKENS.e2el_s == 1.1
    assert THREE_TOKENS.tpot_s == pytest.approx((1.1 - 0.5) / 2)


def test_a_one_token_answer_has_no_tpot() -> None:
    assert ONE_TOKEN.tpot_s is None
    assert (ONE_TOKEN.ttft_s, ONE_TOKEN.e2el_s) == (1.0, 1.0)


def test_tpot_divides_by_tokens_where_chunks_carry_several() -> None:
    assert record(output_tokens=7).tpot_s == pytest.approx(0.1)


def test_summary() -> None:
    result = summarize([THREE_TOKENS, ONE_TOKEN, FAILED])
    assert result.duration_s == 4.0  # first send to last end, the failed one's included
    assert (result.completed, result.failed, result.errors) == (2, 1, {"timeout": 1})
    assert (result.total_input_tokens, result.total_output_tokens) == (30, 4)  # of the completed
    assert result.metrics == pytest.approx(
        {
            "request_throughput": 2 / 4,
            "output_throughput": 4 / 4,
            "total_token_throughput": 34 / 4,
            "ttft_mean": 0.75,
            "ttft_p50": 0.75,
            "ttft_p95": 0.975,
            "ttft_p99": 0.995,
            "tpot_mean": 0.3,
            "tpot_p50": 0.3,
            "tpot_p95": 0.3,
            "tpot_p99": 0.3,
            "itl_mean": 0.3,
            "itl_p50": 0.3,
            "itl_p95": 0.39,
            "itl_p99": 0.398,
            "e2el_mean": 1.05,
            "e2el_p50": 1.05,
            "e2el_p95": 1.095,
            "e2el_p99": 1.099,
        }
    )
    assert tuple(result.metrics) == METRICS


def test_itl_pools_the_gaps_of_all_requests() -> None:
    fast = record(index=1, chunk_s=(0.1, 0.2, 0.3, 0.4), finished_s=0.4, output_tokens=4)
    metrics = summarize([THREE_TOKENS, fast]).metrics
    assert metrics["itl_mean"] == pytest.approx((0.2 + 0.4 + 0.1 * 3) / 5)
    assert metrics["tpot_mean"] == pytest.approx((0.3 + 0.1) / 2)


def test_what_nobody_had_is_left_out() -> None:
    metrics = summarize([ONE_TOKEN]).metrics
    assert [name for name in METRICS if name not in metrics] == [
        f"{latency}_{statistic}" for latency in ("tpot", "itl") for statistic in ("mean", "p50", "p95", "p99")
    ]


def test_nothing_completed() -> None:
    refused = record(index=3, chunk_s=(), output_tokens=0, error="connection")
    with pytest.raises(BenchmarkError, match="none of 3 requests completed; most often: connection"):
        summarize([FAILED, refused, refused])
    with pytest.raises(BenchmarkError, match="none of 0 requests completed; most often: no request was sent"):
        summarize([])

"""Known answers, computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from planner.benchmark.load.client_health import ClientHealth, client_fault
from planner.benchmark.metric import METRICS, STATISTICS
from planner.benchmark.metrics import attainment, max_in_flight, peaks, steady_state, summarize
from planner.benchmark.records import RequestRecord
from planner.errors import BenchmarkError


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
            "input_throughput": 30 / 4,
            "output_throughput": 4 / 4,
            "total_token_throughput": 34 / 4,
            "ttft_mean": 0.75,
            "ttft_std": 0.25,
            "ttft_p50": 0.75,
            "ttft_p90": 0.95,
            "ttft_p95": 0.975,
            "ttft_p99": 0.995,
            "tpot_mean": 0.3,
            "tpot_std": 0.0,
            "tpot_p50": 0.3,
            "tpot_p90": 0.3,
            "tpot_p95": 0.3,
            "tpot_p99": 0.3,
            "itl_mean": 0.3,
            "itl_std": 0.1,
            "itl_p50": 0.3,
            "itl_p90": 0.38,
            "itl_p95": 0.39,
            "itl_p99": 0.398,
            "e2el_mean": 1.05,
            "e2el_std": 0.05,
            "e2el_p50": 1.05,
            "e2el_p90": 1.09,
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
        f"{latency}_{statistic}" for latency in ("tpot", "itl") for statistic in STATISTICS
    ]


def test_nothing_completed() -> None:
    refused = record(index=3, chunk_s=(), output_tokens=0, error="connection")
    with pytest.raises(BenchmarkError, match="none of 3 requests completed; most often: connection"):
        summarize([FAILED, refused, refused])
    with pytest.raises(BenchmarkError, match="none of 0 requests completed; most often: no request was sent"):
        summarize([])


# ---------------------------------------------------------------- steady state


def loop(concurrency: int, rounds: int, length_s: float = 1.0, ttft_s: float = 0.2) -> list[RequestRecord]:
    """A closed loop whose requests all take one second and have ten tokens."""
    return [
        record(
            index=round_ * concurrency + place,
            started_s=round_ * length_s,
            chunk_s=tuple(round_ * length_s + ttft_s + i * (length_s - ttft_s) / 9 for i in range(10)),
            finished_s=(round_ + 1) * length_s,
            output_tokens=10,
        )
        for round_ in range(rounds)
        for place in range(concurrency)
    ]


def test_in_flight_counts_an_end_before_the_send_that_follows() -> None:
    assert max_in_flight(loop(4, 3)) == 4
    assert max_in_flight([]) == 0


def test_the_ramp_and_the_tail_are_left_out() -> None:
    slow_tail = record(index=99, started_s=9.0, chunk_s=(9.5, 30.0), finished_s=30.0, output_tokens=2)
    records = [*loop(4, 10), slow_tail]
    whole = summarize(records)
    steady = whole.steady
    assert steady is not None
    assert steady.start_s == pytest.approx(1.2)  # the first token of the fifth: five are in flight at the end
    assert steady.start_s + steady.duration_s == pytest.approx(10.0)
    assert steady.output_throughput == pytest.approx(40, rel=0.1)  # 4 in flight, 10 tokens a second each
    assert whole.metrics["output_throughput"] < 14, "the tail makes the whole run look slow"


def test_a_run_of_one_wave_has_no_steady_state() -> None:
    one_wave = [
        record(index=i, started_s=0.0, chunk_s=(0.9, 1.0 + i / 1000), finished_s=1.0 + i / 1000) for i in range(4)
    ]
    assert steady_state(one_wave) is None
    assert steady_state([FAILED]) is None


# ---------------------------------------------------------------- SLO


def test_attainment_judges_each_request_by_all_limits() -> None:
    kept = attainment([THREE_TOKENS, ONE_TOKEN, FAILED], {"ttft_p95": 0.6, "tpot_p95": 0.3001})
    assert (kept.good, kept.total) == (1, 3)
    assert kept.by_limit == {"ttft_p95": 1 / 3, "tpot_p95": 2 / 3}, (
        "a one-token answer has a TPOT of 0 here, as in vLLM"
    )
    assert kept.fraction == pytest.approx(1 / 3)
    assert attainment([THREE_TOKENS], {"itl_p99": 0.3}).good == 0
    assert attainment([THREE_TOKENS], {"e2el_p99": 1.1}).good == 1


def test_peaks_are_counted_as_vllm_counts() -> None:
    assert peaks(loop(4, 3)) == (40.0, 8), "an end on the second counts in both, as vLLM's does"
    assert peaks([FAILED]) == (0.0, 0)


# ---------------------------------------------------------------- the client


def health(**changes: Any) -> ClientHealth:
    fields: dict[str, Any] = {
        "wall_s": 10.0, "cpu_s": 2.0, "loop_lag_mean_s": 0.0005, "loop_lag_p99_s": 0.002, "loop_lag_max_s": 0.01,
        "dispatch_late_mean_s": 0.0001, "dispatch_late_p99_s": 0.001, "dispatch_late_max_s": 0.002, "bytes_sent": 1000,
        "bytes_received": 10_000, "num_chunks": 100,
    }  # fmt: skip
    return ClientHealth(**{**fields, **changes})


def test_a_client_that_kept_up_has_no_fault() -> None:
    assert client_fault(health(), summarize([THREE_TOKENS])) is None
    assert health().cpu_fraction == pytest.approx(0.2)
    assert health(num_processes=2).cpu_fraction == pytest.approx(0.1)
    assert health().cpu_per_chunk_s == pytest.approx(0.02)
    assert health(num_chunks=0).cpu_per_chunk_s == 0.0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cpu_s": 9.5}, "95% of the processor time"),
        ({"dispatch_late_mean_s": 0.05}, "added 4.6% to the mean end-to-end latency"),
        ({"loop_lag_mean_s": 0.1}, "to the mean end-to-end latency"),
    ],
)
def test_a_client_that_did_not_keep_up_says_why(changes: dict[str, Any], words: str) -> None:
    fault = client_fault(health(**changes), summarize([THREE_TOKENS]))
    assert fault is not None
    assert words in fault


def test_late_sight_of_first_tokens_is_a_fault_where_answers_are_long() -> None:
    long = record(chunk_s=(0.1, 100.0), finished_s=100.0, output_tokens=2)
    assert "time to first token" in str(client_fault(health(loop_lag_mean_s=0.05), summarize([long])))

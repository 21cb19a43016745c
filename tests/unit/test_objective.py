"""From a benchmark's figures to a value and constraints."""

from __future__ import annotations

import pytest

from planner.metrics import METRICS, RATES, BenchmarkResult
from planner.objective import Objective, format_metric, judge
from planner.units import Seconds


def _result(completed: int = 100, failed: int = 0, **metrics: float) -> BenchmarkResult:
    return BenchmarkResult(
        duration_s=10.0,
        completed=completed,
        failed=failed,
        total_input_tokens=0,
        total_output_tokens=0,
        metrics=metrics,
        errors={},
    )


@pytest.mark.parametrize("metric", METRICS)
def test_rates_go_up_and_latencies_down(metric: str) -> None:
    objective = Objective(metric=metric)
    assert objective.direction == ("maximize" if metric in RATES else "minimize")
    assert objective.better(2.0, 1.0) is (metric in RATES)
    assert not objective.better(1.0, 1.0)


def test_a_limit_is_kept_at_the_limit_and_broken_above_it() -> None:
    objective = Objective(slo={"ttft_p95": Seconds(2.0), "tpot_p50": Seconds(0.1)})
    value, constraints = judge(objective, _result(output_throughput=500.0, ttft_p95=2.0, tpot_p50=0.25))
    assert value == 500.0
    kept, broken, complete = constraints
    assert (kept.name, kept.excess) == ("slo ttft_p95", 0.0)
    assert (broken.name, broken.excess) == ("slo tpot_p50", pytest.approx(1.5))
    assert broken.message == "tpot_p50 is 250 ms, the limit is 100 ms"
    assert complete.excess < 0


@pytest.mark.parametrize(("failed", "is_kept"), [(0, True), (5, True), (6, False), (99, False)])
def test_one_request_in_twenty_may_fail(failed: int, is_kept: bool) -> None:
    _, constraints = judge(Objective(), _result(100 - failed, failed, output_throughput=1.0))
    assert (constraints[-1].excess <= 1e-12) is is_kept
    assert f"{failed}% of the requests failed" in constraints[-1].message


def test_a_metric_the_run_does_not_have_is_no_value() -> None:
    value, constraints = judge(Objective(metric="tpot_p50", slo={"tpot_p95": Seconds(1)}), _result(ttft_p50=1.0))
    assert value is None
    assert [constraint.name for constraint in constraints] == ["requests complete"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("output_throughput", 1234.56, "1 234.6 tok/s"),
        ("total_token_throughput", 9.0, "9.0 tok/s"),
        ("request_throughput", 1.5, "1.500 req/s"),
        ("ttft_p95", 0.25, "250 ms"),
    ],
)
def test_printed_forms(name: str, value: float, text: str) -> None:
    assert format_metric(name, value) == text

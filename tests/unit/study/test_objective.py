"""From a benchmark's figures to a value and constraints."""

from __future__ import annotations

import pytest

from planner.benchmark.metric import CAPACITIES, GOALS, MAX_MODEL_LEN, RATES, Metric
from planner.benchmark.metrics import BenchmarkResult
from planner.study.objective import Objective, judge
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


@pytest.mark.parametrize("metric", GOALS)
def test_rates_and_contexts_go_up_and_latencies_down(metric: str) -> None:
    goes_up = metric in {*RATES, MAX_MODEL_LEN, *CAPACITIES}
    objective = Objective(metric=metric, slo={"ttft_p95": 2.0} if metric in CAPACITIES else {})
    assert objective.direction == ("maximize" if goes_up else "minimize")
    assert objective.better(2.0, 1.0) is goes_up
    assert not objective.better(1.0, 1.0)
    assert objective.is_known is (metric == MAX_MODEL_LEN)


def test_a_limit_is_kept_at_the_limit_and_broken_above_it() -> None:
    objective = Objective(slo={"ttft_p95": Seconds(2.0), "tpot_p50": Seconds(0.1)})
    value, constraints = judge(objective, _result(output_throughput=500.0, ttft_p95=2.0, tpot_p50=0.25))
    assert value == 500.0
    kept, broken, complete = constraints
    assert (kept.name, kept.excess) == ("slo ttft_p95", 0.0)
    assert (broken.name, broken.excess) == ("slo tpot_p50", pytest.approx(1.5))
    assert broken.message == "tpot_p50 is 250 ms, the limit is 100 ms"
    assert complete.excess < 0


def test_a_rates_limit_is_broken_below_it() -> None:
    objective = Objective(slo={"output_throughput": 500, "request_throughput": "2"})
    kept, broken, _ = judge(objective, _result(output_throughput=500.0, request_throughput=1.5))[1]
    assert kept.excess == 0.0
    assert (broken.excess, broken.message) == (
        pytest.approx(0.25),
        "request_throughput is 1.500 req/s, the least allowed is 2.000 req/s",
    )


def test_a_limit_is_what_it_means_not_how_it_is_written() -> None:
    assert Objective(slo={"ttft_p95": "200ms"}) == Objective(slo={"ttft_p95": 0.2})
    assert Objective(slo={"ttft_p95": 1e-5}).limits == {"ttft_p95": 1e-5}
    assert Objective() == Objective(metric="output_throughput")
    words = "output_throughput at least 500.0 tok/s, ttft_p95 at most 2 s"
    assert Objective(slo={"output_throughput": 500, "ttft_p95": "2s"}).limits_words == words


def test_a_capacity_needs_limits_of_latencies_and_is_the_only_metric() -> None:
    for asked, message in (
        ({"metric": "capacity"}, "metric capacity: is the most load that keeps limits, and there are none: add --slo"),
        ({"metric": "capacity_rate", "slo": {"output_throughput": 9.0}}, "slo.output_throughput: a capacity is"),
        ({"weights": {"capacity": 1.0, "ttft_p95": 1.0}}, "weights.capacity: is found at a load of its own"),
    ):
        with pytest.raises(ValueError, match=message):
            Objective(**asked)  # type: ignore[arg-type]
    objective = Objective(metric="capacity_rate", slo={"ttft_p95": "2s"})
    assert (objective.seeks_load, objective.by_rate, objective.capacity_limits) == (True, True, {"ttft_p95": 2.0})
    assert objective.limits_at_load == {}
    assert Objective(slo={"ttft_p95": 2.0}).limits_at_load == {"ttft_p95": 2.0}
    assert Objective(slo={"ttft_p95": 2.0}).capacity_limits is None


PAIR = Objective(weights={"output_throughput": 1, "ttft_p95": 0.3})


def _score(objective: Objective, throughput: float, ttft_s: float) -> float:
    value, _ = judge(objective, _result(output_throughput=throughput, ttft_p95=ttft_s))
    assert value is not None
    return value


def test_a_score_is_the_weighted_geometric_mean() -> None:
    assert _score(PAIR, 1000, 0.5) == pytest.approx((1000 * 2**0.3) ** (1 / 1.3))
    assert PAIR.direction == "maximize"
    assert PAIR.format(_score(PAIR, 1000, 0.5)) == "238.3 points"


def test_weights_trade_percentages_whatever_the_units() -> None:
    """0.3 % of throughput is worth 1 % of TTFT; milliseconds and doubled weights change no comparison."""
    assert _score(PAIR, 1000 * 1.01**0.3, 0.5) == pytest.approx(_score(PAIR, 1000, 0.5 / 1.01))
    assert _score(PAIR, 900, 0.2) / _score(PAIR, 800, 0.7) == pytest.approx(
        _score(PAIR, 900, 200) / _score(PAIR, 800, 700)
    )
    doubled = Objective(weights={"output_throughput": 2, "ttft_p95": 0.6})
    assert _score(doubled, 1000, 0.5) == pytest.approx(_score(PAIR, 1000, 0.5))


def test_a_score_needs_all_its_metrics_and_none_above_0() -> None:
    assert judge(PAIR, _result(output_throughput=1.0))[0] is None
    assert _score(PAIR, 0.0, 0.0) > 0


def test_a_context_in_a_score_is_known_only_in_part() -> None:
    both = Objective(weights={"max_model_len": 1, "output_throughput": 1})
    assert both.value({"max_model_len": 4096, "output_throughput": 400.0}) == pytest.approx(1280)
    assert not both.is_known
    assert both.figures(1280, {"max_model_len": 4096, "output_throughput": 400.0}) == (
        "score 1280 points (max_model_len 4 096 tokens, output_throughput 400.0 tok/s)"
    )


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
        ("input_throughput", 12.0, "12.0 tok/s"),
        ("ttft_p95", 0.25, "250 ms"),
        ("max_model_len", 24576, "24 576 tokens"),
    ],
)
def test_printed_forms(name: str, value: float, text: str) -> None:
    assert Metric.parse(name).format(value) == text

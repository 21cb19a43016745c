"""A metric as a value: its name, unit and direction, and what it is of one request and of many."""

from __future__ import annotations

import numpy as np
import pytest

from planner.benchmark.metric import CAPACITIES, GOALS, LATENCIES, METRICS, QUEUE, RATES, STATISTICS, Metric
from planner.benchmark.records import RequestRecord

RECORD = RequestRecord(
    index=0, started_s=1.0, chunk_s=(1.5, 2.0, 3.0), finished_s=3.0, input_tokens=8, output_tokens=3, due_s=0.75
)


def test_every_name_is_read_back() -> None:
    assert [Metric.parse(name).name for name in GOALS] == list(GOALS)
    assert {Metric.parse(f"{QUEUE}_{statistic}").family for statistic in STATISTICS} == {QUEUE}
    assert Metric.parse("ttft_p95") == Metric("ttft", "p95")


@pytest.mark.parametrize("name", ["", "ttft", "ttft_p94", "p95", "score", "throughput", "output_throughput_p95"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no metric"):
        Metric.parse(name)


def test_units_and_directions() -> None:
    units = {name: Metric.parse(name).unit for name in GOALS}
    assert {name for name in METRICS if units[name] == "s"} == set(METRICS) - set(RATES)
    assert units["request_throughput"] == "req/s"
    assert units["output_throughput"] == "tok/s"
    assert units["max_model_len"] == "tokens"
    assert (units["capacity"], units["capacity_rate"]) == ("in flight", "req/s")
    assert {name for name in GOALS if Metric.parse(name).sign > 0} == {*RATES, "max_model_len", *CAPACITIES}


def test_a_part_of_a_request_in_flight_is_none() -> None:
    assert [Metric.parse("capacity").format(value) for value in (0.4, 31.97, 32.0)] == [
        "0 in flight",
        "31 in flight",
        "32 in flight",
    ]
    assert Metric.parse("capacity_rate").format(3.14159) == "3.14 requests/s"


def test_of_one_request() -> None:
    seen = {family: Metric(family, "mean").of(RECORD) for family in (*LATENCIES, QUEUE)}
    assert seen == {"ttft": [0.5], "tpot": [0.75], "itl": [0.5, 1.0], "e2el": [2.0], "queue": [0.25]}
    with pytest.raises(ValueError, match="output_throughput is not seen in a single request"):
        Metric("output_throughput").of(RECORD)


def test_of_a_sample() -> None:
    values = np.arange(101.0)
    found = {statistic: Metric("e2el", statistic).of_sample(values) for statistic in STATISTICS}
    assert found == {"mean": 50.0, "std": pytest.approx(29.155, abs=1e-3), "p50": 50, "p90": 90, "p95": 95, "p99": 99}
    assert Metric("e2el", "p50").of_sample(np.stack([values, values + 1]), axis=1).tolist() == [50.0, 51.0]

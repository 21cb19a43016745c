"""A limit as a value: what keeps it, and what is said of it."""

from __future__ import annotations

import math

import pytest

from planner.benchmark.metric import Metric
from planner.benchmark.slo import Limit, limits_of, parse_slo, split_slo
from planner.constraints import Constraint
from planner.errors import InputError


def test_a_latency_is_limited_from_above_and_a_rate_from_below() -> None:
    latency, rate = limits_of(parse_slo("ttft_p95=2s,output_throughput=500"))
    assert latency == Limit(Metric("ttft", "p95"), 2.0)
    assert [latency.keeps(value) for value in (1.9, 2.0, 2.1, math.inf, math.nan)] == [True, True, False, False, False]
    assert [rate.keeps(value) for value in (499.0, 500.0, 501.0)] == [False, True, True]
    assert latency.words == "ttft_p95 at most 2 s"
    assert rate.words == "output_throughput at least 500.0 tok/s"


def test_the_excess_is_a_fraction_of_the_bound() -> None:
    latency, rate = limits_of({"ttft_p95": 2.0, "output_throughput": 500.0})
    assert latency.judge(3.0) == Constraint("slo ttft_p95", 0.5, "ttft_p95 is 3 s, the limit is 2 s")
    words = "output_throughput is 600.0 tok/s, the least allowed is 500.0 tok/s"
    assert rate.judge(600.0) == Constraint("slo output_throughput", -0.2, words)


def test_an_example_is_shown_of_what_cannot_be_split() -> None:
    assert split_slo(" ttft_p95=2s, e2el_p95 = 30s,", "") == {"ttft_p95": "2s", "e2el_p95": "30s"}
    with pytest.raises(InputError, match="--slo: 'ttft_p95' is not NAME=LIMIT, for example ttft_p95=2s"):
        split_slo("ttft_p95", "ttft_p95=2s")

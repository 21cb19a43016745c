"""What is sent at a level of a capacity search."""

from __future__ import annotations

import msgspec
import pytest

from planner.workload.levels import FARTHEST, MOST_IN_FLIGHT, at_capacity_level, first_wave, most_load
from planner.workload.workload import Workload

CHAT = Workload(concurrency=8, num_requests=16, input_tokens=64, output_tokens=16)
RATE = msgspec.structs.replace(CHAT, request_rate=2.0, start_rate=1.0)


@pytest.mark.parametrize("workload", [CHAT, RATE])
def test_a_concurrency_gets_waves_and_a_rate_gets_seconds(workload: Workload) -> None:
    in_flight = at_capacity_level(workload, 20.0, by_rate=False)
    assert (in_flight.concurrency, in_flight.request_rate, in_flight.start_rate) == (20, None, None)
    assert in_flight.num_requests == first_wave(20.0, by_rate=False) + 80
    rate = at_capacity_level(workload, 3.5, by_rate=True)
    assert (rate.request_rate, rate.start_rate, rate.num_requests) == (3.5, None, 105)
    assert first_wave(3.5, by_rate=True) == 0
    assert {in_flight.num_warmup_requests, rate.num_warmup_requests} == {workload.num_warmup_requests}


def test_a_low_level_is_judged_by_as_many_requests_as_the_workload_has() -> None:
    assert at_capacity_level(CHAT, 2.0, by_rate=False).num_requests == 2 + 16
    assert at_capacity_level(CHAT, 0.1, by_rate=True).num_requests == 16


def test_the_highest_load_is_a_multiple_of_the_workloads_own() -> None:
    assert most_load(CHAT, by_rate=False) == 256
    assert most_load(msgspec.structs.replace(CHAT, concurrency=100), by_rate=False) == FARTHEST * 100
    assert most_load(RATE, by_rate=False) == MOST_IN_FLIGHT
    assert most_load(RATE, by_rate=True) == FARTHEST * 2.0

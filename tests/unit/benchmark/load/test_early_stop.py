"""A load that is stopped on a real HTTP server: what is kept of it, and that nothing of it stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from planner.benchmark.load.target import Target
from planner.benchmark.metrics import BenchmarkResult
from planner.benchmark.session import Session, measure
from planner.workload.shapes import ClosedLoop
from planner.workload.workload import Workload, plan_requests
from tests.unit.benchmark.load.test_progress import StopAt
from tests.unit.simulated.test_load import serving

NUM_REQUESTS = 4000
"""More than are answered while a parent on a busy machine hears of the first ones."""
WORKLOAD = Workload(concurrency=8, num_requests=NUM_REQUESTS, input_tokens=32, output_tokens=64)


class GiveUp(StopAt):
    def estimate(self, result: BenchmarkResult) -> BenchmarkResult:
        return replace(result, share=0.1)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, psutil.Process]]:
    with serving() as (url, process):
        yield url, psutil.Process(process.pid)


@pytest.mark.parametrize("num_processes", [1, 2])
def test_what_ended_counts_and_the_rest_is_gone(server: tuple[str, psutil.Process], num_processes: int) -> None:
    url, process = server
    session = Session(
        target=Target(base_urls=(url,), model="coder", vocab_size=32000),
        shape=ClosedLoop(WORKLOAD.concurrency),
        warmup=(),
        repeats=[plan_requests(WORKLOAD, repeat) for repeat in range(3)],
        watch_of=lambda done, plans: GiveUp(20),  # noqa: ARG005
        num_processes=num_processes,
    )
    (repeat,) = measure(session)
    assert repeat.result.share == 0.1
    assert 20 <= repeat.result.completed < NUM_REQUESTS
    assert repeat.result.failed == 0
    assert len(repeat.records) == repeat.result.completed
    deadline = time.monotonic() + 120
    while (open_ones := established(process)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert open_ones == []


def established(process: psutil.Process) -> list[object]:
    return [one for one in process.net_connections() if one.status == psutil.CONN_ESTABLISHED]

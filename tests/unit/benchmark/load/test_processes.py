"""A load in several processes against a real server on loopback: the same load as one process sends."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import pytest

from planner.benchmark.load.client_health import ClientHealth
from planner.benchmark.load.generator import Share
from planner.benchmark.load.processes import num_cores, processes_needed, split
from planner.benchmark.load.send import load_of, send_load
from planner.benchmark.load.target import Target
from planner.benchmark.load.watcher import ENGINE_DIED, NO_WATCHER, STOPPED
from planner.benchmark.records import RequestRecord
from planner.errors import BenchmarkError
from planner.workload.shapes import ClosedLoop, OpenLoop, Replay, Shape, due_times
from planner.workload.workload import RequestPlan, Workload, plan_requests
from tests.unit.benchmark.load.test_generator import VOCAB_SIZE, Exchange, Server, plans, target, watcher

PROCESSES = 2


def sent(server: Server) -> list[tuple[int, ...]]:
    return sorted(tuple(exchange.body["prompt"]) for exchange in server.exchanges)


def test_two_processes_send_what_one_sends() -> None:
    with Server(Exchange.complete) as server:
        send_load(target(server.url, seed=7), plans(9), ClosedLoop(4))
        alone = sent(server)
        server.exchanges.clear()
        server.most_in_flight = 0
        before_s = time.perf_counter()
        load = send_load(target(server.url, seed=7), plans(9), ClosedLoop(4), num_processes=PROCESSES)
    assert sent(server) == alone, "the same prompts, none twice"
    assert len(set(alone)) == 9
    assert [record.index for record in load.records] == list(range(9))
    assert [record.error for record in load.records] == [None] * 9
    assert server.most_in_flight <= 4
    assert load.client.num_processes == PROCESSES
    assert load.client.num_chunks == 27
    assert load.client.cpu_s > 0
    assert load.client.bytes_received > 0
    times = [t for record in load.records for t in (record.started_s, *record.chunk_s)]
    assert before_s < min(times) < max(times) < time.perf_counter(), "on this process's clock"


def arrivals() -> tuple[list[float], list[float]]:
    """When six requests of an open loop should have been sent, by the plan and by the processes that sent them."""
    asked, shape = plans(6), OpenLoop(40.0)
    with Server(Exchange.complete) as server:
        load = send_load(target(server.url, seed=3), asked, shape, num_processes=PROCESSES)
    due = due_times(shape, asked, 3)
    assert due is not None
    assert all(record.started_s >= (record.due_s or 0.0) for record in load.records)
    return list(due), [record.due_s or 0.0 for record in load.records]


def gaps(times: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(times)]


def test_each_process_keeps_to_the_arrivals() -> None:
    due, seen = arrivals()
    for i in range(PROCESSES):  # each has every other request
        assert gaps(seen[i::PROCESSES]) == pytest.approx(gaps(due[i::PROCESSES]), abs=1e-6)


@pytest.mark.prove
def test_the_processes_begin_together() -> None:
    """As well as a machine can that has nothing else to do."""
    due, seen = arrivals()
    assert gaps(seen) == pytest.approx(gaps(due), abs=0.05)


@pytest.mark.parametrize(
    "shape", [ClosedLoop(5), ClosedLoop(5, 2.0), OpenLoop(9.0), OpenLoop(9.0, max_concurrency=5), Replay(2.0, 5)]
)
@pytest.mark.parametrize("num_processes", [2, 3])
def test_shares_add_up(shape: Shape, num_processes: int) -> None:
    asked = plan_requests(Workload(concurrency=5, num_requests=24, turns=3, input_tokens=8, output_tokens=2))
    urls = ("http://a", "http://b")
    whole = Target(base_urls=urls, model="m", vocab_size=VOCAB_SIZE, prompts={plan.index: "x" for plan in asked})
    parts = split(whole, asked, shape, num_processes)
    assert len(parts) == num_processes
    assert sorted(plan.index for _, own, _ in parts for plan in own) == [plan.index for plan in asked]
    for part, own, _ in parts:
        assert set(part.prompts) == {plan.index for plan in own}
        assert {plan.conversation for plan in own}.isdisjoint(
            plan.conversation for _, others, _ in parts if others is not own for plan in others
        ), "a conversation is one process's"
    assert [part.base_urls[0] for part, _, _ in parts[:2]] == ["http://a", "http://b"]
    limits = [one.concurrency if isinstance(one, ClosedLoop) else one.max_concurrency for _, _, one in parts]
    assert sum(limit or 0 for limit in limits) == (0 if shape == OpenLoop(9.0) else 5)


def test_a_load_that_cannot_be_shared_is_sent_by_this_process() -> None:
    with Server(Exchange.complete) as server:
        load = send_load(target(server.url), plans(3), ClosedLoop(1), num_processes=4)
        assert send_load(target(server.url), [], ClosedLoop(4), NO_WATCHER, 4).records == []
    assert load.client.num_processes == 1


async def answer_first_ones(exchange: Exchange) -> None:
    if len(exchange.server.exchanges) <= 4:
        await exchange.complete()


def spread_until(**callbacks: Any) -> list[RequestRecord]:
    with Server(answer_first_ones) as server:
        return send_load(target(server.url), plans(8), ClosedLoop(4), watcher(**callbacks), PROCESSES).records


def test_the_parent_hears_of_each_and_can_stop_it() -> None:
    seen: list[RequestRecord] = []
    progress: list[tuple[int, int]] = []
    records = spread_until(
        on_record=seen.append,
        on_progress=lambda done, total: progress.append((done, total)),
        stop_reason=lambda _: STOPPED if len(seen) >= 4 else None,
    )
    assert sorted(record.index for record in seen) == [r.index for r in records if r.error is None]
    assert [r.error for r in records].count(STOPPED) == 4
    assert progress[-1] == (4, 8)


def test_a_dead_engine_ends_all_processes() -> None:
    records = spread_until(is_alive=lambda: False)
    assert [record.error for record in records].count(ENGINE_DIED) == 4


def test_a_process_that_dies_is_said_in_one_line() -> None:
    def die(_: object) -> None:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.kill()

    with pytest.raises(BenchmarkError, match="a process of the load generator ended before its load did"):
        spread_until(stop_reason=die)


def client(cpu_s: float, wall_s: float = 10.0, num_processes: int = 1) -> ClientHealth:
    return ClientHealth(
        wall_s=wall_s, cpu_s=cpu_s, num_processes=num_processes, loop_lag_mean_s=0, loop_lag_p99_s=0, loop_lag_max_s=0,
        dispatch_late_mean_s=0, dispatch_late_p99_s=0, dispatch_late_max_s=0, bytes_sent=0, bytes_received=0,
        num_chunks=1,
    )  # fmt: skip


def test_as_many_processes_as_the_load_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("planner.benchmark.load.processes.num_cores", lambda: 4)
    assert processes_needed(client(4.9)) == 1
    assert processes_needed(client(7.0)) == 2
    assert processes_needed(client(9.9, num_processes=3)) == 3
    assert processes_needed(client(39.0, num_processes=2)) == 4, "not more than there are cores"
    assert processes_needed(client(0.9, wall_s=0.9)) == 1, "too short to say"
    assert num_cores() >= 1


def test_merging_keeps_the_order_of_the_plans() -> None:
    with Server(Exchange.complete) as server:
        first = send_load(target(server.url), plans(2), ClosedLoop(1))
    asked: list[RequestPlan] = plans(2)
    shares = [
        Share(records=[record], lags_s=[lag], wall_s=wall, cpu_s=1.0, bytes_sent=5, bytes_received=7)
        for record, lag, wall in zip(reversed(first.records), (0.001, 0.003), (2.0, 4.0), strict=True)
    ]
    merged = load_of(asked, shares)
    assert merged.records == first.records
    health = merged.client
    assert (health.wall_s, health.cpu_s, health.num_processes) == (4.0, 2.0, 2)
    assert health.loop_lag_mean_s == pytest.approx(0.002)
    assert (health.bytes_sent, health.bytes_received) == (10, 14)
    assert health.cpu_fraction == pytest.approx(0.25)

"""The simulated queues against the closed forms of queueing theory: waits, losses, sharing, routers.

Each is a fixed seed and enough requests for the standard error to be a third of the tolerance or less.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from planner.fleet.instance import MeasuredInstance
from planner.fleet.simulation import Router, Served, serve

COUNT = 150_000
TOLERANCE = 0.04


def engine(latency_s: list[float] | np.ndarray, cv: float = 1.0, max_queue: int | None = None) -> MeasuredInstance:
    """Latency of a request by how many are in flight, from one on."""
    column = np.array([latency_s[0], *latency_s], dtype=float)
    return MeasuredInstance(
        latency_s=column,
        ttft_s=None,
        tpot_s=None,
        max_in_flight=len(latency_s),
        size_cv=cv,
        max_queue=max_queue,
    )


def sizes(cv: float, count: int = COUNT, seed: int = 1) -> np.ndarray:
    if cv == 0:
        return np.ones(count)
    return np.random.default_rng(seed).gamma(1 / cv**2, cv**2, count)


def load(
    one: MeasuredInstance,
    rate_per_s: float,
    num_instances: int = 1,
    router: Router = "least-loaded",
    count: int = COUNT,
) -> Served:
    gaps = np.random.default_rng(2).exponential(1 / rate_per_s, count)
    return serve(one, num_instances, np.cumsum(gaps), sizes(one.size_cv, count), router, seed=3)


def erlang_b(servers: int, offered: float) -> float:
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = offered * blocked / (n + offered * blocked)
    return blocked


def erlang_c(servers: int, offered: float) -> float:
    blocked, busy = erlang_b(servers, offered), offered / servers
    return blocked / (1 - busy * (1 - blocked))


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 1.5])
def test_one_server_waits_as_pollaczek_and_khinchine_say(cv: float) -> None:
    """M/D/1 with a coefficient of variation of 0, M/M/1 with 1."""
    rate, busy = 0.7, 0.7
    served = load(engine([1.0], cv), rate)
    assert served.wait_s.mean() == pytest.approx(busy * (1 + cv**2) / 2 / (1 - busy), rel=TOLERANCE)


def test_percentiles_of_one_server_are_exponential() -> None:
    served = load(engine([1.0]), 0.7)
    in_all = served.wait_s + served.service_s
    assert np.percentile(in_all, 95) == pytest.approx(math.log(20) / (1 - 0.7), rel=TOLERANCE)
    assert np.mean(served.wait_s > 0) == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize(("servers", "busy"), [(2, 0.7), (8, 0.85), (32, 0.9)])
def test_a_batch_whose_places_do_not_slow_each_other_is_erlangs_c(servers: int, busy: float) -> None:
    rate = busy * servers
    served = load(engine([1.0] * servers), rate)
    waits = erlang_c(servers, rate)
    assert np.mean(served.wait_s > 0) == pytest.approx(waits, rel=0.05)
    assert served.wait_s.mean() == pytest.approx(waits / (servers - rate), rel=0.08)
    assert served.service_s.mean() == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("cv", [0.0, 1.0])
def test_without_a_queue_requests_are_lost_by_erlangs_b_whatever_their_sizes(cv: float) -> None:
    served = load(engine([1.0] * 8, cv, max_queue=0), 8.0)
    assert np.mean(~np.isfinite(served.wait_s)) == pytest.approx(erlang_b(8, 8.0), rel=TOLERANCE)


def test_a_short_queue_loses_as_the_birth_and_death_chain_says() -> None:
    """M/M/4/10."""
    servers, room, rate = 4, 10, 3.8
    weights = [1.0]
    for n in range(1, room + 1):
        weights.append(weights[-1] * rate / min(n, servers))
    served = load(engine([1.0] * servers, max_queue=room - servers), rate)
    assert np.mean(~np.isfinite(served.wait_s)) == pytest.approx(weights[-1] / sum(weights), rel=0.05)


@pytest.mark.parametrize("cv", [0.0, 1.0, 1.5])
def test_sharing_is_insensitive_to_the_sizes(cv: float) -> None:
    """M/G/1-PS: the mean depends on the mean size only, and a request of twice the size takes twice as long."""
    busy = 0.7
    one = engine(np.arange(1, 2000), cv)
    served = load(one, busy)
    assert served.wait_s.max() == 0
    assert served.service_s.mean() == pytest.approx(1 / (1 - busy), rel=TOLERANCE)
    if cv:
        work = sizes(cv)
        for low, high in ((0.2, 0.4), (1.0, 1.5), (2.0, 4.0)):
            some = (work > low) & (work < high)
            assert served.service_s[some].mean() == pytest.approx(work[some].mean() / (1 - busy), rel=0.06)


def test_an_engine_with_a_knee_is_the_birth_and_death_chain() -> None:
    """Throughput that rises with the number in flight and stays at its knee: the mean time by Little's law."""
    latency = [1.0, 1.2, 1.5, 1.9, *(n * 1.9 / 4 for n in range(5, 200))]
    rate = 0.8 * 4 / 1.9
    weights = [1.0]
    for n in range(1, 200):
        weights.append(weights[-1] * rate / (n / latency[n - 1]))
    in_flight = sum(n * weight for n, weight in enumerate(weights)) / sum(weights)
    served = load(engine(latency), rate)
    assert served.service_s.mean() == pytest.approx(in_flight / rate, rel=TOLERANCE)


def test_a_random_router_makes_independent_servers() -> None:
    served = load(engine([1.0]), 0.7 * 10, 10, "random")
    assert (served.wait_s + served.service_s).mean() == pytest.approx(1 / (1 - 0.7), rel=TOLERANCE)


def test_round_robin_makes_the_arrivals_of_each_server_steadier() -> None:
    """E4/M/1: the root of the transform of the gaps is the probability to wait."""
    num, busy = 4, 0.7
    waits = 0.5
    for _ in range(200):
        waits = (num * busy / (num * busy + 1 - waits)) ** num
    served = load(engine([1.0]), busy * num, num, "round-robin")
    assert np.mean(served.wait_s > 1e-9) == pytest.approx(waits, rel=TOLERANCE)
    assert served.wait_s.mean() == pytest.approx(waits / (1 - waits), rel=TOLERANCE)


def test_the_least_loaded_is_nearly_as_good_as_one_queue_for_all() -> None:
    num, busy = 8, 0.8
    waits = {router: load(engine([1.0]), busy * num, num, router).wait_s.mean() for router in ROUTERS}
    together = erlang_c(num, busy * num) / (num - busy * num)
    assert together < waits["least-loaded"] < waits["round-robin"] < waits["random"]
    assert waits["random"] / waits["least-loaded"] > 4


ROUTERS: tuple[Router, ...] = ("least-loaded", "round-robin", "random")


@pytest.mark.parametrize("router", ROUTERS)
def test_work_is_neither_lost_nor_made(router: Router) -> None:
    """Never faster than alone, in order of arrival within one instance, and all work done at the engine's speed."""
    one = replace(engine([1.0, 1.1, 1.4, 2.0], cv=1.0), max_queue=5)
    served = load(one, 9.0, 3, router, count=20_000)
    kept = np.isfinite(served.wait_s)
    assert 0.1 < np.mean(kept) < 1
    assert (served.wait_s[kept] >= 0).all()
    assert (served.service_s[kept] >= sizes(1.0, 20_000)[kept] * (1 - 1e-6)).all()
    assert set(served.shared_with[kept]) == {1.0, 2.0, 3.0, 4.0}


def test_a_seed_makes_the_same_run_again() -> None:
    runs = [load(engine([1.0, 1.5]), 2.0, 3, "least-loaded", count=5000) for _ in range(2)]
    assert (runs[0].wait_s == runs[1].wait_s).all()


@pytest.mark.parametrize(
    ("router", "wait_s", "service_s"),
    [
        ("round-robin", [0, 0, 0, 0, 0.75, 1.75, None, 0, 0, 0], [1.75, 3.5, 1, 2, 1.25, 1.5, None, 0.5, 1, 3.25]),
        ("least-loaded", [0, 0, 0, 0, 1, 0.5, None, 0, 0, 0], [1.5, 3.5, 1, 2, 1.5, 2, None, 0.25, 2, 4]),
    ],
)
def test_ten_requests_on_two_instances_to_the_last_bit(
    router: Router, wait_s: list[float | None], service_s: list[float | None]
) -> None:
    """Two at once take twice as long, one more waits, a further one is refused; all numbers are exact in binary."""
    arrivals_s = np.array([0, 0, 0.25, 0.5, 0.5, 0.75, 1, 4, 4, 4])
    work = np.array([1, 2, 0.5, 1, 1, 1, 1, 0.25, 1, 3])
    served = serve(engine([1.0, 2.0], max_queue=1), 2, arrivals_s, work, router, seed=5)
    assert served.wait_s.tolist() == [math.inf if wait is None else wait for wait in wait_s]
    assert served.service_s.tolist() == [math.inf if service is None else service for service in service_s]
    assert served.shared_with.tolist() == [1, 1, 2, 2, 2, 2, 1, 1, 1, 2]

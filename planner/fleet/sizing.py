"""The smallest fleet that keeps its limits at the peak even with hosts lost: simulated, doubled and bisected.

In: a `MeasuredInstance`, a demand, limits. Out: `Sizing`: hosts, their figures at the peak with all up and with some
lost, and what fewer hosts would break. A limit is kept if the upper end of its 95 % interval is within it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from planner.benchmark import PERCENTILES, limits_of
from planner.fleet.demand import NUM_BATCHES, Demand, DemandedLoad, Steady, drawn_sizes
from planner.fleet.instance import Column, MeasuredInstance
from planner.fleet.simulation import Router, Served, serve
from planner.fleet.spec import STATISTICS
from planner.statistics import Interval, t_interval

MAX_HOSTS = 16_384
SMALL = 32
"""Largest fleet for which the search starts at what the capacity needs. A larger one first sizes a fleet for one of
PARTS equal parts of the demand.
"""
PARTS = 8
PRECISION = 256
"""The number of hosts is exact up to this number; above, to one part in PRECISION."""
GROWTH = 1.5
"""Ratio of mean latencies, second half of a steady load to first, above which a queue counts as growing."""
NUM_ALONE = 20_000

OnTry = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a fleet of `num_hosts` hosts shows at the peak."""

    num_hosts: int
    metrics: dict[str, Interval]
    """Interval of each metric in seconds, by those names of spec.LIMITS that this instance has."""
    refused: float
    """Share of requests that were refused."""
    beyond_measured: float
    """Share of requests served at a number in flight outside what was measured."""
    why: str | None
    """The first limit that is broken; None if all are kept."""

    @property
    def is_kept(self) -> bool:
        return self.why is None


@dataclass(frozen=True, slots=True)
class Sizing:
    num_hosts: int | None
    """Hosts needed, including those that may be lost; None if no number keeps the limits."""
    all_up: Observed | None
    after_loss: Observed | None
    """The smallest fleet that keeps the limits: what remains after the loss."""
    why: str
    """What one host fewer would break, or why no number is enough."""
    is_reachable: bool = True
    """Whether a request that is alone in its instance keeps the limits."""


def size_fleet(
    instance: MeasuredInstance,
    instances_per_host: int,
    demand: Demand,
    limits: Mapping[str, float],
    lost: int = 1,
    router: Router = "least-loaded",
    seed: int = 0,
    on_try: OnTry = lambda _: None,
) -> Sizing:
    """Find the smallest fleet: upwards from what the capacity needs until the limits are kept, then by bisection."""
    if (hopeless := _broken(alone(instance, seed), limits)) is not None:
        words = f"{hopeless} for a request that is alone in its instance"
        return Sizing(None, None, None, words, is_reachable=False)
    tried: dict[int, Observed] = {}

    def observe(num_hosts: int) -> Observed:
        if num_hosts not in tried:
            on_try(num_hosts)
            tried[num_hosts] = observe_fleet(instance, instances_per_host, num_hosts, demand, limits, router, seed)
        return tried[num_hosts]

    host_capacity = instance.capacity * instances_per_host
    least = demand.peak_rate_per_s / host_capacity
    lowest = guess = 1
    if isinstance(demand, Steady) and instance.max_queue is None:
        lowest = guess = math.floor(least) + 1
        if (
            SMALL < lowest <= MAX_HOSTS
        ):  # a fleet of a part of the size shows about how much more than the capacity is needed
            part = demand.part(1 / PARTS)
            small = size_fleet(instance, instances_per_host, part, limits, 0, router, seed, on_try)
            guess = max(lowest, PARTS * (small.num_hosts or 0))
    smallest = _smallest(lambda hosts: observe(hosts).is_kept, lowest, guess)
    if smallest is None:
        most = tried[max(tried)].why if tried else f"the capacity alone needs {lowest}"
        return Sizing(None, None, None, f"more than {MAX_HOSTS} hosts: {most}")
    below = max((hosts for hosts in tried if hosts < smallest), default=0)
    if below and (broken := tried[below].why) is not None:
        why = f"with {below} hosts up {broken}" if below > 1 else f"with 1 host up {broken}"
    elif smallest > 1:
        why = f"the capacity of an instance, {instance.capacity:.3g} requests/s: the peak fills {least:.2f} hosts"
    else:
        why = "one host is enough, and there cannot be fewer"
    return Sizing(smallest + lost, observe(smallest + lost), observe(smallest), why)


def _smallest(keeps: Callable[[int], bool], lowest: int, guess: int) -> int | None:
    """The smallest number from `lowest` on that keeps; of many to one part in PRECISION. None if MAX_HOSTS do not.

    Steps away from the guess, doubling, until the answer lies between two numbers; then bisection.
    """
    exact = max(1, guess // PRECISION)
    broken, kept, step = lowest - 1, min(guess, MAX_HOSTS), exact
    if lowest > MAX_HOSTS:
        return None
    if keeps(kept):
        while kept - step > broken:
            if not keeps(kept - step):
                broken = kept - step
                break
            kept, step = kept - step, step * 2
    else:
        while True:
            if kept == MAX_HOSTS:
                return None
            broken, kept, step = kept, min(kept + step, MAX_HOSTS), step * 2
            if keeps(kept):
                break
    while kept - broken > exact:
        middle = (kept + broken) // 2
        kept, broken = (middle, broken) if keeps(middle) else (kept, middle)
    return kept


# --- what is observed -------------------------------------------------------------------------------------------------


def observe_fleet(
    instance: MeasuredInstance,
    instances_per_host: int,
    num_hosts: int,
    demand: Demand,
    limits: Mapping[str, float],
    router: Router,
    seed: int,
) -> Observed:
    num_instances = num_hosts * instances_per_host
    pools: list[dict[str, Column]] = []
    strange, refused = list[float](), list[float]()
    for repeat, load in enumerate(demand.loads(instance, num_instances, seed)):
        served = serve(instance, num_instances, load.arrivals_s, load.sizes, router, seed + repeat, load.num_wanted)
        latencies = latencies_of(instance, load, served, np.random.default_rng((seed, 3, repeat)))
        judged = load.batch >= 0
        refused.append(float(np.mean(~np.isfinite(served.wait_s[judged]))))
        strange.append(_beyond(instance, served.shared_with[judged]))
        pools += [
            {family: values[load.batch == one] for family, values in latencies.items()}
            for one in range(int(load.batch.max()) + 1)
        ]
    metrics = {
        f"{family}_{statistic}": _interval([pool[family] for pool in pools], statistic)
        for family in pools[0]
        for statistic in STATISTICS
    }
    why = _broken(metrics, limits)
    if why is None and isinstance(demand, Steady) and _grows([pool["e2el"] for pool in pools]):
        why = "a queue grows: requests arrive faster than they are answered"
    return Observed(num_hosts, metrics, float(np.mean(refused)), float(np.mean(strange)), why)


def latencies_of(
    instance: MeasuredInstance, load: DemandedLoad, served: Served, rng: np.random.Generator
) -> dict[str, Column]:
    """Seconds of each request, by family of latency; families without figures in the instance are left out."""
    wait, service = served.wait_s, served.service_s
    found = {"queue": wait}
    if instance.ttft_s is not None:
        first = instance.ttft_s[served.shared_with.astype(int)] * rng.lognormal(0.0, instance.ttft_sigma, len(wait))
        found["ttft"] = wait + np.minimum(first, service)
    if instance.tpot_s is not None:
        pace = service / load.sizes  # latency that a request of mean size would have had, given its time in service
        found["tpot"] = np.where(np.isfinite(pace), np.interp(pace, instance.latency_s, instance.tpot_s), math.inf)
    return {**found, "e2el": wait + service}


def alone(instance: MeasuredInstance, seed: int) -> dict[str, Interval]:
    """Latencies of requests that share their instance with no other: no number of hosts does better."""
    rng = np.random.default_rng((seed, 4))
    sizes = drawn_sizes(rng, instance.size_cv, NUM_ALONE)
    load = DemandedLoad(np.zeros(NUM_ALONE), sizes, np.zeros(NUM_ALONE, dtype=np.int64))
    served = Served(np.zeros(NUM_ALONE), sizes * instance.latency_s[1], np.ones(NUM_ALONE))
    latencies = latencies_of(instance, load, served, rng)
    return {
        f"{family}_{statistic}": Interval(value := _statistic(values, statistic), value, value, "alone")
        for family, values in latencies.items()
        for statistic in STATISTICS
    }


def _interval(batches: list[Column], statistic: str) -> Interval:
    """The value over all batches, with an interval from their differences."""
    value = _statistic(np.concatenate(batches), statistic)
    parts = [_statistic(batch, statistic) for batch in batches]
    if len(parts) < 2 or not all(map(math.isfinite, parts)):
        return Interval(value, value, value if len(parts) < 2 else max(value, *parts), "one batch")
    half = t_interval(parts).half_width
    words = f"batch means of {len(parts)} parts" if len(parts) == NUM_BATCHES else f"t over {len(parts)} repeats"
    return Interval(value, max(0.0, value - half), value + half, words)


def _statistic(values: Column, statistic: str) -> float:
    """A statistic of the values, in seconds; a refused request counts as waiting for ever."""
    if not len(values):
        return 0.0
    if statistic == "mean":
        return float(values.mean())
    return float(np.percentile(values, PERCENTILES[statistic], method="higher"))


def _broken(metrics: Mapping[str, Interval], limits: Mapping[str, float]) -> str | None:
    """The first limit that is not kept by the upper end of its metric's interval, in words; None if all are kept."""
    for limit in limits_of(limits):
        metric, interval = limit.metric, metrics[limit.metric.name]
        if not limit.keeps(interval.high):
            most = f" (up to {metric.format(interval.high)})" if limit.keeps(interval.value) else ""
            shown = metric.format(interval.value) if math.isfinite(interval.value) else "endless"
            return f"{metric.name} is {shown}{most}, the limit is {metric.format(limit.bound)}"
    return None


def _grows(batches: list[Column]) -> bool:
    half = len(batches) // 2
    first, second = np.concatenate(batches[:half]), np.concatenate(batches[half:])
    return bool(second.mean() > GROWTH * first.mean())


def _beyond(instance: MeasuredInstance, shared_with: Column) -> float:
    if instance.measured is None:
        return 0.0
    low, high = instance.measured
    return float(np.mean((shared_with > high) | (shared_with < low)))

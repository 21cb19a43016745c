"""The traffic of a running server, learned from its counters alone: no prompt is read, and none is sent.

In: a URL and a duration. Out: a `Survey`, and the `Workload` that is like it: lognormal lengths with the server's mean
and spread, its rate, and a shared prefix that gives its rate of prefix hits. Raises BenchmarkError.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

from planner.benchmark.client.access import Access
from planner.benchmark.client.address import server_root
from planner.benchmark.client.asking import NoAnswer, asker_of
from planner.engine import Histogram, ServedMeanwhile, ServedSoFar, read_served, served_between
from planner.errors import BenchmarkError
from planner.workload import Lengths, Spread, Survey, Workload, token_lengths

PAGE_S = 30.0
"""Seconds in which a page of metrics must come."""
REQUESTS_PER_SLOT, LEAST_REQUESTS = 4, 64
"""Requests of the workload per request in flight, and its fewest."""
SHARED = 0.95
"""Largest share of the mean prompt that its shared prefix may be."""


def watch_server(url: str, seconds: float, sleep: Callable[[float], None] = time.sleep) -> tuple[Survey, Workload]:
    """Read the server's counters, wait, read them again."""
    where = server_root(url)
    before, began_s = _read(where), time.monotonic()
    sleep(seconds)
    after, ended_s = _read(where), time.monotonic()
    try:
        served = served_between(before, after, ended_s - began_s)
    except ValueError as error:
        raise BenchmarkError(f"{where}/metrics: {error}") from None
    if served.prompts.count < 1:
        raise BenchmarkError(f"{where}: no request ended within {seconds:g} s; watch it for longer with --for")
    seen = seen_in(served)
    return seen, workload_like(seen)


def read_page(where: str) -> str:
    """The server's page of metrics (`http://host:port`). Raises BenchmarkError."""
    with asker_of(where, Access(), PAGE_S) as asker:
        try:
            answer = asker.ask("GET", f"{where}/metrics")
        except NoAnswer as error:
            raise BenchmarkError(f"{where} does not answer: {error}") from None
    if not answer.is_ok:
        raise BenchmarkError(f"{where}/metrics: status {answer.status}; vLLM serves its counters there")
    return answer.text


def _read(where: str) -> ServedSoFar:
    page = read_page(where)
    try:
        return read_served(page)
    except ValueError as error:
        raise BenchmarkError(f"{where}/metrics: {error}") from None


def seen_in(served: ServedMeanwhile) -> Survey:
    """The survey of what a server has served; gaps between arrivals stay None, since no counter holds them."""
    return Survey(
        num_requests=round(served.prompts.count),
        inputs=_spread(served.prompts),
        outputs=_spread(served.answers) if served.answers.count else None,
        has_texts=False,
        duration_s=served.seconds,
        rate_per_s=served.prompts.count / served.seconds,
        gap_cv=None,
        peak_rate_per_s=None,
        peak_start_s=None,
        hit_rate=served.hit_rate,
        coarse_hit_rate=None,
        in_flight=served.in_flight,
    )


def _spread(histogram: Histogram) -> Spread:
    """Lengths by buckets: quantiles are interpolated, limits are the outer bounds. The mean is exact."""
    parts = [(low, low * 2 if math.isinf(high) else high, count) for low, high, count in histogram.parts()]
    total = sum(count for _, _, count in parts)

    def at(share: float) -> int:
        below = 0.0
        for low, high, count in parts:
            if below + count >= share * total:
                return max(1, round(low + (high - low) * (share * total - below) / count))
            below += count
        return round(parts[-1][1])

    logs = [(math.log(math.sqrt(max(1.0, low) * high)), count) for low, high, count in parts]
    center = sum(one * count for one, count in logs) / total
    return Spread(
        mean=histogram.total / histogram.count,
        p50=at(0.5),
        p90=at(0.9),
        p99=at(0.99),
        least=int(parts[0][0]) + 1,
        most=max(1, int(parts[-1][1])),
        sigma=math.sqrt(sum(count * (one - center) ** 2 for one, count in logs) / total),
    )


def workload_like(seen: Survey) -> Workload:
    """The workload like what was seen. Prompts shorter than its shared prefix are made as long as it needs."""
    shared = round(min(seen.hit_rate or 0.0, SHARED) * seen.inputs.mean)
    inputs = seen.inputs
    if shared >= inputs.least:
        inputs = replace(inputs, least=shared + 1, most=max(inputs.most, shared + 2))
    lengths = token_lengths(inputs)
    if isinstance(lengths, Lengths) and lengths.low <= shared:
        shared = lengths.low - 1
    concurrency = max(1, round(seen.in_flight or 1.0))
    return Workload(
        name="served",
        concurrency=concurrency,
        num_requests=max(LEAST_REQUESTS, REQUESTS_PER_SLOT * concurrency),
        request_rate=seen.rate_per_s,
        input_tokens=lengths,
        output_tokens=token_lengths(seen.outputs) if seen.outputs is not None else 128,
        shared_prefix_tokens=shared,
    )

"""A while of a running server, engine by engine: gauges once a second, and the growth of counters and histograms.

In: URLs. Out: a `Window` for each engine. Nothing is sent but GET /metrics.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from planner.benchmark import read_page, server_root
from planner.engine import (
    ANSWERS,
    LATENCY,
    PROMPTS,
    TTFT,
    Histogram,
    MetricsPage,
    difference,
    pages_of_engines,
    read_gauges,
)
from planner.errors import BenchmarkError

EVERY_S = 1.0
"""Seconds between two readings of the gauges."""
QUEUED, FIRST_TOKEN, STEPS = "vllm:request_queue_time_seconds", TTFT, "vllm:iteration_tokens_total"
"""Histograms of vllm/engine/metrics.py of 0.6.6 and vllm/v1/metrics/loggers.py of 0.8.5 and 0.32."""
BETWEEN_TOKENS = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")
"""The same histogram: its name since 0.11.1, and its name before."""
HISTOGRAMS = (QUEUED, FIRST_TOKEN, STEPS, *BETWEEN_TOKENS, LATENCY, PROMPTS, ANSWERS)
CPU_SECONDS = "process_cpu_seconds_total"
"""Processor seconds of the API server, by prometheus_client's own collector; several processes together have none."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading; None where the page has no such gauge."""

    running: float | None
    waiting: float | None
    kv_usage: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one engine did between two readings. None: the page has no such metric."""

    url: str
    name: str
    """The URL, and the engine's number where one server has several."""
    seconds: float
    gauges: Sequence[Gauges]
    preemptions: int | None = None
    prompt_tokens: int | None = None
    generation_tokens: int | None = None
    hit_rate: float | None = None
    """Share of the prompts' tokens that the prefix cache found meanwhile."""
    hit_rate_before: float | None = None
    """The same from the engine's start to the first reading."""
    kv_tokens: int | None = None
    """Size of the KV cache in tokens."""
    histograms: dict[str, Histogram] = field(default_factory=dict)
    """Growth of HISTOGRAMS, by name."""
    cpu_share: float | None = None
    """Processor seconds of the API server in a second; 1 is one whole core."""

    @property
    def running(self) -> float | None:
        """Mean number of requests in the batch."""
        return _mean([one.running for one in self.gauges])

    @property
    def waiting(self) -> float | None:
        """Mean number of requests in the queue."""
        return _mean([one.waiting for one in self.gauges])

    @property
    def kv_usage(self) -> float | None:
        """Mean used share of the KV cache."""
        return _mean([one.kv_usage for one in self.gauges])

    @property
    def most_running(self) -> float:
        return max((one.running or 0.0 for one in self.gauges), default=0.0)

    @property
    def idle_share(self) -> float | None:
        """Share of the readings in which no request was in the batch or in the queue."""
        if self.running is None:
            return None
        return fmean(not one.running and not one.waiting for one in self.gauges)

    @property
    def running_while_queued(self) -> float:
        """Mean number of requests in the batch while others waited; near the largest batch where that is its limit."""
        return _mean([one.running for one in self.gauges if one.waiting]) or 0.0

    def mean(self, *names: str) -> float | None:
        """Mean of the first histogram of these that has grown; None if none has."""
        found = (self.histograms[name] for name in names if name in self.histograms)
        return next((one.total / one.count for one in found if one.count > 0), None)

    def grown(self, name: str) -> float | None:
        """How many values the histogram has counted; None if the page has no such histogram."""
        return self.histograms[name].count if name in self.histograms else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def watch_engines(
    urls: Sequence[str], seconds: float, sleep: Callable[[float], None] = time.sleep
) -> tuple[Window, ...]:
    """Watch the servers for this long. Raises BenchmarkError where one does not answer or was restarted meanwhile."""
    where = [server_root(url) for url in urls]
    first = {url: pages_of_engines(read_page(url)) for url in where}
    last, began_s, left_s = first, time.monotonic(), seconds
    readings: dict[tuple[str, str], list[Gauges]] = {}
    while left_s > 0:
        sleep(min(EVERY_S, left_s))
        last = {url: pages_of_engines(read_page(url)) for url in where}
        for url, engines in last.items():
            for engine, text in engines.items():
                readings.setdefault((url, engine), []).append(_gauges(url, text))
        left_s = began_s + seconds - time.monotonic()
    elapsed_s = time.monotonic() - began_s
    found = []
    for url, after in last.items():
        before = first[url]
        for engine in after:
            name = f"{url}, engine {engine}" if len(after) > 1 else url
            try:
                window = _window(elapsed_s, readings[url, engine], before.get(engine, ""), after[engine])
            except ValueError as error:
                raise BenchmarkError(f"{url}/metrics: {error}") from None
            found.append(replace(window, url=url, name=name))
    return tuple(found)


def _gauges(url: str, text: str) -> Gauges:
    try:
        read = read_gauges(text)
    except ValueError as error:
        raise BenchmarkError(f"{url}/metrics: {error}") from None
    return Gauges(
        read.get("num_requests_running"), read.get("num_requests_waiting"), read.get("kv_cache_usage_fraction")
    )


def _window(seconds: float, gauges: Sequence[Gauges], first: str, last: str) -> Window:
    """Raises ValueError if a page is none, or if the engine was restarted between the two."""
    pages = MetricsPage(first), MetricsPage(last)
    before, after = (page.telemetry() for page in pages)
    grown = difference(before, after)
    starts, ends = (page.histograms(HISTOGRAMS) for page in pages)
    histograms = {
        key: end if (start := starts[key]) is None else end.since(start) for key, end in ends.items() if end is not None
    }
    cpu = [page.value(CPU_SECONDS) for page in pages]
    return Window(
        url="",
        name="",
        seconds=seconds,
        gauges=gauges,
        preemptions=grown.preemptions,
        prompt_tokens=grown.prompt_tokens,
        generation_tokens=grown.generation_tokens,
        hit_rate=_share(grown.prefix_cache_hits, grown.prefix_cache_queries),
        hit_rate_before=_share(before.prefix_cache_hits, before.prefix_cache_queries),
        kv_tokens=after.kv_cache_tokens,
        histograms=histograms,
        cpu_share=None if cpu[0] is None or cpu[1] is None else max(0.0, cpu[1] - cpu[0]) / seconds,
    )


def _share(hits: int | None, queries: int | None) -> float | None:
    return hits / queries if hits is not None and queries else None

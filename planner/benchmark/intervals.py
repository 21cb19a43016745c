"""95 % intervals of a benchmark's headline figures, over its repeats or from within the runs."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from planner.benchmark.metric import HEADLINES, Metric
from planner.benchmark.metrics import itls
from planner.benchmark.records import RequestRecord
from planner.benchmark.session import Bench, Repeat
from planner.statistics import Interval, bootstrap_interval, rate_interval, t_interval

# --- how sure the numbers are -----------------------------------------------------------------------------------------

MIN_REPEATS_FOR_T = 3
RATE_WEIGHTS: dict[str, Callable[[RequestRecord], float]] = {
    "request_throughput": lambda _: 1.0,
    "input_throughput": lambda r: float(r.input_tokens),
    "output_throughput": lambda r: float(r.output_tokens),
    "total_token_throughput": lambda r: float(r.input_tokens + r.output_tokens),
}


def intervals(bench: Bench) -> dict[str, Interval]:
    """An interval for every headline number: over the repeats if there are at least three, else from within a run.

    The value is always the mean over the repeats; what lies within a run only says how wide the interval is.
    """
    found: dict[str, Interval] = {}
    for name in HEADLINES:
        samples = [r.result.metrics[name] for r in bench.repeats if name in r.result.metrics]
        if len(samples) != len(bench.repeats) or not samples:
            continue
        if len(samples) >= MIN_REPEATS_FOR_T:
            found[name] = t_interval(samples)
        elif name in RATE_WEIGHTS:
            found[name] = _moved(_rate_within(bench.repeats[-1], name), fmean(samples))
        else:
            found[name] = _moved(_latency_within(bench, Metric.parse(name)), fmean(samples))
    return found


def _moved(interval: Interval, value: float) -> Interval:
    """The interval around another value, as wide as it was on either side."""
    shift = value - interval.value
    return Interval(value, interval.low + shift, interval.high + shift, interval.method)


def _rate_within(repeat: Repeat, name: str) -> Interval:
    """Interval of a rate from ten parts of the run, which show how it varies."""
    done = [record for record in repeat.records if record.error is None]
    times: list[float] = []
    weights: list[float] = []
    for record in done:
        moments = record.chunk_s if name == "output_throughput" else (record.finished_s,)
        times += moments
        weights += [RATE_WEIGHTS[name](record) / len(moments)] * len(moments)
    start_s, end_s = min(r.started_s for r in done), max(r.finished_s for r in done)
    return rate_interval(times, weights, start_s, end_s)


def _latency_within(bench: Bench, metric: Metric) -> Interval:
    """Bootstrap interval of a latency statistic over the requests of all repeats."""
    done = [record for record in bench.records if record.error is None]
    if metric.family == "itl":
        values = _thinned(itls(done))
    else:
        values = [value for record in done for value in metric.of(record)]

    def of_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return metric.of_sample(rows, axis=1)

    return bootstrap_interval(values, of_rows, bench.workload.seed)


def _thinned(values: NDArray[np.float64], most: int = 5000) -> list[float]:
    """At most `most` values, drawn at random. An interval from fewer values is wider, never too narrow."""
    if len(values) > most:
        values = np.random.default_rng(0).choice(values, most, replace=False)
    return [float(value) for value in values]

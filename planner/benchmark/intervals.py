"""95 % intervals of a benchmark's headline figures, over repeats or within one run of thinned records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from planner.benchmark.metrics import LATENCIES, itls
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
_PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
HEADLINES: tuple[str, ...] = (
    "request_throughput",
    "output_throughput",
    "total_token_throughput",
    *(f"{latency}_{statistic}" for latency in LATENCIES for statistic in ("mean", "p50", "p95", "p99")),
)


def intervals(bench: Bench) -> dict[str, Interval]:
    """An interval for every headline number: over the repeats where there are three, else from within the run."""
    found: dict[str, Interval] = {}
    for name in HEADLINES:
        samples = [r.result.metrics[name] for r in bench.repeats if name in r.result.metrics]
        if len(samples) != len(bench.repeats) or not samples:
            continue
        if len(samples) >= MIN_REPEATS_FOR_T:
            found[name] = t_interval(samples)
        elif name in RATE_WEIGHTS:
            found[name] = _rate_within(bench.repeats[-1], name)
        else:
            found[name] = _latency_within(bench, name)
    return found


def _rate_within(repeat: Repeat, name: str) -> Interval:
    """From ten parts of the run. The whole run's rate is kept as the value; the parts say how it varies."""
    done = [record for record in repeat.records if record.error is None]
    times: list[float] = []
    weights: list[float] = []
    for record in done:
        moments = record.chunk_s if name == "output_throughput" else (record.finished_s,)
        times += moments
        weights += [RATE_WEIGHTS[name](record) / len(moments)] * len(moments)
    start_s, end_s = min(r.started_s for r in done), max(r.finished_s for r in done)
    within = rate_interval(times, weights, start_s, end_s)
    value = repeat.result.metrics[name]
    return Interval(value, value - within.half_width, value + within.half_width, within.method)


def _latency_within(bench: Bench, name: str) -> Interval:
    family, _, statistic = name.partition("_")
    done = [record for record in bench.records if record.error is None]
    values: Sequence[float] = {
        "ttft": lambda: [r.ttft_s for r in done],
        "tpot": lambda: [t for r in done if (t := r.tpot_s) is not None],
        "e2el": lambda: [r.e2el_s for r in done],
        "itl": lambda: _thinned(itls(done)),
    }[family]()

    def of_rows(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return rows.mean(axis=1) if statistic == "mean" else np.percentile(rows, _PERCENTILES[statistic], axis=1)

    return bootstrap_interval(values, of_rows, bench.workload.seed)


def _thinned(values: NDArray[np.float64], most: int = 5000) -> list[float]:
    """Enough of many gaps: an interval from fewer is wider, never too narrow."""
    if len(values) > most:
        values = np.random.default_rng(0).choice(values, most, replace=False)
    return [float(value) for value in values]

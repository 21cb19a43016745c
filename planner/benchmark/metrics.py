"""Every benchmark figure of a run, computed once: `summarize(records, ...) -> BenchmarkResult`.

The definitions are vLLM's (vllm@0.32 benchmarks/serve.py:calculate_metrics): TTFT is the first token's
arrival less the send; TPOT is (E2EL - TTFT)/(output tokens - 1), so a one-token answer has none; ITL is every gap
between chunks, pooled; throughput is tokens over the wall time of the whole run. Our additions are the steady state
and SLO attainment. docs/metrics.md explains all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.arrays import LazyModule
from planner.benchmark.metric import STATISTICS, Metric
from planner.benchmark.records import RequestRecord
from planner.errors import BenchmarkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = LazyModule("numpy")


def of_requests(limits: Mapping[str, float]) -> dict[str, float]:
    """The limits that a single request can keep or break, which are those on latencies."""
    return {name: limit for name, limit in limits.items() if Metric.parse(name).is_latency}


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyState:
    """The part of a run under full load, without ramp and tail. Rates are per second."""

    start_s: float
    """Start of the steady state, in seconds after the run's first send."""
    duration_s: float
    completed: int
    request_throughput: float
    output_throughput: float
    total_token_throughput: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Figures of one run. The keys of `metrics` are names of METRICS; a latency that no request had is left out."""

    duration_s: float
    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    metrics: dict[str, float]
    errors: dict[str, int]
    """Number of requests that failed with each error."""
    steady: SteadyState | None = None
    """None if the run was too short to reach a steady state."""
    share: float = 1.0
    """Fraction of the load that was done. Below 1 the load was stopped, and `metrics` is an estimate."""


def summarize(records: Sequence[RequestRecord]) -> BenchmarkResult:
    """Figures of a finished run. Raises BenchmarkError when no request completed."""
    done = [record for record in records if record.error is None]
    errors: dict[str, int] = {}
    for record in records:
        if record.error is not None:
            errors[record.error] = errors.get(record.error, 0) + 1
    if not done:
        most = max(errors, key=errors.__getitem__, default="no request was sent")
        raise BenchmarkError(f"none of {len(records)} requests completed; most often: {most}")
    duration_s = max(r.finished_s for r in records) - min(r.started_s for r in records)
    inputs, outputs = sum(r.input_tokens for r in done), sum(r.output_tokens for r in done)
    metrics: dict[str, float] = {
        "request_throughput": len(done) / duration_s,
        "input_throughput": inputs / duration_s,
        "output_throughput": outputs / duration_s,
        "total_token_throughput": (inputs + outputs) / duration_s,
        **_statistics("ttft", [r.ttft_s for r in done]),
        **_statistics("tpot", [tpot for r in done if (tpot := r.tpot_s) is not None]),
        **_statistics("itl", itls(done)),
        **_statistics("e2el", [r.e2el_s for r in done]),
    }
    return BenchmarkResult(
        duration_s=duration_s,
        completed=len(done),
        failed=len(records) - len(done),
        total_input_tokens=inputs,
        total_output_tokens=outputs,
        metrics=metrics,
        errors=errors,
        steady=steady_state(records),
    )


def itls(done: Sequence[RequestRecord]) -> NDArray[np.float64]:
    """All gaps between chunks, in seconds, of all requests pooled."""
    return np.concatenate([np.diff(r.chunk_s) for r in done]) if done else np.empty(0)


def _statistics(name: str, values: Iterable[float] | NDArray[np.float64]) -> dict[str, Any]:
    array = values if isinstance(values, np.ndarray) else np.asarray(list(values))
    if array.size == 0:
        return {}
    p50, p90, p95, p99 = np.percentile(array, [50, 90, 95, 99])
    figures = (array.mean(), array.std(), p50, p90, p95, p99)
    return {f"{name}_{statistic}": float(figure) for statistic, figure in zip(STATISTICS, figures, strict=True)}


# --- steady state -----------------------------------------------------------------------------------------------------

MIN_STEADY_FRACTION = 0.2
"""Shortest steady state, as a fraction of the run. A shorter window is only where ramp and tail meet."""


def steady_state(records: Sequence[RequestRecord]) -> SteadyState | None:
    """Figures from the first token of the first wave's last request to the first end that no send followed.

    The first wave has as many requests as were ever in flight at once. Output tokens count when they arrive; a
    prompt's tokens count when its first output token arrives.
    """
    done = [record for record in records if record.error is None]
    if not done:
        return None
    first_s = min(r.started_s for r in records)
    last_s = max(r.finished_s for r in records)
    in_order = sorted(done, key=lambda record: record.started_s)
    wave = in_order[: max_in_flight(records)]
    start_s = max(r.chunk_s[0] for r in wave)
    last_start_s = max(r.started_s for r in records)
    end_s = min((r.finished_s for r in records if r.finished_s > last_start_s), default=last_s)
    duration_s = end_s - start_s
    if duration_s < MIN_STEADY_FRACTION * (last_s - first_s):
        return None
    outputs = inputs = 0.0
    for r in done:
        chunks = np.asarray(r.chunk_s)
        within = np.count_nonzero((chunks > start_s) & (chunks <= end_s))
        outputs += within * r.output_tokens / len(chunks)
        inputs += r.input_tokens if start_s < r.chunk_s[0] <= end_s else 0
    completed = sum(start_s < r.finished_s <= end_s for r in done)
    return SteadyState(
        start_s=start_s - first_s,
        duration_s=duration_s,
        completed=completed,
        request_throughput=completed / duration_s,
        output_throughput=outputs / duration_s,
        total_token_throughput=(inputs + outputs) / duration_s,
    )


def max_in_flight(records: Sequence[RequestRecord]) -> int:
    """Highest number of requests in flight at once. A request that ends does not overlap the one sent in its place."""
    times = np.concatenate([[r.started_s for r in records], [r.finished_s for r in records]])
    steps = np.concatenate([np.ones(len(records)), -np.ones(len(records))])
    order = np.lexsort((steps, times))
    return int(np.cumsum(steps[order]).max(initial=0))


# --- per second, as vLLM counts ---------------------------------------------------------------------------------------


def peaks(records: Sequence[RequestRecord]) -> tuple[float, int]:
    """vLLM's `max_output_tokens_per_s` (it counts chunks) and `max_concurrent_requests`: maxima over whole seconds."""
    done = [record for record in records if record.error is None]
    if not done:
        return 0.0, 0
    first_s = min(r.started_s for r in done)
    num_seconds = int(np.ceil(max(r.finished_s for r in done) - first_s)) + 1
    chunks = np.zeros(num_seconds)
    open_requests = np.zeros(num_seconds)
    for r in done:
        np.add.at(chunks, (np.asarray(r.chunk_s) - first_s).astype(int), 1)
        open_requests[int(r.started_s - first_s) : int(r.finished_s - first_s) + 1] += 1
    return float(chunks.max()), int(open_requests.max())


# --- SLO --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """Number of requests that kept their limits. A failed request kept none."""

    good: int
    total: int
    by_limit: dict[str, float]
    """Fraction of the requests that kept each limit."""

    @property
    def fraction(self) -> float:
        return self.good / self.total if self.total else 0.0


def attainment(records: Sequence[RequestRecord], limits: Mapping[str, float]) -> Attainment:
    """Judge each request by the latency of each limit: with `ttft_p95: 2.0` a request's TTFT must be 2 s or less.

    As in vLLM's goodput, a one-token answer has a TPOT of 0 here. ITL is judged by the request's longest gap.
    """
    kept = {name: [_keeps(r, Metric.parse(name), limit) for r in records] for name, limit in limits.items()}
    good = sum(record.error is None and all(each) for record, *each in zip(records, *kept.values(), strict=True))
    total = len(records)
    by_limit = {name: sum(each) / total if total else 0.0 for name, each in kept.items()}
    return Attainment(good=good, total=total, by_limit=by_limit)


def _keeps(record: RequestRecord, metric: Metric, limit: float) -> bool:
    return record.error is None and max(metric.of(record), default=0.0) <= limit

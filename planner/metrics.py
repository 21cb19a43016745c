"""Every benchmark metric, defined once: `summarize(records, ...) -> BenchmarkResult`.

The definitions are vLLM's (vllm@0.8.5 benchmarks/benchmark_serving.py:calculate_metrics): TTFT is the first token's
arrival less the send; TPOT is (E2EL - TTFT)/(output tokens - 1), so a one-token answer has none; ITL is every gap
between chunks, pooled; throughput is tokens over the wall time of the whole run. docs/metrics.md says so in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.errors import BenchmarkError


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """Raw times of one request on one clock, in seconds; `error` is None where the answer is complete."""

    index: int
    started_s: float
    chunk_s: tuple[float, ...]
    """Arrival of each chunk that carried tokens."""
    finished_s: float
    input_tokens: int
    output_tokens: int
    finish_reason: str | None = None
    error: str | None = None

    @property
    def ttft_s(self) -> float:
        return self.chunk_s[0] - self.started_s

    @property
    def e2el_s(self) -> float:
        return self.finished_s - self.started_s

    @property
    def tpot_s(self) -> float | None:
        if self.output_tokens < 2:
            return None
        return (self.chunk_s[-1] - self.chunk_s[0]) / (self.output_tokens - 1)


LATENCIES = ("ttft", "tpot", "itl", "e2el")
STATISTICS = ("mean", "p50", "p95", "p99")
RATES = ("request_throughput", "output_throughput", "total_token_throughput")
METRICS: tuple[str, ...] = (*RATES, *(f"{latency}_{statistic}" for latency in LATENCIES for statistic in STATISTICS))
"""Names an objective or SLO may use: rates per second, latencies in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """What a run showed. `metrics` has METRICS as keys; a latency that no request had is left out."""

    duration_s: float
    completed: int
    failed: int
    total_input_tokens: int
    total_output_tokens: int
    metrics: dict[str, float]
    errors: dict[str, int]
    """How often each error was seen."""


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
    gaps = np.concatenate([np.diff(r.chunk_s) for r in done])
    metrics: dict[str, float] = {
        "request_throughput": len(done) / duration_s,
        "output_throughput": outputs / duration_s,
        "total_token_throughput": (inputs + outputs) / duration_s,
        **_statistics("ttft", [r.ttft_s for r in done]),
        **_statistics("tpot", [tpot for r in done if (tpot := r.tpot_s) is not None]),
        **_statistics("itl", gaps.tolist()),
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
    )


def _statistics(name: str, values: Iterable[float]) -> dict[str, Any]:
    array = np.asarray(list(values))
    if array.size == 0:
        return {}
    p50, p95, p99 = np.percentile(array, [50, 95, 99])
    return {
        f"{name}_mean": float(array.mean()),
        f"{name}_p50": float(p50),
        f"{name}_p95": float(p95),
        f"{name}_p99": float(p99),
    }

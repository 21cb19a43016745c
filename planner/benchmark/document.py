"""A bench as data: JSON with the keys of `vllm bench serve` and ours, and CSV rows.

In: a `Bench`, or documents read back. Out: plain data. Milliseconds where vLLM's keys say so.

Source of the keys: vllm@0.32 benchmarks/serve.py:main_async and :benchmark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import fmean
from typing import Any

import msgspec

from planner.benchmark.capacity.search import Capacity
from planner.benchmark.capacity.stress import StressReport
from planner.benchmark.client.server import ServerFacts
from planner.benchmark.intervals import intervals
from planner.benchmark.metric import LATENCIES, METRICS, RATES, Metric
from planner.benchmark.metrics import (
    Attainment,
    BenchmarkResult,
    attainment,
    of_requests,
    peaks,
    summarize,
)
from planner.benchmark.records import RequestRecord
from planner.benchmark.session import Bench, Repeat
from planner.benchmark.slo import limits_of
from planner.engine import COUNTERS
from planner.statistics import Interval
from planner.units import to_ms
from planner.version import __version__
from planner.workload import OpenLoop, Workload, in_words, limit_of

BACKENDS = {"completions": "openai", "chat": "openai-chat"}
"""vLLM's name of the request function for each of our endpoints."""
_STATISTICS = {"mean": "mean", "p50": "median", "std": "std", "p90": "p90", "p95": "p95", "p99": "p99"}


def key_of(name: str) -> str:
    """vLLM's key for one of our metrics: `ttft_p50` is `median_ttft_ms`."""
    metric = Metric.parse(name)
    return f"{_STATISTICS[metric.statistic]}_{metric.family}_ms" if metric.is_latency else name


def read_metrics(document: Mapping[str, float]) -> dict[str, float]:
    """Our metrics, read from a document with vLLM's keys: latencies in seconds. A median may also be called p50."""
    read = {}
    for name in METRICS:
        for key in (key_of(name), key_of(name).replace("median_", "p50_")):
            if key in document:
                read[name] = document[key] if name in RATES else document[key] / to_ms(1.0)
    return read


# --- JSON -------------------------------------------------------------------------------------------------------------


def document(bench: Bench, now: datetime, label: str | None = None, detailed: bool = False) -> dict[str, Any]:
    """All repeats as one run with vLLM's keys and meaning; then ours: intervals, steady state, SLO, client, server."""
    records = bench.records
    pooled, duration_s = pool(bench.repeats)
    limits = kept_requests(bench)
    return {
        **_vllm_head(bench, now, label),
        "duration": duration_s,
        "completed": pooled.completed,
        "failed": pooled.failed,
        "total_input_tokens": pooled.total_input_tokens,
        "total_output_tokens": pooled.total_output_tokens,
        "request_throughput": pooled.completed / duration_s,
        "request_goodput": limits.good / duration_s if limits else None,
        "output_throughput": pooled.total_output_tokens / duration_s,
        "total_token_throughput": (pooled.total_input_tokens + pooled.total_output_tokens) / duration_s,
        "latencies": [r.e2el_s for r in records],
        "queue_times": [r.queue_s for r in records],
        **(_details(records) if detailed else {}),
        "max_output_tokens_per_s": max(peaks(repeat.records)[0] for repeat in bench.repeats),
        "max_concurrent_requests": max(peaks(repeat.records)[1] for repeat in bench.repeats),
        "rtfx": 0.0,
        **{key_of(name): to_ms(value) for name, value in pooled.metrics.items() if name not in RATES},
        **_median_keys(pooled.metrics),
        **_ours(bench, pooled, duration_s, limits),
    }


def pool(repeats: Sequence[Repeat]) -> tuple[BenchmarkResult, float]:
    """Result over the requests of all repeats, and the sum of the repeats' durations in seconds, without pauses."""
    result = summarize([record for repeat in repeats for record in repeat.records])
    return result, sum(repeat.result.duration_s for repeat in repeats)


def _median_keys(metrics: Mapping[str, float]) -> dict[str, float]:
    """`p50_...` keys beside `median_...`, as vLLM writes when asked for that percentile."""
    return {f"p50_{family}_ms": to_ms(metrics[f"{family}_p50"]) for family in LATENCIES if f"{family}_p50" in metrics}


def _vllm_head(bench: Bench, now: datetime, label: str | None) -> dict[str, Any]:
    shape, backend = bench.shape, BACKENDS[bench.workload.endpoint]
    rate, burstiness = (shape.rate_per_s, shape.burstiness) if isinstance(shape, OpenLoop) else ("inf", 1.0)
    return {
        "date": now.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": backend,
        "backend": backend,
        "label": label,
        "model_id": bench.facts.model,
        "tokenizer_id": bench.facts.model,
        "num_prompts": len(bench.records),
        "request_rate": rate,
        "burstiness": _number(burstiness),
        "max_concurrency": limit_of(shape),
    }


def _details(records: Sequence[RequestRecord]) -> dict[str, Any]:
    """Lists with one entry per request, zero where it failed, as vLLM's `--save-detailed` writes them."""
    done = [record.error is None for record in records]
    return {
        "input_lens": [r.input_tokens for r in records],
        "output_lens": [r.output_tokens if ok else 0 for r, ok in zip(records, done, strict=True)],
        "ttfts": [r.ttft_s if r.chunk_s else 0.0 for r in records],
        "itls": [[b - a for a, b in zip(r.chunk_s, r.chunk_s[1:], strict=False)] for r in records],
        "start_times": [r.started_s for r in records],
        "generated_texts": [r.text for r in records],
        "errors": [r.error or "" for r in records],
        "finish_reasons": [r.finish_reason for r in records],
    }


def _ours(bench: Bench, pooled: BenchmarkResult, duration_s: float, limits: Attainment | None) -> dict[str, Any]:
    steady = [repeat.result.steady for repeat in bench.repeats if repeat.result.steady is not None]
    return {
        "planner_version": __version__,
        "simulated": bench.facts.simulated,
        "server_url": bench.facts.base_url,
        "server_version": bench.facts.version,
        "workload": asked_of(bench.workload),
        "load": in_words(bench.shape),
        "load_level": level_of(bench),
        "input_throughput": pooled.total_input_tokens / duration_s,
        "error_rate": pooled.failed / (pooled.completed + pooled.failed),
        "error_counts": pooled.errors,
        "slo": bench.slo,
        "slo_attainment": limits.fraction if limits else None,
        "slo_attainment_by_limit": limits.by_limit if limits else {},
        "slo_kept": not broken_limits(bench),
        "intervals": {key_of(n): _interval(n, interval) for n, interval in intervals(bench).items()},
        "steady_state_duration": sum(s.duration_s for s in steady) if steady else None,
        "steady_state_request_throughput": fmean(s.request_throughput for s in steady) if steady else None,
        "steady_state_output_throughput": fmean(s.output_throughput for s in steady) if steady else None,
        "steady_state_total_token_throughput": fmean(s.total_token_throughput for s in steady) if steady else None,
        "prompts_were_cached": seen_before(bench),
        "drift_significant": any(repeat.drift is not None and repeat.drift.is_drift for repeat in bench.repeats),
        "client_was_bottleneck": bench.client_fault is not None,
        "client_fault": bench.client_fault,
        **_client(bench.repeats),
        **_server(bench.repeats),
        "repeats": [_repeat(repeat) for repeat in bench.repeats],
    }


def level_of(bench: Bench) -> float | None:
    shape = bench.shape
    return shape.rate_per_s if isinstance(shape, OpenLoop) else limit_of(shape)


def kept_requests(bench: Bench) -> Attainment | None:
    """Number of requests that kept the latency limits; None if the SLO has no latency limit."""
    limits = of_requests(bench.slo)
    return attainment(bench.records, limits) if limits else None


def broken_limits(bench: Bench) -> list[str]:
    """One message for each limit that any repeat broke, from the repeat that broke it most."""
    results = [repeat.result for repeat in bench.repeats]
    judged = [
        [limit.judge(result.metrics[limit.metric.name]) for result in results if limit.metric.name in result.metrics]
        for limit in limits_of(bench.slo)
    ]
    worst = [max(each, key=lambda constraint: constraint.excess) for each in judged if each]
    return [constraint.message for constraint in worst if constraint.excess > 0]


def _interval(name: str, interval: Interval) -> dict[str, Any]:
    def shown(value: float) -> float | None:
        return _number(value if name in RATES else to_ms(value))

    return {
        "value": shown(interval.value),
        "low": shown(interval.low),
        "high": shown(interval.high),
        "method": interval.method,
    }


def _number(value: float) -> float | None:
    """The value, or None where it is not finite: JSON has no infinity."""
    return value if math.isfinite(value) else None


def asked_of(workload: Workload) -> dict[str, Any]:
    """The workload's fields as plain data."""
    values = msgspec.to_builtins(workload, enc_hook=float)
    return {**values, "burstiness": _number(workload.burstiness)}


def _client(repeats: Sequence[Repeat]) -> dict[str, Any]:
    clients = [repeat.client for repeat in repeats]
    chunks = sum(client.num_chunks for client in clients)
    return {
        "client_cpu_fraction": max(client.cpu_fraction for client in clients),
        "client_cpu_us_per_chunk": to_ms(to_ms(sum(client.cpu_s for client in clients))) / chunks if chunks else None,
        "client_num_processes": max(client.num_processes for client in clients),
        "client_loop_lag_mean_ms": to_ms(fmean(client.loop_lag_mean_s for client in clients)),
        "client_loop_lag_p99_ms": to_ms(max(client.loop_lag_p99_s for client in clients)),
        "client_loop_lag_max_ms": to_ms(max(client.loop_lag_max_s for client in clients)),
        "client_dispatch_late_mean_ms": to_ms(fmean(client.dispatch_late_mean_s for client in clients)),
        "client_dispatch_late_p99_ms": to_ms(max(client.dispatch_late_p99_s for client in clients)),
        "client_dispatch_late_max_ms": to_ms(max(client.dispatch_late_max_s for client in clients)),
        "client_bytes_sent": sum(client.bytes_sent for client in clients),
        "client_bytes_received": sum(client.bytes_received for client in clients),
    }


def _server(repeats: Sequence[Repeat]) -> dict[str, Any]:
    """The server's own counters over the measured windows; None for a counter that it does not have."""
    windows = [window for repeat in repeats for window in repeat.telemetry]
    found: dict[str, Any] = {}
    for name in COUNTERS:
        values = [value for window in windows if (value := getattr(window, name)) is not None]
        found[f"server_{name}"] = sum(values) if values else None
    queries, hits = found["server_prefix_cache_queries"], found["server_prefix_cache_hits"]
    found["server_prefix_cache_hit_rate"] = hits / queries if queries and hits is not None else None
    for name in ("kv_cache_usage_fraction", "num_requests_running", "num_requests_waiting"):
        found[f"server_{name}_peak"] = max((r.peaks[name] for r in repeats if name in r.peaks), default=None)
    found["server_drained"] = all(repeat.drained for repeat in repeats)
    return found


UNEXPECTED_HITS = 0.1


def seen_before(bench: Bench) -> bool:
    """Whether the prefix cache hit far more than the workload repeats: an earlier run sent the same prompts."""
    hit_rate, workload = _server(bench.repeats)["server_prefix_cache_hit_rate"], bench.workload
    if hit_rate is None or workload.prompts is not None:
        return False
    return bool(hit_rate > workload.mean_seen_tokens / workload.mean_input_tokens + UNEXPECTED_HITS)


def _repeat(repeat: Repeat) -> dict[str, Any]:
    result = repeat.result
    return {
        "duration": result.duration_s,
        "completed": result.completed,
        "failed": result.failed,
        **{key_of(n): value if n in RATES else to_ms(value) for n, value in result.metrics.items()},
        "steady_state": asdict(result.steady) if result.steady is not None else None,
        "drift": None if repeat.drift is None else {**asdict(repeat.drift), "change": repeat.drift.change},
        "client_fault": repeat.client_fault,
        "first_index": min(record.index for record in repeat.records),
    }


# --- CSV --------------------------------------------------------------------------------------------------------------


def csv_rows(documents: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """One row for each repeat of each level, starting with the load level."""
    rows: list[list[Any]] = []
    names: list[str] = []
    for one in documents:
        for number, repeat in enumerate(one["repeats"]):
            flat = {k: v for k, v in repeat.items() if not isinstance(v, dict) and k != "steady_state" and k != "drift"}
            if not names:
                names = list(flat)
                rows.append(["load", "load_level", "repeat", *names])
            rows.append([one["load"], one["load_level"], number, *(flat.get(name) for name in names)])
    return rows


# --- capacity and stress ----------------------------------------------------------------------------------------------


def capacity_document(
    capacity: Capacity, unit: str, facts: ServerFacts, workload: Workload, slo: Mapping[str, float], fault: str | None
) -> dict[str, Any]:
    return {
        "model_id": facts.model,
        "simulated": facts.simulated,
        "workload": asked_of(workload),
        "slo": dict(slo),
        "unit": unit,
        "capacity": capacity.level,
        "capacity_low": capacity.low,
        "capacity_high": _number(capacity.high),
        "steady": capacity.is_steady,
        "client_was_bottleneck": fault is not None,
        "client_fault": fault,
        "num_requests": capacity.num_requests,
        "levels": [asdict(level) for level in capacity.levels],
    }


def stress_document(report: StressReport, facts: ServerFacts, workload: Workload) -> dict[str, Any]:
    return {
        "model_id": facts.model,
        "simulated": facts.simulated,
        "workload": asked_of(workload),
        "verdict": report.verdict,
        "passed": report.exit_code == 0,
        "server_answers": report.is_alive,
        "limits": list(report.limits),
        "requests": [
            {
                "index": fate.record.index,
                "answer": fate.fate,
                "why": fate.words,
                "input_tokens": fate.record.input_tokens,
                "output_tokens": fate.record.output_tokens,
                "finish_reason": fate.record.finish_reason,
                "ttft": fate.record.ttft_s if fate.record.chunk_s else None,
                "latency": fate.record.e2el_s,
                "error": fate.record.error,
            }
            for fate in report.fates
        ],
    }

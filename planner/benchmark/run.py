"""Carry out `planner bench`: choose workload and load, then measure once, sweep, search the capacity or stress.

In: `BenchAsk`. Out: `BenchOutcome`: tables to print, documents to write, an exit code. Prints nothing itself.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark.ask import REPEATS, BenchAsk, refuse_other_loads, workload_of
from planner.benchmark.capacity.ahead import LoadsAhead
from planner.benchmark.capacity.loads import LevelLoader
from planner.benchmark.capacity.search import Capacity, LevelResult, find_capacity
from planner.benchmark.capacity.stress import run_stress
from planner.benchmark.client.access import Access
from planner.benchmark.client.address import server_url
from planner.benchmark.client.server import ServerFacts, probe_server
from planner.benchmark.compare import compare_documents, comparison_document, judged, parse_tolerances
from planner.benchmark.document import (
    broken_limits,
    capacity_document,
    csv_rows,
    document,
    stress_document,
)
from planner.benchmark.metrics import of_requests
from planner.benchmark.session import Bench, BenchOptions, OnStage, bench_server, plans_of, target_of
from planner.benchmark.slo import parse_slo
from planner.benchmark.view import capacity_table, comparison_table, level_line, result_table, stress_table, sweep_table
from planner.errors import InputError
from planner.files import read_text, write_whole
from planner.model import load_model
from planner.terminal import BenchTable
from planner.workload import ClosedLoop, OpenLoop, Shape, Workload, shape_of, sweep, window_words

EXIT_LIMITS_BROKEN, EXIT_CLIENT_AT_FAULT = 3, 5
MAX_CONCURRENCY, MAX_RATE = 4096.0, 10_000.0
"""Highest concurrency, and highest rate in requests per second, that a capacity search tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOutcome:
    tables: tuple[BenchTable, ...]
    documents: tuple[dict[str, Any], ...]
    exit_code: int = 0


def run_bench(asked: BenchAsk, on_stage: OnStage, on_line: Callable[[str], None], now: datetime) -> BenchOutcome:
    """Run the bench that was asked for. Raises InputError or BenchmarkError."""
    workload, prompts = workload_of(asked)
    if words := window_words(prompts, workload.window, workload.num_requests):
        on_line(words)
    slo = parse_slo(asked.slo)
    if asked.finds_capacity and not slo:
        raise InputError("--find-capacity needs limits to keep, for example --slo ttft_p95=10s,tpot_p95=200ms")
    if asked.finds_capacity and (rates := slo.keys() - of_requests(slo)):
        raise InputError(f"--slo {min(rates)}: a capacity is judged request by request; allowed: limits of latencies")
    access = Access(api_key=_api_key(asked.api_key_env), ca_file=asked.ca_file, insecure=asked.insecure)
    vocab_size = load_model(asked.model_dir).vocab_size if asked.model_dir is not None else None
    shape = shape_of(workload, plans_of(workload, 1, prompts)[1][0])
    shapes = (shape,) if asked.sweep is None else sweep(shape, _levels(asked.sweep))
    refuse_other_loads(asked, shapes[0], prompts)
    url = server_url(asked.url)
    if url != asked.url.strip():
        on_line(f"{asked.url.strip()} names no scheme: asking {url}")
    facts = probe_server(url, asked.model, workload.endpoint, access, vocab_size)
    options = BenchOptions(
        keeps_text=asked.detailed, prompts=prompts, client_processes=asked.client_processes, on_stage=on_stage
    )
    if asked.preset is not None:
        return _stress(facts, workload, options)
    if asked.finds_capacity:
        return _capacity(facts, workload, shape, slo, options, on_line)
    benches = []
    for one in shapes:
        benches.append(bench_server(facts, _at(workload, one), one, asked.repeats or REPEATS, slo, options))
        if asked.sweep is not None:
            on_line(f"{len(benches)} of {len(shapes)} levels measured")
    tables = tuple(result_table(bench) for bench in benches)
    return BenchOutcome(
        tables=tables if asked.sweep is None else (sweep_table(benches),),
        documents=tuple(document(bench, now, asked.label, asked.detailed) for bench in benches),
        exit_code=_exit_code(benches),
    )


def _exit_code(benches: Sequence[Bench]) -> int:
    if any(bench.client_fault for bench in benches):
        return EXIT_CLIENT_AT_FAULT
    return EXIT_LIMITS_BROKEN if any(broken_limits(bench) for bench in benches) else 0


def _levels(text: str) -> list[float]:
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError:
        levels = []
    if not levels or not all(0 < level <= MAX_RATE for level in levels):
        raise InputError(f"--sweep {text!r}: allowed: numbers above 0, at most {MAX_RATE:g}, for example 1,2,4,8")
    return levels


def _api_key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if variable not in os.environ:
        raise InputError(f"--api-key-env: the environment has no {variable}")
    return os.environ[variable]


def _at(workload: Workload, shape: Shape) -> Workload:
    """The workload at this load, with a warm-up of the same concurrency."""
    if not isinstance(shape, ClosedLoop) or workload.warmup_requests is not None:
        return workload
    return msgspec.structs.replace(workload, concurrency=shape.concurrency)


# --- stress, capacity, comparison -------------------------------------------------------------------------------------


def _stress(facts: ServerFacts, workload: Workload, options: BenchOptions) -> BenchOutcome:
    _, (plans,) = plans_of(workload, 1)
    target = target_of(facts, workload, options, [plans])
    report = run_stress(facts, target, plans, workload.concurrency)
    title = f"{workload.name}: {workload.concurrency} requests at once to {facts.model} at {facts.base_url}"
    return BenchOutcome(
        tables=(stress_table(report, title),),
        documents=(stress_document(report, facts, workload),),
        exit_code=report.exit_code,
    )


def _capacity(
    facts: ServerFacts,
    workload: Workload,
    shape: Shape,
    slo: dict[str, float],
    options: BenchOptions,
    on_line: Callable[[str], None],
) -> BenchOutcome:
    by_rate = isinstance(shape, OpenLoop)
    start = shape.rate_per_s if isinstance(shape, OpenLoop) else float(min(workload.concurrency, 8))
    most = MAX_RATE if by_rate else MAX_CONCURRENCY
    loader, ahead = LevelLoader(facts, workload, shape, slo, options), LoadsAhead(start, most, by_rate)
    loader.stage = ahead.stage

    def on_level(level: LevelResult) -> None:
        ahead.ended(level.level, level.is_kept)
        on_line("; ".join(filter(None, (level_line(level), ahead.words))))

    ahead.begins()
    capacity: Capacity = find_capacity(loader.load, slo, start, most, by_rate, on_level)
    unit, fault = "request rate" if by_rate else "concurrency", loader.fault_within(capacity)
    broken = EXIT_LIMITS_BROKEN if capacity.level is None else 0
    return BenchOutcome(
        tables=(capacity_table(capacity, unit, fault),),
        documents=(capacity_document(capacity, unit, facts, workload, slo, fault),),
        exit_code=EXIT_CLIENT_AT_FAULT if fault else broken,
    )


def bench_json(outcome: BenchOutcome) -> str:
    """The one document as JSON, or the list of a sweep's documents."""
    content = outcome.documents[0] if len(outcome.documents) == 1 else list(outcome.documents)
    return msgspec.json.format(msgspec.json.encode(content, enc_hook=float)).decode()  # NumPy's numbers are floats


def write_csv(outcome: BenchOutcome, path: Path) -> None:
    """Write one row per repeat. Raises InputError if the file cannot be written."""
    text = io.StringIO()
    csv.writer(text).writerows(csv_rows(outcome.documents))
    try:
        write_whole(path, text.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def compare_files(first: Path, second: Path, fail_on: Sequence[str] = ()) -> BenchOutcome:
    """Compare two result files, written by this program or by `vllm bench serve`. Raises InputError.

    Exit code 3 if a metric of `fail_on`, such as `ttft_p95:5%`, is surely worse by more.
    """
    tolerances = parse_tolerances(fail_on)
    documents = []
    for path in (first, second):
        try:
            documents.append(msgspec.json.decode(read_text(path), type=dict[str, Any]))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: is not a result of a benchmark: {error}") from None
    comparisons = compare_documents(documents[0], documents[1])
    if not comparisons:
        raise InputError(f"{first}, {second}: have no metric in common")
    names = (first.name, second.name) if first.name != second.name else (str(first), str(second))
    judgements = [(one, judged(comparisons, one)) for one in tolerances]
    has_failed = any(tolerance.fails(comparison) for tolerance, comparison in judgements)
    return BenchOutcome(
        tables=(comparison_table(comparisons, names, judgements),),
        documents=(comparison_document(comparisons, names, judgements),),
        exit_code=EXIT_LIMITS_BROKEN if has_failed else 0,
    )

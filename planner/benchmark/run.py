"""Carry out `planner bench`: choose workload and load, then measure once, sweep, search the capacity or stress.

In: `BenchAsk`. Out: `BenchOutcome`: tables to print, documents to write, an exit code. Prints nothing itself.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from planner.benchmark.capacity.loads import LevelLoader
from planner.benchmark.capacity.search import Capacity, LevelResult, find_capacity
from planner.benchmark.capacity.stress import preset, run_stress
from planner.benchmark.client.access import Access
from planner.benchmark.client.server import ServerFacts, probe_server
from planner.benchmark.compare import compare_documents
from planner.benchmark.document import broken_limits, capacity_document, csv_rows, document, stress_document
from planner.benchmark.metrics import of_requests
from planner.benchmark.session import Bench, BenchOptions, OnStage, bench_server, plans_of, target_of
from planner.benchmark.slo import parse_slo
from planner.benchmark.view import capacity_table, comparison_table, level_line, result_table, stress_table, sweep_table
from planner.errors import InputError
from planner.files import PROMPTS_BYTES, convert, load_named, read_text
from planner.model import load_model
from planner.terminal import BenchTable
from planner.units import parse_seconds
from planner.workload import (
    MOST_REQUESTS,
    ClosedLoop,
    GivenPrompt,
    OpenLoop,
    Shape,
    Workload,
    read_prompts,
    shape_of,
    sweep,
)

EXIT_LIMITS_BROKEN, EXIT_CLIENT_AT_FAULT = 3, 5
MAX_CONCURRENCY, MAX_RATE = 4096.0, 10_000.0
"""Highest concurrency, and highest rate in requests per second, that a capacity search tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchAsk:
    """The command's options as written."""

    url: str
    workload: str = "chat"
    model: str | None = None
    model_dir: str | None = None
    endpoint: str | None = None
    concurrency: int | None = None
    max_concurrency: int | None = None
    request_rate: float | None = None
    start_rate: float | None = None
    burstiness: float | None = None
    ramp: str | None = None
    trace_speed: float | None = None
    num_requests: int | None = None
    repeats: int = 3
    input_tokens: int | None = None
    output_tokens: int | None = None
    seed: int | None = None
    timeout: str | None = None
    slo: str | None = None
    sweep: str | None = None
    finds_capacity: bool = False
    preset: str | None = None
    api_key_env: str | None = None
    ca_file: str | None = None
    insecure: bool = False
    client_processes: int | None = None
    label: str | None = None
    detailed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOutcome:
    tables: tuple[BenchTable, ...]
    documents: tuple[dict[str, Any], ...]
    exit_code: int = 0


def run_bench(asked: BenchAsk, on_stage: OnStage, on_line: Callable[[str], None], now: datetime) -> BenchOutcome:
    """Run the bench that was asked for. Raises InputError or BenchmarkError."""
    workload, prompts = workload_of(asked)
    slo = parse_slo(asked.slo)
    if asked.finds_capacity and not slo:
        raise InputError("--find-capacity needs limits to keep, for example --slo ttft_p95=10s,tpot_p95=200ms")
    if asked.finds_capacity and (rates := slo.keys() - of_requests(slo)):
        raise InputError(f"--slo {min(rates)}: a capacity is judged request by request; allowed: limits of latencies")
    access = Access(api_key=_api_key(asked.api_key_env), ca_file=asked.ca_file, insecure=asked.insecure)
    vocab_size = load_model(asked.model_dir).vocab_size if asked.model_dir is not None else None
    facts = probe_server(asked.url, asked.model, workload.endpoint, access, vocab_size)
    options = BenchOptions(
        keeps_text=asked.detailed, prompts=prompts, client_processes=asked.client_processes, on_stage=on_stage
    )
    if asked.preset is not None:
        return _stress(facts, workload, options)
    shape = shape_of(workload, plans_of(workload, 1, prompts)[1][0])
    if asked.finds_capacity:
        return _capacity(facts, workload, shape, slo, options, on_line)
    shapes = (shape,) if asked.sweep is None else sweep(shape, _levels(asked.sweep))
    benches = []
    for one in shapes:
        benches.append(bench_server(facts, _at(workload, one), one, asked.repeats, slo, options))
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


# --- what is asked ----------------------------------------------------------------------------------------------------


def workload_of(asked: BenchAsk) -> tuple[Workload, list[GivenPrompt]]:
    """The workload with the command's options applied, and its recorded prompts. Raises InputError.

    A concurrency makes it a closed loop, whatever rate or trace the workload has.
    """
    if asked.concurrency is not None and asked.request_rate is not None:
        raise InputError("--concurrency is a closed loop's, --request-rate an open one's; a limit is --max-concurrency")
    workload, folder = (preset(asked.preset), Path()) if asked.preset is not None else _named(asked.workload)
    changes: dict[str, Any] = {name: value for name in OVERLAID if (value := getattr(asked, name)) is not None}
    if asked.concurrency is not None:
        changes |= {"request_rate": None, "start_rate": None}
    if asked.preset is not None and asked.concurrency is not None and asked.num_requests is None:
        changes["num_requests"] = asked.concurrency
    changes |= {
        key: _seconds(option, text)
        for key, option, text in (("request_timeout", "--timeout", asked.timeout), ("ramp", "--ramp", asked.ramp))
        if text is not None
    }
    data = {**msgspec.to_builtins(workload, enc_hook=float), **changes}
    workload = convert(data, Workload, f"workload {workload.name}")
    if workload.prompts is None:
        return workload, []
    path = folder / workload.prompts
    prompts = _prompts_of(path)
    if asked.concurrency is not None:
        prompts = [msgspec.structs.replace(prompt, arrival_s=None) for prompt in prompts]
    return workload, prompts


OVERLAID = (
    "concurrency", "max_concurrency", "num_requests", "request_rate", "start_rate", "burstiness", "trace_speed",
    "input_tokens", "output_tokens", "seed", "endpoint",
)  # fmt: skip
"""Options that are also keys of the workload."""


def _seconds(option: str, text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def _prompts_of(path: Path) -> list[GivenPrompt]:
    """Recorded prompts of a JSONL file. Raises InputError."""
    text = read_text(path, PROMPTS_BYTES)
    try:
        return read_prompts(text)
    except (ValueError, RecursionError) as error:
        allowed = "lines of {prompt or input_tokens, output_tokens, arrival_s}, or ShareGPT"
        raise InputError(f"{path}: {error}; allowed: {allowed}") from None


def _named(name: str) -> tuple[Workload, Path]:
    """Workload by file or shipped name, and the folder its paths are relative to. A JSONL file is itself a workload."""
    path = Path(name)
    if path.suffix in (".jsonl", ".json") and os.path.isfile(path):
        count = min(len(_prompts_of(path)), MOST_REQUESTS)
        return Workload(name=path.stem, concurrency=16, num_requests=count, prompts=path.name), path.parent
    return load_named(path.name, Workload, path.parent, "workloads"), path.parent


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
    loader = LevelLoader(facts, workload, shape, slo, options)

    def on_level(level: LevelResult) -> None:
        on_line(level_line(level))

    most = MAX_RATE if by_rate else MAX_CONCURRENCY
    capacity: Capacity = find_capacity(loader.load, slo, start, most, by_rate, on_level)
    unit, fault = "request rate" if by_rate else "concurrency", loader.fault_within(capacity)
    broken = EXIT_LIMITS_BROKEN if capacity.level is None else 0
    return BenchOutcome(
        tables=(capacity_table(capacity, unit, fault),),
        documents=(capacity_document(capacity, unit, facts, workload, slo, fault),),
        exit_code=EXIT_CLIENT_AT_FAULT if fault else broken,
    )


def write_outcome(outcome: BenchOutcome, json_file: Path | None, csv_file: Path | None) -> None:
    """Write one document, or the list of a sweep's documents. Raises InputError if a file cannot be written."""
    try:
        if json_file is not None:
            content = outcome.documents[0] if len(outcome.documents) == 1 else list(outcome.documents)
            json_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        if csv_file is not None:
            with csv_file.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(csv_rows(outcome.documents))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be written: {error.strerror}") from None


def compare_files(first: Path, second: Path) -> tuple[BenchTable, ...]:
    """Compare two result files, written by this program or by `vllm bench serve`. Raises InputError."""
    documents = []
    for path in (first, second):
        try:
            documents.append(msgspec.json.decode(read_text(path), type=dict[str, Any]))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: is not a result of a benchmark: {error}") from None
    comparisons = compare_documents(documents[0], documents[1])
    if not comparisons:
        raise InputError(f"{first}, {second}: have no metric in common")
    return (comparison_table(comparisons, (first.name, second.name)),)

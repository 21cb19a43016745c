"""What a person reads of a bench: tables as rows of text, with notes. The command prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from planner.benchmark.capacity.search import Capacity, LevelResult
from planner.benchmark.capacity.stress import StressReport
from planner.benchmark.compare import BenchComparison, Tolerance
from planner.benchmark.document import broken_limits, kept_requests, level_of, pool, seen_before
from planner.benchmark.intervals import intervals
from planner.benchmark.load.client_health import ClientHealth
from planner.benchmark.metric import LATENCIES, Metric
from planner.benchmark.metrics import BenchmarkResult
from planner.benchmark.session import Bench
from planner.statistics import Interval
from planner.terminal import BenchTable
from planner.units import format_count, format_duration, format_ms
from planner.workload import in_words


def result_table(bench: Bench) -> BenchTable:
    """The headline numbers with their intervals, and notes about the run."""
    known = intervals(bench)
    pooled, duration_s = pool(bench.repeats)
    rows = [
        (name.replace("_", " "), Metric.parse(name).format(known[name].value), _spread(name, known[name]))
        for name in ("request_throughput", "output_throughput", "total_token_throughput")
        if name in known
    ]
    for family in LATENCIES:
        for statistic in ("mean", "p50", "p95", "p99"):
            name = f"{family}_{statistic}"
            if name in known:
                rows.append((f"{family} {statistic}", format_ms(known[name].value), _spread(name, known[name])))
    title = f"{bench.facts.model} at {bench.facts.base_url}: {bench.workload.name}, {in_words(bench.shape)}"
    return BenchTable(title, ("metric", "value", "95 % interval"), tuple(rows), _notes(bench, pooled, duration_s))


def _spread(name: str, interval: Interval) -> str:
    if not math.isfinite(interval.half_width):
        return "not known"
    low, high = max(0.0, interval.low), interval.high
    metric = Metric.parse(name)
    return f"{metric.format(low)} to {metric.format(high)}"


def _notes(bench: Bench, pooled: BenchmarkResult, duration_s: float) -> tuple[str, ...]:
    notes = []
    if bench.facts.simulated:
        notes.append("SIMULATED server: not a measurement")
    total = pooled.completed + pooled.failed
    repeats = f"{len(bench.repeats)} repeats" if len(bench.repeats) > 1 else "1 repeat"
    notes.append(f"{pooled.completed} of {total} requests completed in {format_duration(duration_s)}, {repeats}")
    tokens_in, tokens_out = format_count(pooled.total_input_tokens), format_count(pooled.total_output_tokens)
    notes.append(f"{tokens_in} tokens in, {tokens_out} out")
    notes += [f"{count} x {error}" for error, count in sorted(pooled.errors.items())]
    steady = [repeat.result.steady.output_throughput for repeat in bench.repeats if repeat.result.steady is not None]
    notes.append(
        f"steady state (ramp and tail left out): {Metric('output_throughput').format(fmean(steady))}"
        if steady
        else "no steady state: ask for more requests than four times the concurrency"
    )
    if (kept := kept_requests(bench)) is not None:
        goodput = Metric("request_throughput").format(kept.good / duration_s)
        notes.append(f"SLO: {kept.fraction:.1%} of the requests kept every limit, goodput {goodput}")
    notes += [f"SLO broken: {text}" for text in broken_limits(bench)]
    notes += _warnings(bench)
    return tuple(notes)


def _warnings(bench: Bench) -> list[str]:
    found = []
    for number, repeat in enumerate(bench.repeats):
        if repeat.client_fault:
            found.append(f"THE CLIENT WAS THE BOTTLENECK in repeat {number}: {repeat.client_fault}")
        if repeat.drift is not None and repeat.drift.is_drift:
            found.append(
                f"drift in repeat {number}: latency changed by {repeat.drift.change:+.0%} from first half to second"
            )
        if not repeat.drained:
            found.append(f"the server was still busy when repeat {number} began: someone else uses it")
    if seen_before(bench):
        found.append("the server had these prompts in its prefix cache from an earlier run: choose another --seed")
    client = max((repeat.client for repeat in bench.repeats), key=lambda c: c.cpu_fraction)
    found.append(
        f"client: {_cores(client)}, loop late by {format_ms(client.loop_lag_mean_s)} on average, "
        f"dispatch by {format_ms(client.dispatch_late_mean_s)}"
    )
    return found


def _cores(client: ClientHealth) -> str:
    one = f"{client.cpu_fraction:.0%} of a core"
    return one if client.num_processes == 1 else f"{client.num_processes} processes, each {one}"


def sweep_table(benches: Sequence[Bench]) -> BenchTable:
    """Table of a sweep, with one row per level."""
    rows = []
    for bench in benches:
        known = intervals(bench)
        kept = kept_requests(bench)
        rows.append((
            f"{level_of(bench):g}",
            *(Metric.parse(n).format(known[n].value) if n in known else "-" for n in _SWEEP),
            " ".join((f"{kept.fraction:.0%}" if kept else "", "broken" if broken_limits(bench) else "")).strip(),
            "client was the bottleneck" if bench.client_fault else "",
        ))  # fmt: skip
    columns = ("level", *(name.replace("_", " ") for name in _SWEEP), "SLO", "note")
    return BenchTable("Sweep", columns, tuple(rows))


_SWEEP = ("request_throughput", "output_throughput", "ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95", "e2el_p95")


def comparison_table(
    comparisons: Sequence[BenchComparison],
    names: tuple[str, str],
    judgements: Sequence[tuple[Tolerance, BenchComparison]] = (),
) -> BenchTable:
    """Table of two results, with one row per metric, and a note for each `--fail-on`."""
    rows = [
        (
            c.metric.name.replace("_", " "),
            c.metric.format(c.first),
            c.metric.format(c.second),
            _difference_text(c),
            c.verdict,
        )
        for c in comparisons
    ]
    methods = dict.fromkeys(c.difference.method for c in comparisons)
    notes = [f"means over the repeats; differences with 95 % intervals by {' or '.join(methods)}"]
    notes += [tolerance_words(tolerance, comparison) for tolerance, comparison in judgements]
    columns = ("metric", *names, "difference, 95 % interval", "verdict")
    return BenchTable(f"{names[1]} against {names[0]}", columns, tuple(rows), tuple(notes))


def tolerance_words(tolerance: Tolerance, comparison: BenchComparison) -> str:
    """The verdict on one `--fail-on`, with the figure that was judged."""
    sure = (
        f"surely worse by {comparison.surely_worse_by:.1%} at least"
        if comparison.is_judged and comparison.surely_worse_by > 0
        else "not surely worse"
        if comparison.is_judged
        else "without an interval, judged as it is"
    )
    by = f"worse by {comparison.worse_by:.1%}" if comparison.worse_by > 0 else f"better by {-comparison.worse_by:.1%}"
    return f"--fail-on {tolerance.words}: {'FAILED' if tolerance.fails(comparison) else 'kept'}: {by}, {sure}"


def _difference_text(comparison: BenchComparison) -> str:
    def signed(value: float) -> str:
        return f"{'-' if value < 0 else '+'}{comparison.metric.format(abs(value))}"

    difference = comparison.difference
    if not comparison.is_judged:
        return signed(difference.value)
    return f"{signed(difference.value)} ({signed(difference.low)} to {signed(difference.high)})"


def capacity_table(capacity: Capacity, unit: str, client_fault: str | None = None) -> BenchTable:
    """Table of a capacity search: one row per level in the order tried, with the answer as a note."""
    rows = tuple(
        (f"{one.level:g}", one.judgement.verdict, str(one.num_requests), one.judgement.why) for one in capacity.levels
    )
    notes = [capacity_in_words(capacity, unit)]
    if not capacity.is_steady:
        notes.append(
            f"the server's speed changed while it was searched: {capacity.num_contrary} loads say the opposite; "
            "search again when nothing else runs there"
        )
    if client_fault:
        notes.append(f"THE CLIENT WAS THE BOTTLENECK near the capacity: {client_fault}")
    return BenchTable("Capacity", (unit, "SLO", "requests", "why"), rows, tuple(notes))


def capacity_in_words(capacity: Capacity, unit: str) -> str:
    if capacity.level is None:
        return f"no {unit} keeps the SLO, not even {min(level.level for level in capacity.levels):g}"
    below = f"and below {capacity.high:.4g}" if math.isfinite(capacity.high) else "or more: no level surely broke it"
    sure = f"in 95 of 100 cases it is {capacity.low:.4g} at least {below}"
    return f"capacity: {unit} {capacity.level:.4g} keeps the SLO; {sure}"


def level_line(level: LevelResult) -> str:
    return f"level {level.level:g}: {level.judgement.verdict} ({level.judgement.why})"


def stress_table(report: StressReport, name: str) -> BenchTable:
    """Table of a stress run: one row per request, with the server's limits and the verdict as notes."""
    rows = tuple(
        (
            str(fate.record.index),
            format_count(fate.record.input_tokens),
            format_count(fate.record.output_tokens),
            format_ms(fate.record.ttft_s) if fate.record.chunk_s else "-",
            format_ms(fate.record.e2el_s),
            fate.fate,
            fate.words,
        )
        for fate in report.fates
    )
    columns = ("request", "tokens in", "tokens out", "first token", "time", "answer", "why")
    return BenchTable(name, columns, rows, (*report.limits, report.verdict))

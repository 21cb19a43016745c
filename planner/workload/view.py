"""What recorded traffic is, as a person reads it in ten seconds, and as a document for programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from planner.terminal import BenchTable
from planner.units import format_count, format_duration
from planner.workload.survey import COARSE_BLOCK, ENGINE_BLOCK, PEAK_S, Spread, Survey
from planner.workload.workload import Workload

COLUMNS = ("", "p50", "p90", "p99", "mean", "longest")


@dataclass(frozen=True, slots=True)
class Found:
    """Traffic that was read or watched, and the workload that is like it."""

    kind: str
    seen: Survey
    workload: Workload
    left_out: int = 0
    is_cut: bool = False
    cannot_show: str = ""
    """What the workload cannot show of the traffic, in one line."""


def traffic_table(name: str, found: Found) -> BenchTable:
    """A table of the lengths; below it arrivals, sharing, and what the workload cannot show."""
    seen = found.seen
    rows = [_row("input tokens" + (", about" if seen.has_texts else ""), seen.inputs)]
    if seen.outputs is not None:
        rows.append(_row("output tokens", seen.outputs))
    lasts = "" if seen.duration_s is None else f" in {format_duration(seen.duration_s)}"
    notes = [f"arrivals   {_arrivals(seen)}", f"sharing    {_sharing(seen)}"]
    if seen.in_flight is not None:
        notes.append(f"in flight  {seen.in_flight:.3g} requests at once, on average")
    if seen.outputs is None:
        notes.append("answers    lengths are not known; output_tokens of the workload stands for them")
    if found.left_out:
        notes.append(f"left out   {format_count(found.left_out)} entries that failed or have no answer")
    if found.is_cut:
        notes.append(f"left out   all after the first {format_count(seen.num_requests + found.left_out)} entries")
    if found.cannot_show:
        notes.append(f"window     {found.cannot_show}")
    title = f"{name}: {found.kind}, {format_count(seen.num_requests)} requests{lasts}"
    return BenchTable(title=title, columns=COLUMNS, rows=tuple(rows), notes=tuple(notes))


def _row(name: str, one: Spread) -> tuple[str, ...]:
    return (name, *map(format_count, (one.p50, one.p90, one.p99, one.mean, one.most)))


def _arrivals(seen: Survey) -> str:
    if seen.rate_per_s is None:
        return "not in the file; a closed loop sends it, --request-rate at a rate"
    if seen.gap_cv is None:
        return f"{seen.rate_per_s:.3g} requests/s; how the gaps vary is not known"
    kind = "in bursts" if seen.gap_cv > 1.2 else "evenly" if seen.gap_cv < 0.8 else "as Poisson"
    words = f"{seen.rate_per_s:.3g} requests/s, {kind} (gaps vary by {seen.gap_cv:.2f}; Poisson 1)"
    if seen.peak_rate_per_s is not None and seen.peak_start_s is not None and (seen.duration_s or 0.0) > PEAK_S:
        words += (
            f"; {seen.peak_rate_per_s:.3g} in the busiest minute, {format_duration(seen.peak_start_s)} after the first"
        )
    return words


def _sharing(seen: Survey) -> str:
    if seen.in_flight is not None:
        found = "" if seen.hit_rate is None else f"{seen.hit_rate:.0%} of the prompts' tokens were in its prefix cache"
        return found or "not known: this version does not count hits, or its prefix cache is off"
    if seen.hit_rate is None:
        return "not known: the file has neither texts nor hash_ids; its prompts will have nothing in common"
    words = f"{seen.hit_rate:.0%} of the prompts' tokens were sent before (blocks of {ENGINE_BLOCK}"
    return f"{words}; {seen.coarse_hit_rate:.0%} in blocks of {COARSE_BLOCK}), if no block is ever evicted"


def traffic_document(found: Found) -> dict[str, Any]:
    """The same for programs; null stands for what is not known."""
    seen = found.seen
    peak = None
    if seen.peak_rate_per_s is not None:
        peak = {"start_s": seen.peak_start_s, "request_rate": seen.peak_rate_per_s}
    return {
        "format": found.kind,
        "num_requests": seen.num_requests,
        "left_out": found.left_out,
        "is_cut": found.is_cut,
        "duration_s": seen.duration_s,
        "request_rate": seen.rate_per_s,
        "gap_cv": seen.gap_cv,
        "in_flight": seen.in_flight,
        "busiest_minute": peak,
        "input_tokens": _lengths(seen.inputs),
        "output_tokens": None if seen.outputs is None else _lengths(seen.outputs),
        "has_texts": seen.has_texts,
        "prefix_hit_rate": {str(ENGINE_BLOCK): seen.hit_rate, str(COARSE_BLOCK): seen.coarse_hit_rate},
        "cannot_show": found.cannot_show or None,
        "workload": msgspec.to_builtins(found.workload, enc_hook=float),
    }


def _lengths(one: Spread) -> dict[str, float]:
    return {"mean": one.mean, "p50": one.p50, "p90": one.p90, "p99": one.p99, "min": one.least, "max": one.most}

"""Advice that agrees with a log's own numbers and settings: `advise(report) -> sentences`.

The table's advice is for a class of failures; here it is checked against what this log says of weights, card and flags.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from planner.engine.log.lines import parsed
from planner.engine.versions import HIGHER_UTILIZATION_SINCE
from planner.units import GIB

if TYPE_CHECKING:
    from planner.engine.log.report import LogReport
    from planner.engine.log.settings import Scalar

CAPACITY = re.compile(r"total capacity of (\d{1,9}(?:\.\d{1,9})?) GiB")
NEEDED = re.compile(
    r"\((\d{1,9}(?:\.\d{1,9})?) GiB KV cache is needed, .{0,100}"
    r"available KV cache memory \((-?\d{1,9}(?:\.\d{1,9})?) GiB\)"
)
MOST_UTILIZATION = 0.97
"""Largest gpu_memory_utilization that is proposed: the driver's context and other allocations take the rest."""
_OF_MEMORY = frozenset({"out of memory", "no room for a KV cache", "KV cache too small"})


def advise(report: LogReport) -> str:
    """Advice on the failure, in sentences; empty if the log shows no failure."""
    failure = report.failure
    if failure is None:
        return ""
    settings = {**report.in_effect, **report.asked}
    if failure.cause.name in _OF_MEMORY and (words := _weights_too_large(report, settings)):
        return words
    said = failure.advice(report.facts.vllm_version)
    more = [_shortage(report, settings)] if failure.cause.name == "KV cache too small" else []
    return " ".join(word for word in (said, *more, _already(said, settings)) if word)


def card_gib(report: LogReport) -> float | None:
    """Memory of the card in GiB, as the log or torch's message says it."""
    if report.facts.total_bytes is not None:
        return report.facts.total_bytes / GIB
    match = CAPACITY.search(report.failure.words) if report.failure is not None else None
    return float(match[1]) if match else None


def _utilization(report: LogReport, settings: Mapping[str, Scalar]) -> float:
    value, version = settings.get("gpu_memory_utilization"), parsed(report.facts.vllm_version)
    if isinstance(value, int | float):
        return float(value)
    return 0.92 if version is not None and version >= HIGHER_UTILIZATION_SINCE else 0.90


def _weights_too_large(report: LogReport, settings: Mapping[str, Scalar]) -> str:
    """Sentences for weights that alone exceed what vLLM may use of the card; empty if they do not, or it is unknown."""
    total_gib, weights_bytes = card_gib(report), report.facts.weights_bytes
    if total_gib is None or weights_bytes is None or not total_gib:
        return ""
    weights_gib, share = weights_bytes / GIB, _utilization(report, settings)
    if weights_gib < share * total_gib:
        return ""
    said = (
        f"The weights alone ({weights_gib:.2f} GiB) are more than gpu_memory_utilization {share:g} allows of the card "
        f"({share * total_gib:.2f} of {total_gib:.2f} GiB), so no smaller batch helps: a quantised model, more cards "
        "(tensor_parallel_size) or cpu_offload_gb."
    )
    least = math.ceil(weights_gib / total_gib * 100 + 2) / 100
    if least <= MOST_UTILIZATION and share < least:
        return f"{said} A gpu_memory_utilization above {least:.2f} would hold them, with next to no KV cache."
    return said


def _shortage(report: LogReport, settings: Mapping[str, Scalar]) -> str:
    """How much the KV cache lacks, and which of the general means would close that gap."""
    match = NEEDED.search(report.failure.words) if report.failure is not None else None
    if match is None:
        return ""
    needed_gib, has_gib = float(match[1]), float(match[2])
    said = [f"It lacks {needed_gib - has_gib:.2f} GiB."]
    if (total_gib := card_gib(report)) is not None and total_gib > 0:
        share = math.ceil((_utilization(report, settings) + (needed_gib - has_gib) / total_gib) * 100) / 100
        said.append(
            f"gpu_memory_utilization {share:.2f} closes the gap if that much of the card is free."
            if share <= MOST_UTILIZATION
            else "No gpu_memory_utilization closes the gap."
        )
    if not str(settings.get("kv_cache_dtype", "auto")).startswith("fp8"):
        verb = "closes" if needed_gib / 2 <= has_gib else "does not close"
        said.append(f"kv_cache_dtype fp8 (about half of it) alone {verb} it.")
    return " ".join(said)


def _already(said: str, settings: Mapping[str, Scalar]) -> str:
    """Settings that the advice names and the log shows to be set so already."""
    names = [name for name, value in settings.items() if value is True and re.search(rf"\b{name}\b", said)]
    if str(settings.get("kv_cache_dtype", "")).startswith("fp8") and "fp8 kv_cache_dtype" in said:
        names.append("kv_cache_dtype")
    return f"Set here already: {', '.join(sorted(names))}." if names else ""

"""What a server has served, from its /metrics page: numbers and lengths of requests, their time in it, prefix hits.

In: the text of a page. Out: `ServedSoFar`; two of them make a `ServedMeanwhile`. Names are those of
vllm/engine/metrics.py of 0.6.6 and 0.8.5 (V0), and of vllm/v1/metrics/loggers.py of 0.8.5 and 0.32: the same in all.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.engine.metrics_page import Histogram, MetricsPage

PROMPTS, ANSWERS = "vllm:request_prompt_tokens", "vllm:request_generation_tokens"
LATENCY = "vllm:e2e_request_latency_seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedSoFar:
    """One reading, summed over the engines of a data parallel server."""

    prompts: Histogram
    answers: Histogram
    latency: Histogram | None
    """End-to-end latency in seconds; None where the page has none."""
    prefix_queries: int | None
    prefix_hits: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMeanwhile:
    """What ended between two readings."""

    seconds: float
    prompts: Histogram
    answers: Histogram
    in_flight: float | None
    """Mean number of requests in the server: their rate times their time in it (Little)."""
    hit_rate: float | None
    """Share of the prompts' tokens that the prefix cache found; None where the version does not count it."""


def read_served(text: str) -> ServedSoFar:
    """Read a page. Raises ValueError if it is none, or has no histogram of lengths."""
    page = MetricsPage(text)
    telemetry, found = page.telemetry(), page.histograms((PROMPTS, ANSWERS, LATENCY))
    prompts, answers = found[PROMPTS], found[ANSWERS]
    if prompts is None or answers is None:
        raise ValueError(f"has no {PROMPTS} and {ANSWERS}, by which vLLM counts lengths")
    return ServedSoFar(
        prompts=prompts,
        answers=answers,
        latency=found[LATENCY],
        prefix_queries=telemetry.prefix_cache_queries,
        prefix_hits=telemetry.prefix_cache_hits,
    )


def served_between(before: ServedSoFar, after: ServedSoFar, seconds: float) -> ServedMeanwhile:
    """What ended in the `seconds` between two readings. Raises ValueError if the engine was restarted meanwhile."""
    latency = None if before.latency is None or after.latency is None else after.latency.since(before.latency)
    queries = (after.prefix_queries or 0) - (before.prefix_queries or 0)
    hits = (after.prefix_hits or 0) - (before.prefix_hits or 0)
    return ServedMeanwhile(
        seconds=seconds,
        prompts=after.prompts.since(before.prompts),
        answers=after.answers.since(before.answers),
        in_flight=None if latency is None else latency.total / seconds,
        hit_rate=hits / queries if queries > 0 else None,
    )

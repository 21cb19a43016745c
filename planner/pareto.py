"""Trials that no other beats in every metric asked for: `parse_metrics("ttft_p95,output_throughput")`, `front(...)`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.errors import InputError
from planner.metrics import METRICS, RATES
from planner.trial import Trial, searched


def parse_metrics(text: str) -> tuple[str, ...]:
    """At least two metrics, separated by commas. Raises InputError."""
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in METRICS:
            raise InputError(f"--pareto {name}: allowed: {', '.join(METRICS)}")
    if len(names) < 2:
        raise InputError(f"--pareto {text}: name two metrics or more, for example ttft_p95,output_throughput")
    return names


def front(trials: Sequence[Trial], metrics: Sequence[str]) -> list[Trial]:
    """Acceptable trials of the search that none dominates, the best by the first metric first.

    One trial dominates another that is as good in every metric and better in one: rates higher, latencies lower.
    """
    able = [t for t in searched(trials) if t.is_acceptable and all(name in t.metrics for name in metrics)]

    def costs(trial: Trial) -> tuple[float, ...]:
        return tuple(-trial.metrics[name] if name in RATES else trial.metrics[name] for name in metrics)

    def dominates(one: Trial, other: Trial) -> bool:
        pairs = list(zip(costs(one), costs(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    kept = [trial for trial in able if not any(dominates(other, trial) for other in able)]
    return sorted((t for t in kept if all(math.isfinite(cost) for cost in costs(t))), key=costs)

"""Trials that no other beats in every metric asked for: `parse_metrics("ttft_p95,output_throughput")`, `front(...)`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.errors import InputError
from planner.metrics import GOALS, sign
from planner.problem import Problem
from planner.trial import Trial, all_metrics, searched


def parse_metrics(text: str) -> tuple[str, ...]:
    """At least two metrics, separated by commas. Raises InputError."""
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in GOALS:
            raise InputError(f"--pareto {name}: allowed: {', '.join(GOALS)}")
    if len(names) < 2:
        raise InputError(f"--pareto {text}: name two metrics or more, for example ttft_p95,output_throughput")
    return names


def front(problem: Problem, trials: Sequence[Trial], metrics: Sequence[str]) -> list[Trial]:
    """Acceptable trials of the search that none dominates, the best by the first metric first.

    One trial dominates another that is as good in every metric and better in one: rates and contexts higher, latencies
    lower.
    """
    figures = {t.number: all_metrics(problem, t) for t in searched(trials) if t.is_acceptable}
    able = [t for t in searched(trials) if t.is_acceptable and all(name in figures[t.number] for name in metrics)]

    def costs(trial: Trial) -> tuple[float, ...]:
        return tuple(-sign(name) * figures[trial.number][name] for name in metrics)

    def dominates(one: Trial, other: Trial) -> bool:
        pairs = list(zip(costs(one), costs(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    kept = [trial for trial in able if not any(dominates(other, trial) for other in able)]
    return sorted((t for t in kept if all(math.isfinite(cost) for cost in costs(t))), key=costs)

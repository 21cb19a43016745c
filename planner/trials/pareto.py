"""The Pareto front: trials, at each of their loads, that no other beats in every metric asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.benchmark import GOALS, Metric
from planner.errors import InputError
from planner.study import Problem
from planner.trials.trial import Trial, all_metrics, as_on_one_host, searched

USUAL_FRONT = ("output_throughput", "ttft_p95")
"""Metrics of the front that is shown where none are asked for."""


def parse_metrics(text: str) -> tuple[str, ...]:
    """The metrics named in a text, separated by commas; at least two. Raises InputError."""
    names = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    for name in names:
        if name not in GOALS:
            raise InputError(f"--pareto {name}: allowed: {', '.join(GOALS)}")
    if len(names) < 2:
        raise InputError(f"--pareto {text}: name two metrics or more, for example ttft_p95,output_throughput")
    return names


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A trial at the load it is judged by, or at another (`also_at`)."""

    trial: Trial
    metrics: dict[str, float]
    load: float | None = None


def front(problem: Problem, trials: Sequence[Trial], metrics: Sequence[str]) -> list[FrontPoint]:
    """The points that none dominates, from the search's acceptable trials; the best by the first metric comes first.

    One point dominates another if it is as good in every metric and better in one: higher for rates and contexts, lower
    for latencies.
    """
    able = [t for t in searched(trials) if t.is_acceptable]
    points = [FrontPoint(trial, all_metrics(problem, as_on_one_host(problem, trial))) for trial in able]
    points += [FrontPoint(t, {**problem.known(t.candidate), **at.metrics}, at.load) for t in able for at in t.at_loads]
    points = [point for point in points if all(name in point.metrics for name in metrics)]

    def costs(point: FrontPoint) -> tuple[float, ...]:
        return tuple(-Metric.parse(name).sign * point.metrics[name] for name in metrics)

    def dominates(one: FrontPoint, other: FrontPoint) -> bool:
        pairs = list(zip(costs(one), costs(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    kept = [point for point in points if not any(dominates(other, point) for other in points)]
    return sorted((point for point in kept if all(math.isfinite(cost) for cost in costs(point))), key=costs)

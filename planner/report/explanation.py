"""Why the numbers are what they are: what mattered, what limits the winner, how accurate the speed model was.

In: a problem's forecast and its trials. Out: values; `verdict.py` puts them into words. Effects come from the
surrogate, which has seen all trials; where little was measured they are the speed model's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from planner.benchmark import Metric
from planner.engine import FIELDS
from planner.estimate import most_in_flight, running_seqs
from planner.statistics import kendall_tau
from planner.study import Candidate, Forecast, Objective, Value
from planner.trials import Trial
from planner.tuning import Surrogate

LEAST_EFFECT = 0.01
"""Smallest effect on the objective that is named, as a share."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Effect of a searched setting, on average over all feasible values of the others."""

    name: str
    best: Value
    worst: Value
    gain: float
    """Gain of the best value over the worst, as a share."""
    levels: tuple[tuple[Value, float], ...]
    """Each value's gain over the worst as a share, in the order of the search space."""
    is_launched: bool
    """Whether the best and the worst value were both measured; else the effect is a prediction that nobody checked."""


def effects(forecast: Forecast, trials: Sequence[Trial]) -> list[Effect]:
    """Settings that matter, the most important first, in their effect on the metric that `explained` names."""
    problem, rows = forecast.problem, forecast.grid.feasible_rows
    if rows.size == 0:
        return []
    metric = explained(problem.objective)
    direction = problem.objective.sign if metric is None else Metric.parse(metric).sign
    believed = direction * Surrogate(forecast).believed(rows, trials, metric)
    found = []
    for position, (name, values) in enumerate(problem.choices.searched.items()):
        column = forecast.grid.indices[rows, position]
        present = np.unique(column)
        means = [float(believed[column == index].mean()) for index in present]
        best, worst = int(np.argmax(means)), int(np.argmin(means))
        gain = math.expm1(means[best] - means[worst])
        if gain >= LEAST_EFFECT:
            levels = [(values[i], math.expm1(mean - means[worst])) for i, mean in zip(present, means, strict=True)]
            ends = values[present[best]], values[present[worst]]
            found.append(Effect(name, *ends, gain, tuple(levels), set(ends) <= _launched(forecast, trials, name)))
    return sorted(found, key=lambda effect: -effect.gain)


def _launched(forecast: Forecast, trials: Sequence[Trial], name: str) -> set[Value]:
    """Values of a searched setting that were measured; what is left to the engine counts as what the engine takes."""
    problem, found = forecast.problem, set()
    for trial in trials:
        if trial.outcome == "measured":
            value = problem.choices.value_of(trial.candidate, name)
            if value is None and name in FIELDS:
                value = getattr(forecast.deployment(trial.candidate).engine, name, None)
            found.add(value)
    return found


def explained(objective: Objective) -> str | None:
    """The metric to explain in place of the objective: the first limit, if the objective is known before a launch."""
    return next(iter(objective.limits), None) if objective.is_known else None


@dataclass(frozen=True, slots=True)
class ModelFit:
    """The speed model's predictions before any launch, against what was measured."""

    count: int
    error: float
    """Median of measured over predicted value, or its inverse if that is larger, less 1."""
    tau: float
    """Kendall's rank correlation; NaN if all predictions are the same."""


def model_fit(trials: Sequence[Trial]) -> ModelFit | None:
    """Accuracy of the speed model; None if fewer than three trials can be compared."""
    pairs = [
        (t.predicted_value, t.value)
        for t in trials
        if t.outcome == "measured" and t.value and t.predicted_value and t.value > 0 and t.predicted_value > 0
    ]
    if len(pairs) < 3:
        return None
    predicted, measured = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    error = math.expm1(median(abs(math.log(b / a)) for a, b in pairs))
    return ModelFit(len(pairs), error, kendall_tau(predicted, measured))


def limit_of(forecast: Forecast, candidate: Candidate) -> str:
    """What keeps more requests from running at once, in words."""
    d, workload = forecast.deployment(candidate), forecast.problem.workload
    offered = most_in_flight(workload) / d.instances
    tokens = workload.mean_input_tokens + workload.mean_output_tokens / 2
    running = float(running_seqs(d.engine, d.memory, offered, tokens, 0.0))
    if running >= offered:
        return f"all {offered:.0f} offered requests run at once; only more load or a faster step would raise throughput"
    if running >= float(d.engine.max_num_seqs):
        return f"max_num_seqs lets {running:.0f} of {offered:.0f} requests run at once"
    return (
        f"the KV cache holds about {running:.0f} of {offered:.0f} requests at once; a larger one would help: a smaller "
        "model or KV dtype, or more cards"
    )

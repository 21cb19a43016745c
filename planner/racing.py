"""When a candidate needs no more repeats: `race(...)`, a sequential test against the best trial so far.

Noise is learned from the repeats of all trials together, as standard deviation of the logarithm, because one trial has
too few. Source: Maron & Moore 1994, "Hoeffding Races", with normal bounds instead of Hoeffding's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

from planner.metrics import BenchmarkResult
from planner.problem import Problem
from planner.trial import Trial, best_trial

PRIOR_NOISE = 0.02
"""Standard deviation of log throughput between repeats of one setting; 2 % was measured on idle machines."""
LAUNCH_NOISE = 0.02
"""The same between two launches of one setting, which no repeat shows: 0.7 to 4 % were measured on GPUs."""
PRIOR_WEIGHT = 4
"""Repeats that prior counts for."""
SURE = 2.58
"""Standard deviations between a candidate and the best: one in 200 that is as good is given up."""
NOTHING: Mapping[str, float] = MappingProxyType({})


def noise_std(trials: Sequence[Trial]) -> float:
    """Of the logarithm of one repeat, pooled over the trials that have several."""
    squares, degrees = PRIOR_WEIGHT * PRIOR_NOISE**2, float(PRIOR_WEIGHT)
    for trial in trials:
        logs = [math.log(value) for value in trial.repeat_values if value > 0]
        if len(logs) > 1:
            squares += sum((value - fmean(logs)) ** 2 for value in logs)
            degrees += len(logs) - 1
    return math.sqrt(squares / degrees)


def race(
    problem: Problem, trials: Sequence[Trial], known: Mapping[str, float] = NOTHING
) -> Callable[[Sequence[BenchmarkResult]], bool]:
    """Whether the first repeats say that a candidate will not reach the best trial; never, while there is none.

    `known`: its metrics that need no launch. A value that is known needs no repeats: they are for the limits.
    """
    objective, best = problem.objective, best_trial(problem, trials)
    if best is None or not best.value or best.value <= 0 or objective.is_known:
        return lambda results: False  # noqa: ARG005
    noise, bar, measured = noise_std(trials), math.log(best.value), max(1, len(best.repeat_values))

    def is_lost(results: Sequence[BenchmarkResult]) -> bool:
        values = [objective.value({**result.metrics, **known}) for result in results]
        logs = [math.log(value) for value in values if value is not None and value > 0]
        if not logs:
            return False
        margin = SURE * math.sqrt(noise**2 * (1 / len(logs) + 1 / measured) + 2 * LAUNCH_NOISE**2)
        return objective.sign * (fmean(logs) - bar) < -margin

    return is_lost

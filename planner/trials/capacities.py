"""What a launch's load levels say of its capacity, for the limits it was measured for and for any others.

In: a trial with `levels`, an objective. Out: its capacity with interval, its metrics there; and the
load at which a launch should begin to search. A launch that sent one load says nothing of a capacity, nor a search for
the most load of the study's own load: such a trial answers another question, and is said to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from planner.benchmark import Level, Within, within
from planner.study import Objective, Problem
from planner.trials.trial import Trial, leveled, searched
from planner.workload import most_load


@dataclass(frozen=True, slots=True)
class LaunchCapacity:
    """The capacity that a launch showed."""

    value: float | None
    """In requests in flight or per second; None if no level kept the limits."""
    interval: tuple[float, float | None]
    """Its 95 % interval; the upper end is None where no level broke a limit."""
    level: Level
    """The level by which its metrics are told: the highest that kept the limits up to `value`, else the lowest."""
    is_enclosed: bool
    """Whether the levels reach to both sides of it, as far as there are two."""


def capacity_of(problem: Problem, levels: Sequence[Level]) -> LaunchCapacity | None:
    """The capacity that these levels show; None if they say nothing of the objective's limits."""
    limits, by_rate = problem.objective.limits, problem.objective.by_rate
    found: Within | None = within(levels, limits, most_load(problem.workload, by_rate), by_rate)
    if found is None:
        return None
    kept = [level for level in levels if level.keeps(limits)]
    below = [level for level in kept if found.value is None or level.load <= found.value] or kept
    shown = max(below, key=lambda one: one.load) if below else min(levels, key=lambda one: one.load)
    return LaunchCapacity(
        found.value, (found.low, None if found.high == math.inf else found.high), shown, found.is_enclosed
    )


def answers(problem: Problem, trial: Trial) -> bool:
    """Whether a measured trial says anything of the problem's objective: at its load, or of its most load."""
    if trial.outcome != "measured":
        return True
    objective = problem.objective
    if not objective.seeks_load:
        return not trial.levels
    if not trial.levels or Objective.read(trial.asked).metric != objective.metric:
        return False
    found = capacity_of(problem, trial.levels)
    return trial.asked == objective.asked or (found is not None and found.is_enclosed)


def start_of(problem: Problem, trials: Sequence[Trial], predicted: float | None) -> float | None:
    """The load at which a launch should begin: its predicted capacity, as far off as those measured so far were.

    The median over the candidates measured, in logarithms; None where nothing is predicted.
    """
    if predicted is None or not problem.objective.seeks_load:
        return None
    pairs = [(leveled(problem, t), t.predicted_value) for t in searched(trials) if t.outcome == "measured"]
    ratios = [math.log(value / expected) for value, expected in pairs if value and expected]
    return predicted * math.exp(median(ratios)) if ratios else predicted

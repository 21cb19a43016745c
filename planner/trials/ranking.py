"""The candidates of a search, best first, by all launches of each: `standings(problem, trials)`, `best_trial`.

In: a study's trials. Out: candidates that kept every limit, with the value believed of each. Knows no sampler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from planner.study import Problem
from planner.trials.noise import launch_noise
from planner.trials.rejudging import competes
from planner.trials.trial import Trial, as_on_one_host, leveled, searched

MODEL_ERROR, MODEL_WEIGHT = 0.1, 4
"""Error of the speed model from one candidate to another, as a standard deviation of the log, before any launch, and
the weight of this guess, in candidates."""
LEAST_MODEL_ERROR = 0.02
"""Least error of the speed model that is believed, in the same unit."""


def best_trial(problem: Problem, trials: Sequence[Trial]) -> Trial | None:
    """The search's best acceptable trial, by `standings`; of equals the earlier, which is nearer the default."""
    return next((standing.trial for standing in standings(problem, trials)), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate of the search and what all its launches say of it."""

    trial: Trial
    """Its first trial that was measured to the end."""
    log: float
    """Logarithm of the value believed, on the level of the default's host."""


def standings(problem: Problem, trials: Sequence[Trial]) -> list[Standing]:
    """The candidates that kept every limit in each of their launches, best first.

    The largest of many noisy values is too large. So the mean of a candidate's launches is drawn towards what the speed
    model predicted, at the level of all, by the share of noise in it: hardly where launches differ by little, or where
    the model is far off anyway. What was launched several times is drawn less. A value that is known is not drawn.

    Source: Efron & Morris 1975, Data Analysis Using Stein's Estimator and its Generalizations.
    """
    launches: dict[str, list[Trial]] = {}
    for trial in searched(trials):
        if trial.was_launched and competes(problem, trial):
            launches.setdefault(trial.candidate.key, []).append(trial)
    able = [
        each
        for each in launches.values()
        if all(t.is_acceptable for t in each) and any(t.stopped_at is None for t in each)
    ]
    logs = [fmean(_log(leveled(problem, t)) for t in each) for each in able]
    if able and not problem.objective.is_known:
        logs = _drawn(logs, able, launch_noise([as_on_one_host(problem, t) for t in trials], problem.spec.repeats))
    order = sorted(range(len(able)), key=lambda i: -problem.objective.sign * logs[i])
    return [Standing(next(t for t in able[i] if t.stopped_at is None), logs[i]) for i in order]


def _drawn(logs: Sequence[float], launches: Sequence[Sequence[Trial]], noise: float) -> list[float]:
    """The logarithms, each drawn towards its prediction by the share of noise in it."""
    predicted = [_log(each[0].predicted_value) for each in launches]
    level = median(log - expected for log, expected in zip(logs, predicted, strict=True))
    errors = [log - expected - level for log, expected in zip(logs, predicted, strict=True)]
    squares = MODEL_WEIGHT * MODEL_ERROR**2 + sum(error**2 for error in errors)
    wrong = max(squares / (MODEL_WEIGHT + len(errors) - 1) - noise**2, LEAST_MODEL_ERROR**2)
    shares = [wrong / (wrong + noise**2 / len(each)) for each in launches]
    return [log - (1 - share) * error for log, share, error in zip(logs, shares, errors, strict=True)]


def _log(value: float | None) -> float:
    return math.log(max(value or 0.0, 1e-9))

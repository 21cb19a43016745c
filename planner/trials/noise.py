"""How much a study's values differ by chance: between repeats of one launch, and between launches of one candidate.

In: the trials. Out: standard deviations of logarithms. Each starts from what was measured elsewhere, with a weight, and
is learned from what the study launched several times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING

from planner.statistics import CONFIDENCE

if TYPE_CHECKING:
    from planner.trials.trial import Trial

PRIOR_NOISE = 0.02
"""Standard deviation of log throughput between repeats of one setting; 2 % was measured on idle machines."""
LAUNCH_NOISE = 0.02
"""Standard deviation of log throughput between launches of one setting, which no repeat shows.

0.7 to 4 % were measured on GPUs.
"""
MOST_APART = 1.5
"""Largest ratio of the ends of a capacity's interval within one launch that is taken for its noise."""
PRIOR_WEIGHT = 4
"""Weight of each prior on noise, in equivalent repeats."""


def launch_noise(trials: Sequence[Trial], repeats: int) -> float:
    """Standard deviation of the log of one launch's value: what its repeats average out, and what they cannot.

    It is learned from the candidates that the search launched several times on one host.
    """
    within = _std_within(trials)
    prior = math.hypot(noise_std(trials) / math.sqrt(repeats) if within is None else within, LAUNCH_NOISE)
    launches: dict[tuple[str, str | None], list[float]] = {}
    for trial in trials:
        if trial.rerun is None and trial.outcome == "measured" and trial.value is not None and trial.stopped_at is None:
            launches.setdefault((trial.candidate.key, trial.provenance.machine.host), []).append(trial.value)
    return pooled(prior, list(launches.values()))


def _std_within(trials: Sequence[Trial]) -> float | None:
    """Mean standard deviation of the log of a capacity that the levels of one launch leave; None without any.

    Launches whose levels enclose it by more than a factor of MOST_APART say little of the others, and are left out.
    """
    pairs = [trial.interval for trial in trials if trial.interval is not None and trial.stopped_at is None]
    widths = [math.log(high / low) for low, high in pairs if high is not None and low < high <= MOST_APART * low]
    return fmean(widths) / (2 * NormalDist().inv_cdf((1 + CONFIDENCE) / 2)) if widths else None


def noise_std(trials: Sequence[Trial]) -> float:
    """Standard deviation of the log of one repeat, pooled over the trials that have several."""
    return pooled(PRIOR_NOISE, [trial.repeat_values for trial in trials])


def pooled(prior: float, groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation of logarithms within groups, pooled with a prior of weight PRIOR_WEIGHT."""
    squares, degrees = PRIOR_WEIGHT * prior**2, float(PRIOR_WEIGHT)
    for group in groups:
        logs = [math.log(value) for value in group if value > 0]
        if len(logs) > 1:
            squares += sum((value - fmean(logs)) ** 2 for value in logs)
            degrees += len(logs) - 1
    return math.sqrt(squares / degrees)

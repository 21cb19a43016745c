"""How many of the best trials of a search are worth measuring again: `worth_measuring(logs, noise)`.

Each rival in the finals costs three launches. What it can give is the chance that it, and none of those before it, is
truly the best although it did not look so. In: logarithms of the values as the search saw them. Out: a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from statistics import NormalDist

from planner.trials.blocks import EQUAL

STEPS = 200
"""Steps of the integral over the values that the best may have."""
WIDTH = 6.0
"""Standard deviations beyond the values to which it reaches."""


def worth_measuring(logs: Sequence[float], noise: float) -> int:
    """How many of these trials compete: of each further one the expected gain over those before is at least EQUAL.

    `logs`: best first. `noise`: standard deviation of the logarithm of one launch's value. Nothing is assumed of the
    true values, so that the doubt about each is that noise; a model of the engine would only lessen it.
    """
    expected = [expected_best(logs[:count], noise) for count in range(1, len(logs) + 1)]
    gains = [after - before for before, after in pairwise(expected)]
    few = next((count for count, gain in enumerate(gains, start=1) if gain < EQUAL), len(logs))
    return min(few, len(logs))


def expected_best(means: Sequence[float], std: float) -> float:
    """Expected largest of independent normal values of one standard deviation, by the integral of their distribution.

    Source: David & Nagaraja 2003, Order Statistics, ch. 2.1.
    """
    low, high = min(means) - WIDTH * std, max(means) + WIDTH * std
    normal, step = NormalDist(0.0, std), (high - low) / STEPS
    below = [prod(normal.cdf(low + i * step - mean) for mean in means) for i in range(STEPS + 1)]
    return high - step * (sum(below) - (below[0] + below[-1]) / 2)

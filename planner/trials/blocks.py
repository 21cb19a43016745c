"""`Blocks`: launches of several finalists compared in rounds, the launch being the unit of evidence.

Repeats within one launch share that launch's own deviation, so they count as one observation: their mean. Every round
is a block: its prompts and the state of the machine are common to all who run in it, and cancel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import TypeAlias

import numpy as np

from planner.statistics import Difference, t_quantile

LEAST_ROUNDS = 3
"""Fewest rounds in which every finalist is launched once."""
MOST_ROUNDS = 6
"""Rounds after which the finals end whatever they show."""
LEAST_DEGREES = 3
"""Fewest degrees of freedom for an estimate of the noise: with fewer, luck alone can make a gain look sure."""
EQUAL = 0.01
"""Half width of the gains, as a share, that nobody would deploy for: an interval inside them ends the finals."""
EARLY_LEVEL = 0.9985
"""Level of the bound that a gain must pass to end the finals before the last round: three standard deviations.

So strict a bound at the early looks leaves the last interval nearly what one look would give. Source: Haybittle 1971,
10.1259/0007-1285-44-526-793; Peto et al. 1976.
"""
MOST_FALSE = 0.05
"""Chance that some rival that is no better than the default is called surely better; shared out among the rivals."""
MOST_LOG = 50.0
"""Highest logarithm of an interval's end; an interval without information is cut here."""

Logs: TypeAlias = Mapping[int, Mapping[int, float]]
"""Logarithm of the value of each launch, by finalist and then by round."""


def level_for(rivals: int) -> float:
    """Level of the intervals' upper ends: 0.975, and higher where several rivals share MOST_FALSE (Bonferroni)."""
    return 1 - min(0.025, MOST_FALSE / max(rivals, 1))


def least_rounds(finalists: int) -> int:
    """Rounds in which all of so many finalists are launched: LEAST_ROUNDS, and four where there are only two."""
    return max(LEAST_ROUNDS, 1 + -(-LEAST_DEGREES // max(finalists - 1, 1)))


def undecided(logs: Logs, sign: float, default: int | None) -> tuple[int, ...]:
    """The default and its best rival, or the two best without a default; empty if more launches would change nothing.

    `sign`: 1 if more is better, else -1. Decided: surely different, by the strict bound of an early look, or surely no
    further apart than EQUAL.
    """
    if len(logs) < 2:
        return ()
    best = sorted(logs, key=lambda number: -sign * fmean(logs[number].values()))
    rival = next(number for number in best if number != default)
    other = best[1] if default is None else default
    blocks = Blocks(logs)
    if blocks.gain(rival, other, EARLY_LEVEL).is_significant:
        return ()
    usual = blocks.gain(rival, other, level_for(len(logs) - 1))
    return () if usual.low > -EQUAL and usual.high < EQUAL else (other, rival)


class Blocks:
    """Finalists compared by least squares with one effect a finalist and one a round; finalists may miss rounds.

    The residual variance is pooled over all cells, with cells - finalists - rounds + 1 degrees of freedom. It is that
    of launches, since no cell holds more than one. Source: Searle 1971, Linear Models, ch. 7 (two-way, no interaction,
    unequal numbers).
    """

    def __init__(self, logs: Logs) -> None:
        self._numbers = list(logs)
        rounds = sorted({number for values in logs.values() for number in values})
        cells = [(i, rounds.index(r), value) for i, n in enumerate(logs) for r, value in logs[n].items()]
        self._launches = {number: len(values) for number, values in logs.items()}
        design = np.zeros((len(cells), len(logs) + max(len(rounds) - 1, 0)))
        for row, (finalist, round_, _) in enumerate(cells):
            design[row, finalist] = 1.0
            if round_:  # the first round is the level that the finalists' own effects have
                design[row, len(logs) + round_ - 1] = 1.0
        values = np.array([value for *_, value in cells])
        self._effects, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
        self._degrees = len(cells) - int(rank)
        rest = values - design @ self._effects
        self._variance = float(rest @ rest) / self._degrees if self._degrees else math.inf
        self._covariance = np.linalg.pinv(design.T @ design)

    def gain(self, one: int, other: int, level: float) -> Difference:
        """How much higher the value of `one` is than that of `other`, as a share, with its interval.

        `level`: probability below the upper end, 0.975 for a two-sided interval of 95 %.
        """
        contrast = np.zeros(len(self._effects))
        contrast[self._numbers.index(one)] += 1.0
        contrast[self._numbers.index(other)] -= 1.0
        value = float(contrast @ self._effects)
        spread = float(contrast @ self._covariance @ contrast)
        half = t_quantile(self._degrees, level) * math.sqrt(self._variance * spread) if self._degrees else math.inf
        gain, low, high = (_share(end) for end in (value, value - half, value + half))
        return Difference(gain, low, high, f"{self._launches[one]} launches against {self._launches[other]}")


def _share(log: float) -> float:
    """A difference of logarithms as a share, without the last digits, in which least squares would show a -0.0 %."""
    return round(math.expm1(min(log, MOST_LOG)), 12) + 0.0

"""What the best of all that is left is expected to give: `expected_left`; `expected_gain` of values that are known.

In: what is believed of the points. Out: a gain, as a share. One launch's expected improvement is too little to end a
search by: of a thousand candidates in doubt one may well be better, though none in particular is expected to be. So the
candidates are drawn together, what they have in common included, and the best of each draw counts.

Source: Scott 2015, Multi-Armed Bandit Experiments in the Online Service Economy (value remaining in the experiment).
"""

from __future__ import annotations

import math

import numpy as np

from planner.tuning.search.gaussian_process import Array, _Posterior

DRAWS = 512
PROMISING = 300
"""Most candidates that are drawn: those that may be best. Drawing costs the cube of their number."""
WIDE = 2.0
"""Standard deviations above its mean by which a candidate is judged promising."""


def expected_left(believed: _Posterior, sign: int, chance: Array, leader: int) -> float:
    """Expected gain of the best of the first `len(chance)` points over the point `leader`, as a share of its value.

    `chance`: probability that each serves and keeps the limits; a gain counts by it. `sign` is -1 if less is better.
    It is the mean of logarithms, as in the expected improvement of one launch: a draw in which the model is wrong by a
    factor of ten does not outweigh all others.
    """
    count = len(chance)
    worth = sign * believed.mean[:count] + WIDE * believed.std[:count] + np.log(np.maximum(chance, 1e-12))
    at = np.argsort(-worth, kind="stable")[:PROMISING]
    drawn, weights = believed.drawn(np.append(at, leader), DRAWS)
    over = np.maximum(sign * (drawn[:, :-1] - drawn[:, -1:]), 0.0) * chance[at]
    return math.expm1(float(weights @ over.max(axis=1)))


def expected_gain(values: Array, kept: Array, chances: Array) -> Array:
    """Expected gain of known values over the best of `kept`, each of which keeps its limits again by its chance.

    If none keeps them, the best is 0. The chances are taken as independent.
    """
    gain, none_yet = np.zeros(len(values)), 1.0
    for i in np.argsort(-kept):
        gain += none_yet * chances[i] * np.maximum(values - kept[i], 0.0)
        none_yet *= 1 - chances[i]
    return gain + none_yet * values

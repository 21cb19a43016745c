"""A Gaussian process that learns chances from successes and failures: `learned_chances(points, prior, ...)`.

In: points, the chance believed of each, which of the seen ones succeeded. Out: chances. The process's mean is the
chance believed; a level, a trend along each dimension and a smooth rest may overrule it. The scales of these are
averaged by how well they explain what was seen.

Source: Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, ch. 3.4, algorithms 3.1 and 3.2 (Laplace's
approximation).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.tuning.search.gaussian_process import _squares

Array = NDArray[np.float64]

LEVEL_STD = 1.0
"""Prior on the error of the believed chances' level, as a standard deviation of the logit."""
TREND_STDS, SMOOTH_STDS, LENGTHS = (1.0, 4.0), (1.0, 3.0), (0.4, 1.2)
"""Scales that are averaged: of the trend over a dimension's range of 1 and of the smooth rest, as standard deviations
of the logit, and the rest's length in the points' units."""
ITERATIONS = 30


def learned_chances(
    points: Array, prior: Array, known: Array, known_prior: Array, succeeded: NDArray[np.bool_]
) -> Array:
    """Chance of success at each point, given its `prior` chance and what `succeeded` of the `known` points.

    # points (count, dimensions), prior (count,), known (seen, dimensions), known_prior and succeeded (seen,)
    """
    if not len(succeeded):
        return prior
    signs = np.where(succeeded, 1.0, -1.0)
    logits, seen = _logit(prior), _logit(known_prior)
    middle = known.mean(axis=0)
    points, known = points - middle, known - middle
    apart, apart_known = np.sqrt(_squares(points, known)), np.sqrt(_squares(known, known))
    along, along_known = points @ known.T, known @ known.T
    far = (points**2).sum(axis=1)
    chances, evidences = [], []
    for trend, smooth, length in itertools.product(TREND_STDS, SMOOTH_STDS, LENGTHS):
        level = LEVEL_STD**2 + smooth**2
        alone = level + trend**2 * far
        covariance = LEVEL_STD**2 + trend**2 * along_known + smooth**2 * _matern(apart_known / length)
        cross = LEVEL_STD**2 + trend**2 * along + smooth**2 * _matern(apart / length)
        found = _laplace(covariance, seen, signs)
        mean = logits + cross @ found.slopes
        explained = np.linalg.solve(found.factor, found.roots[:, None] * cross.T)
        variance = np.maximum(alone - (explained**2).sum(axis=0), 0.0)
        chances.append(_sigmoid(mean / _widened(variance)))
        evidences.append(found.evidence)
    weights = np.exp(np.array(evidences) - max(evidences))
    return np.asarray(weights @ np.array(chances) / weights.sum())


@dataclass(frozen=True, slots=True)
class _Mode:
    slopes: Array
    """Slope of the log likelihood at the mode.  # (num_known,)"""
    roots: Array
    """Square roots of the likelihood's curvature there.  # (num_known,)"""
    factor: Array
    """Cholesky factor of I + roots * covariance * roots.  # (num_known, num_known)"""
    evidence: float
    """Logarithm of the probability of what was seen."""


def _laplace(covariance: Array, mean: Array, signs: Array) -> _Mode:
    """The mode of the latent values of a logistic process with this mean, by Newton's method with halved steps."""

    def score(weights: Array) -> float:
        rise = covariance @ weights
        return float(-0.5 * weights @ rise - np.logaddexp(0.0, -signs * (mean + rise)).sum())

    weights = np.zeros(len(mean))
    best = score(weights)
    for _ in range(ITERATIONS):
        found = _mode_at(covariance, mean + covariance @ weights, signs, best)
        wanted = found.roots**2 * (covariance @ weights) + found.slopes
        inner = np.linalg.solve(found.factor, found.roots * (covariance @ wanted))
        step = wanted - found.roots * np.linalg.solve(found.factor.T, inner) - weights
        while (reached := score(weights + step)) < best and np.abs(step).max() > 1e-9:
            step = step / 2
        gain, best, weights = reached - best, reached, weights + step
        if gain < 1e-6:
            break
    return _mode_at(covariance, mean + covariance @ weights, signs, best)


def _mode_at(covariance: Array, latent: Array, signs: Array, score: float) -> _Mode:
    slopes, roots = signs * _sigmoid(-signs * latent), np.sqrt(_sigmoid(latent) * _sigmoid(-latent))
    factor = np.linalg.cholesky(np.eye(len(latent)) + roots[:, None] * covariance * roots)
    return _Mode(slopes, roots, np.asarray(factor, dtype=np.float64), score - float(np.log(np.diag(factor)).sum()))


def _matern(distances: Array) -> Array:
    scaled = math.sqrt(5) * distances
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _logit(chance: Array) -> Array:
    return np.asarray(np.log(chance / (1 - chance)))


def _sigmoid(logit: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logit)))


def _widened(variance: Array) -> Array:
    """Factor by which doubt draws the logit of a chance to 0. Source: MacKay 1992, 10.1162/neco.1992.4.5.720."""
    return np.asarray(np.sqrt(1 + math.pi * variance / 8))

"""The Gaussian process on the speed model's residuals: kernel, posterior and expected improvement."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.benchmark import MAX_MODEL_LEN

OFFSET_STD = 0.4
"""Prior on the error of the predictions' overall level, as a standard deviation of the log."""
SLOPE_STD = 0.35
"""Prior on the error of the predicted spread, as a standard deviation; three of them make the prediction worthless."""
RESIDUAL_STDS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Candidates for the process's standard deviation. The likeliest is taken; the prior favours RESIDUAL_STD."""
RESIDUAL_STD, RESIDUAL_DOUBT = 0.10, 0.8
SWITCH_STD = 0.14
"""Prior on the error of what each value of a switch or word is predicted to do, as a standard deviation of the log: the
difference of two values is believed to 20 %, since on most cards nobody has measured it."""
LENGTH_SCALES = (0.3, 0.7, 1.5, 4.0)
"""Candidates for each dimension's length scale, in units of a searched range. A long one makes it hardly matter."""
LENGTH_DOUBT = 1.0
"""Prior standard deviation of a length scale's logarithm, around a scale of 1."""
NOISE_FACTORS, NOISE_DOUBT = (0.5, 1.0, 2.0, 4.0), 0.7
"""Candidates for the noise, as multiples of the expected noise, and the prior's standard deviation of their log."""
CERTAIN = 1e-9
"""Standard deviation of a value that is known exactly."""

Array = NDArray[np.float64]
Switches: TypeAlias = tuple[tuple[int, ...], ...]
"""Columns of the points that hold one switch or word each."""


def _log(powers: Mapping[str, float], metrics: Mapping[str, Array]) -> Array:
    """Logarithm of the product of these metrics, each to its power; 0 if there are none."""
    logs = [power * np.log(np.maximum(metrics[name], 1e-9)) for name, power in powers.items()]
    return np.asarray(sum(logs))


def _learned(
    powers: Mapping[str, float],
    known: Array,
    logs: Array,
    seen: Mapping[str, Array],
    points: Array,
    predicted: Mapping[str, Array],
    noise: tuple[float, Array | float],
    switches: Switches,
) -> _Posterior:
    """Posterior of a product of metrics at `points`, given its measured `logs` and the metrics' predictions at both.

    `noise`: the standard deviation of a launch, and the covariance of what several of them shared. The context length
    is known before a launch and is used unchanged.
    """
    sure = {name: power for name, power in powers.items() if name == MAX_MODEL_LEN}
    unsure = {name: power for name, power in powers.items() if name not in sure}
    sure_known, sure_points = _log(sure, seen), _log(sure, predicted)
    if not unsure:
        return _Posterior(sure_points, np.full(len(points), CERTAIN), sure_known)
    found = _posterior(known, logs - sure_known, _log(unsure, seen), points, _log(unsure, predicted), *noise, switches)
    return _Posterior(found.mean + sure_points, found.std, found.at_known + sure_known)


def _expected_gain(values: Array, kept: Array, chances: Array) -> Array:
    """Expected gain of known values over the best of `kept`, each of which keeps its limits again by its chance.

    If none keeps them, the best is 0. The chances are taken as independent.
    """
    gain, none_yet = np.zeros(len(values)), 1.0
    for i in np.argsort(-kept):
        gain += none_yet * chances[i] * np.maximum(values - kept[i], 0.0)
        none_yet *= 1 - chances[i]
    return gain + none_yet * values


# --- the process ---


@dataclass(frozen=True, slots=True)
class _Posterior:
    mean: Array
    std: Array
    """Standard deviation of the logarithm at the points.  # (num_points,)"""
    at_known: Array
    """Mean at the measured candidates, with the noise smoothed out.  # (num_measured,)"""


@dataclass(frozen=True, slots=True)
class _Kernel:
    """Kernel of a level, a slope on the prediction, an effect of each value of a switch, and a Matern 5/2 with a length
    scale per dimension.
    """

    std: float
    noise: float
    lengths: tuple[float, ...]
    switches: Switches = ()

    def between(self, a: Array, b: Array, slope_a: Array, slope_b: Array) -> Array:
        difference = (a[:, None, :] - b[None, :, :]) / np.asarray(self.lengths)
        distance = np.sqrt(5 * (difference**2).sum(axis=2))
        matern = (1 + distance + distance**2 / 3) * np.exp(-distance)
        trend = OFFSET_STD**2 + SLOPE_STD**2 * np.outer(slope_a, slope_b)
        same = sum(np.all(a[:, None, columns] == b[None, :, columns], axis=2) for columns in map(list, self.switches))
        return np.asarray(self.std**2 * matern + trend + SWITCH_STD**2 * same)

    @property
    def log_prior(self) -> float:
        lengths = sum((math.log(length) / LENGTH_DOUBT) ** 2 for length in self.lengths)
        return -0.5 * (lengths + (math.log(self.std / RESIDUAL_STD) / RESIDUAL_DOUBT) ** 2)

    def log_noise_prior(self, expected: float) -> float:
        return -0.5 * (math.log(self.noise / expected) / NOISE_DOUBT) ** 2


def _posterior(
    known: Array,
    logs: Array,
    predicted_known: Array,
    points: Array,
    predicted: Array,
    noise: float,
    shared: Array | float = 0.0,
    switches: Switches = (),
) -> _Posterior:
    """Posterior of a metric's logarithm at `points`, given measured `logs` at `known` and the model's logs at both.

    `shared` is the covariance of other effects on the measured values, which the points do not have.
    """
    middle = float(predicted_known.mean())
    slope_known, slope = predicted_known - middle, predicted - middle
    residuals = logs - predicted_known
    kernel = _likeliest(known, residuals, slope_known, noise, shared, switches)
    covariance = kernel.between(known, known, slope_known, slope_known)
    factor = np.linalg.cholesky(covariance + kernel.noise**2 * np.eye(len(known)) + shared)
    weights = np.linalg.solve(factor.T, np.linalg.solve(factor, residuals))
    cross = kernel.between(points, known, slope, slope_known)
    explained = np.linalg.solve(factor, cross.T)
    alone = kernel.std**2 + OFFSET_STD**2 + SLOPE_STD**2 * slope**2 + len(switches) * SWITCH_STD**2
    std = np.sqrt(np.maximum(alone - (explained**2).sum(axis=0), 1e-12))
    return _Posterior(predicted + cross @ weights, std, predicted_known + covariance @ weights)


def _likeliest(
    known: Array, residuals: Array, slopes: Array, noise: float, shared: Array | float, switches: Switches
) -> _Kernel:
    """Kernel of largest posterior by coordinate ascent: first the standard deviation, then each length scale, twice."""

    def score(kernel: _Kernel) -> float:
        covariance = kernel.between(known, known, slopes, slopes) + kernel.noise**2 * np.eye(len(known)) + shared
        factor = np.linalg.cholesky(covariance)
        whitened = np.linalg.solve(factor, residuals)
        likelihood = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(factor)).sum())
        return likelihood + kernel.log_prior + kernel.log_noise_prior(noise)

    dimensions = known.shape[1]
    noises = [noise * factor for factor in NOISE_FACTORS]
    best = max(
        (_Kernel(std, noise, (length,) * dimensions, switches) for std in RESIDUAL_STDS for length in LENGTH_SCALES),
        key=score,
    )
    for _ in range(2):
        for i in range(dimensions):
            tried = [(*best.lengths[:i], length, *best.lengths[i + 1 :]) for length in LENGTH_SCALES]
            best = max((_Kernel(best.std, best.noise, lengths, switches) for lengths in tried), key=score)
        best = max(
            (_Kernel(std, level, best.lengths, switches) for std in RESIDUAL_STDS for level in noises), key=score
        )
    return best


def _normal_cdf(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))))


def _expected_improvement(mean: Array, std: Array, best: float) -> Array:
    z = (mean - best) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return np.asarray((mean - best) * _normal_cdf(z) + std * density)

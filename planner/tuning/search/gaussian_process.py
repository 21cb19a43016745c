"""The Gaussian process on the speed model's residuals: kernels, posterior averaged over them, gain of a launch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.benchmark import MAX_MODEL_LEN

OFFSET_STD = 0.4
"""Prior on the error of the predictions' overall level, as a standard deviation of the log."""
SLOPE_STDS = (0.35, 1.5)
"""Prior on the error of the predicted spread, as a standard deviation: of a model that ranks about right, and of one
that may rank the wrong way round. An error of -1 makes the prediction worthless. The data weigh the two."""
DISTRUST = 0.3
"""How likely the second is before any launch, relative to the first. A guess."""
RESIDUAL_STDS = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Candidates for the process's standard deviation. The prior favours RESIDUAL_STD."""
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
SURPRISE_WEIGHT = 4.0
"""Launches with errors as expected that count beside those seen, when the size of the errors is learned. A guess."""
AVERAGED = 6
"""Kernels that a posterior is averaged over."""
SAME = 1e-9
"""Square of a distance at which two values of a switch are the same."""
JITTER = 1e-10
"""First addition to a covariance that is not positive definite, as a share of its mean variance."""
CERTAIN = 1e-9
"""Standard deviation of a value that is known exactly."""

Array = NDArray[np.float64]
Switches: TypeAlias = tuple[tuple[int, ...], ...]
"""Columns of the points that hold one switch or word each."""


def _log(powers: Mapping[str, float], metrics: Mapping[str, Array]) -> Array:
    """Logarithm of the product of these metrics, each to its power; 0 if there are none."""
    logs = [power * np.log(np.maximum(metrics[name], 1e-9)) for name, power in powers.items()]
    return np.asarray(sum(logs))


def _along(powers: Mapping[str, float], slopes: Mapping[str, Array]) -> Array:
    """Slopes of the logarithm of the product of these metrics, each to its power."""
    return np.asarray(sum(power * slopes[name] for name, power in powers.items()))


@dataclass(frozen=True, slots=True)
class _Predicted:
    """What the speed model says of some candidates, and how far it is in doubt."""

    metrics: Mapping[str, Array]
    """Prediction of each metric.  # each (count,)"""
    slopes: Mapping[str, Array]
    """Change of its logarithm for one standard deviation of each coefficient.  # each (count, num_factors)"""

    def at(self, rows: NDArray[np.int64]) -> _Predicted:
        """The same of these rows only."""
        metrics = {name: column[rows] for name, column in self.metrics.items()}
        return _Predicted(metrics, {name: slopes[rows] for name, slopes in self.slopes.items()})

    def before(self, others: _Predicted) -> _Predicted:
        """These candidates, then the others."""
        return _Predicted(
            {name: np.concatenate([column, others.metrics[name]]) for name, column in self.metrics.items()},
            {name: np.concatenate([slopes, others.slopes[name]]) for name, slopes in self.slopes.items()},
        )


@dataclass(frozen=True, slots=True)
class _Doubt:
    """Doubt that is the same in every kernel: of values of switches, and of the model's coefficients."""

    switches: Switches = ()
    known: Array | None = None
    """Slopes of the measured candidates.  # (num_measured, num_factors)"""
    points: Array | None = None
    """Slopes of the points.  # (num_points, num_factors)"""

    def between(self, a: Array, b: Array, along_a: Array | None, along_b: Array | None) -> Array:
        """Covariance of the points a and b that it makes.  # (len(a), len(b))"""
        covariance = np.full((len(a), len(b)), OFFSET_STD**2)
        for columns in map(list, self.switches):
            covariance += SWITCH_STD**2 * (_squares(a[:, columns], b[:, columns]) < SAME)
        return covariance if along_a is None or along_b is None else np.asarray(covariance + along_a @ along_b.T)

    def along(self, at: NDArray[np.int64]) -> Array | None:
        """Slopes of these points."""
        return None if self.points is None else self.points[at]

    @property
    def alone(self) -> Array | float:
        """Variance of each point that it makes."""
        along = 0.0 if self.points is None else (self.points**2).sum(axis=1)
        return np.asarray(OFFSET_STD**2 + len(self.switches) * SWITCH_STD**2 + along)


def _learned(
    powers: Mapping[str, float],
    known: Array,
    logs: Array,
    seen: _Predicted,
    points: Array,
    predicted: _Predicted,
    noise: tuple[float, Array | float],
    switches: Switches,
) -> _Posterior:
    """Posterior of a product of metrics at `points`, given its measured `logs` and the metrics' predictions at both.

    `noise`: the standard deviation of a launch, and the covariance of what several of them shared. The context length
    is known before a launch and is used unchanged.
    """
    sure = {name: power for name, power in powers.items() if name == MAX_MODEL_LEN}
    unsure = {name: power for name, power in powers.items() if name not in sure}
    sure_known, sure_points = _log(sure, seen.metrics), _log(sure, predicted.metrics)
    if not unsure:
        return _Posterior(sure_points, np.full(len(points), CERTAIN), sure_known, CERTAIN**2 * np.eye(len(known)))
    doubt = _Doubt(switches, _along(unsure, seen.slopes), _along(unsure, predicted.slopes))
    expected = _log(unsure, seen.metrics), _log(unsure, predicted.metrics)
    found = _posterior(known, logs - sure_known, expected[0], points, expected[1], *noise, doubt)
    return replace(found, mean=found.mean + sure_points, at_known=found.at_known + sure_known)


# --- the process ---


@dataclass(frozen=True, slots=True)
class _Posterior:
    mean: Array
    std: Array
    """Standard deviation of the logarithm at the points.  # (num_points,)"""
    at_known: Array
    """Mean at the measured candidates, with the noise smoothed out.  # (num_measured,)"""
    doubt_at_known: Array
    """Covariance of the logarithms at the measured candidates.  # (num_measured, num_measured)"""
    noise: float = CERTAIN
    """Standard deviation of the logarithm of one launch's value, as learned."""
    parts: tuple[_Part, ...] = ()
    """What each kernel believes; empty where the values are known exactly."""

    def drawn(self, at: NDArray[np.int64], count: int) -> tuple[Array, Array]:
        """About `count` draws of the logarithms at these points, what they have in common included, and their weights.

        # (num_draws, len(at)), (num_draws,). The same each time.
        """
        rng = np.random.default_rng(0)
        counts = [max(1, round(part.weight * count)) for part in self.parts]
        drawn = [part.drawn(at, number, rng) for part, number in zip(self.parts, counts, strict=True)]
        weights = [np.full(number, part.weight / number) for part, number in zip(self.parts, counts, strict=True)]
        return self.mean[at] + np.vstack(drawn), np.concatenate(weights)


@dataclass(frozen=True, slots=True)
class _Kernel:
    """Kernel of a slope on the prediction and a Matern 5/2 with a length scale per dimension."""

    std: float
    noise: float
    lengths: tuple[float, ...]
    slope_std: float = SLOPE_STDS[0]

    def between(self, squares: Array, slopes: Array) -> Array:
        """Covariance of points at these squared distances, in length scales, with these products of slopes."""
        distance = np.sqrt(5 * squares)
        matern = (1 + distance + distance**2 / 3) * np.exp(-distance)
        return np.asarray(self.std**2 * matern + self.slope_std**2 * slopes)

    @property
    def log_prior(self) -> float:
        lengths = sum((math.log(length) / LENGTH_DOUBT) ** 2 for length in self.lengths)
        trust = 0.0 if self.slope_std == SLOPE_STDS[0] else math.log(DISTRUST)
        return trust - 0.5 * (lengths + (math.log(self.std / RESIDUAL_STD) / RESIDUAL_DOUBT) ** 2)

    def log_noise_prior(self, expected: float) -> float:
        return -0.5 * (math.log(self.noise / expected) / NOISE_DOUBT) ** 2


@dataclass(frozen=True, slots=True)
class _Part:
    """What one kernel believes of the points, beside what all kernels together do."""

    weight: float
    kernel: _Kernel
    surprise: float
    """Size of the launches' errors relative to what the kernel expected of them."""
    beside: Array
    """Its mean less that of all kernels.  # (num_points,)"""
    explained: Array
    """What the measured candidates tell of the points: the factor of its square is taken off their covariance.

    # (num_measured, num_points)
    """
    points: Array
    slope: Array
    doubt: _Doubt

    def drawn(self, at: NDArray[np.int64], count: int, rng: np.random.Generator) -> Array:
        """Draws of the logarithms at these points, less the mean of all kernels.  # (count, len(at))

        The doubt is scaled by the surprise: where launches ended nearer to what was predicted of them than the kernel
        expected, so will the others. Source: Shah, Wilson & Ghahramani 2014, Student-t Processes as Alternatives to
        Gaussian Processes, eq. 4 (the posterior's scale).
        """
        points, slope, told = self.points[at], self.slope[at], self.explained[:, at]
        far, along = points / np.asarray(self.kernel.lengths), self.doubt.along(at)
        covariance = self.doubt.between(points, points, along, along) - told.T @ told
        covariance += self.kernel.between(_squares(far, far), np.outer(slope, slope))
        drawn = rng.standard_normal((count, len(at))) @ cholesky(covariance).T
        return np.asarray(self.beside[at] + self.surprise * drawn)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was measured, for the choice of kernels."""

    known: Array
    residuals: Array
    slopes: Array
    noise: float
    """Expected standard deviation of a launch."""
    rest: Array
    """Covariance that is the same in every kernel.  # (num_measured, num_measured)"""


def _posterior(
    known: Array,
    logs: Array,
    predicted_known: Array,
    points: Array,
    predicted: Array,
    noise: float,
    shared: Array | float = 0.0,
    doubt: _Doubt = _Doubt(),
) -> _Posterior:
    """Posterior of a metric's logarithm at `points`, given measured `logs` at `known` and the model's logs at both.

    It is averaged over the likeliest kernels; `doubt` is the same in all. `shared` is the covariance of other effects
    on the measured values, which the points do not have.
    """
    middle = float(predicted_known.mean())
    slope_known, slope = predicted_known - middle, predicted - middle
    fixed = doubt.between(known, known, doubt.known, doubt.known)
    seen = _Seen(known, logs - predicted_known, slope_known, noise, fixed + shared)
    fixed_cross = doubt.between(points, known, doubt.points, doubt.known)
    mean, second, at_known, noises = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(known)), 0.0
    doubt_known = np.zeros((len(known), len(known)))
    parts: list[_Part] = []
    for weight, kernel in _likely(seen):
        near, far = known / np.asarray(kernel.lengths), points / np.asarray(kernel.lengths)
        covariance = fixed + kernel.between(_squares(near, near), np.outer(slope_known, slope_known))
        factor = cholesky(covariance + kernel.noise**2 * np.eye(len(known)) + shared)
        whitened = np.linalg.solve(factor, seen.residuals)
        weights = np.linalg.solve(factor.T, whitened)
        surprise = math.sqrt((SURPRISE_WEIGHT + float(whitened @ whitened)) / (SURPRISE_WEIGHT + len(known)))
        cross = fixed_cross + kernel.between(_squares(far, near), np.outer(slope, slope_known))
        explained = np.linalg.solve(factor, cross.T)
        alone = kernel.std**2 + kernel.slope_std**2 * slope**2 + doubt.alone
        one, there, inner = cross @ weights, covariance @ weights, np.linalg.solve(factor, covariance)
        told = np.asarray(explained, dtype=np.float64)
        parts.append(_Part(weight, kernel, surprise, one, told, points, slope, doubt))
        mean += weight * one
        second += weight * (one**2 + np.maximum(alone - (explained**2).sum(axis=0), 1e-12))
        at_known += weight * there
        doubt_known += weight * (np.outer(there, there) + covariance - inner.T @ inner)
        noises += weight * kernel.noise
    std = np.sqrt(np.maximum(second - mean**2, 1e-12))
    doubt_known -= np.outer(at_known, at_known)
    apart = tuple(replace(part, beside=part.beside - mean) for part in parts)
    return _Posterior(predicted + mean, std, predicted_known + at_known, doubt_known, noises, apart)


def _likely(seen: _Seen) -> list[tuple[float, _Kernel]]:
    """The likeliest kernels with their weights, which sum to 1.

    They are found by coordinate ascent: first the standard deviation, then each length scale, twice. All that it passes
    compete, by prior and likelihood.
    """
    count, dimensions = seen.known.shape
    squares = np.stack([_squares(seen.known[:, [i]], seen.known[:, [i]]) for i in range(dimensions)] or [_none(count)])
    slopes = np.outer(seen.slopes, seen.slopes)
    scores: dict[_Kernel, float] = {}

    def score(kernel: _Kernel) -> float:
        if kernel not in scores:
            scaled = np.tensordot(np.array(kernel.lengths) ** -2.0, squares, 1) if dimensions else squares[0]
            covariance = kernel.between(scaled, slopes) + kernel.noise**2 * np.eye(count) + seen.rest
            factor = cholesky(covariance)
            whitened = np.linalg.solve(factor, seen.residuals)
            likelihood = -0.5 * float(whitened @ whitened) - float(np.log(np.diag(factor)).sum())
            scores[kernel] = likelihood + kernel.log_prior + kernel.log_noise_prior(seen.noise)
        return scores[kernel]

    noises = [seen.noise * factor for factor in NOISE_FACTORS]
    best = max(
        (
            _Kernel(std, seen.noise, (length,) * dimensions, slope)
            for std in RESIDUAL_STDS
            for length in LENGTH_SCALES
            for slope in SLOPE_STDS
        ),
        key=score,
    )
    for _ in range(2):
        for i in range(dimensions):
            tried = [(*best.lengths[:i], length, *best.lengths[i + 1 :]) for length in LENGTH_SCALES]
            best = max((replace(best, lengths=lengths) for lengths in tried), key=score)
        best = max(
            (
                replace(best, std=std, noise=level, slope_std=slope)
                for std in RESIDUAL_STDS
                for level in noises
                for slope in SLOPE_STDS
            ),
            key=score,
        )
    likeliest: dict[tuple[float, float], _Kernel] = {}
    for kernel in sorted(scores, key=lambda kernel: -scores[kernel]):
        likeliest.setdefault((kernel.std, kernel.slope_std), kernel)
    chosen = list(likeliest.values())[:AVERAGED]
    weights = np.exp(np.array([scores[kernel] for kernel in chosen]) - scores[best])
    return list(zip((weights / weights.sum()).tolist(), chosen, strict=True))


def cholesky(covariance: Array) -> Array:
    """Lower triangular factor of a covariance; of one that rounding has made indefinite, with a little more variance.

    Source: Neal 1999, Regression and Classification Using Gaussian Process Priors (jitter).
    """
    jitter = 0.0
    while True:
        try:
            factor = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
            return np.asarray(factor, dtype=np.float64)
        except np.linalg.LinAlgError:
            jitter = max(10 * jitter, JITTER * float(np.diag(covariance).mean()))
            if not np.isfinite(jitter) or jitter > 1e6:
                raise


def _squares(a: Array, b: Array) -> Array:
    """Squares of the distances.  # (len(a), len(b))"""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None, :] - 2 * a @ b.T
    return np.maximum(squares, 0.0)


def _none(count: int) -> Array:
    return np.zeros((count, count))


def _normal_cdf(z: Array) -> Array:
    return np.asarray(0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))))


def _expected_improvement(mean: Array, std: Array, best: float | Array) -> Array:
    z = (mean - best) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return np.asarray((mean - best) * _normal_cdf(z) + std * density)


def _moved(std: Array, noise: float) -> Array:
    """Standard deviation by which one launch with this noise moves the mean believed of what was launched.

    Source: Frazier, Powell & Dayanik 2009, 10.1287/ijoc.1080.0314 (knowledge gradient, independent beliefs).
    """
    return np.asarray(std**2 / np.hypot(std, noise))


def _expected_change(mean: Array, doubt: Array, noise: float) -> Array:
    """Expected gain of the best mean if each of these, all launched before, were launched once more.  # (len(mean),)

    Launching the leader may show that the second is better; launching another, that it leads. `doubt` is their
    covariance: what moves both alike changes nothing. Source: as `_moved`.
    """
    if len(mean) < 2:
        return np.zeros(len(mean))
    leader, second = np.argsort(-mean)[:2]
    rival = np.full(len(mean), leader)
    rival[leader] = second
    own = np.diag(doubt)
    moved = np.abs(own - doubt[np.arange(len(mean)), rival]) / np.sqrt(np.maximum(own + noise**2, CERTAIN**2))
    return _expected_improvement(-np.abs(mean - mean[rival]), np.maximum(moved, CERTAIN), 0.0)

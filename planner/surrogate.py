"""Which feasible combination to launch next: a Gaussian process on what the performance model gets wrong.

In: the grid's rows still open, the finished trials. Out: one row. The process learns log(measured) - log(predicted), so
before any launch it says what the model says, and later what the data say. Expected improvement is weighed down near
settings that failed to serve or missed a limit. Pure NumPy; knows nothing of optuna.

Source: Jones et al. 1998, Efficient Global Optimization (expected improvement); Rasmussen & Williams 2006, ch. 2 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.engine import FIELDS
from planner.metrics import RATES
from planner.problem import Problem
from planner.risks import no_effect
from planner.space import Candidate
from planner.trial import Trial

NOISE_STD = 0.02
"""Standard deviation of log throughput between repeats of one setting; 2 % was measured on idle machines."""
PRIOR_STD = 0.3
"""How far the performance model may be off before anything is measured, as a standard deviation of the log."""
PRIOR_WEIGHT = 4.0
"""How many measurements that prior counts for."""
LEAST_STD = 0.1
"""However well the model has done so far: elsewhere it may be off by this much."""
LENGTH_SCALES = (0.25, 0.5, 1.0, 2.0)
"""Candidates for the kernel's length scale, in units of a searched range; the likeliest is taken."""
FAILURE_LENGTH_SCALE = 0.25

Array = NDArray[np.float64]


class Surrogate:
    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        objective = problem.spec.objective
        self._sign = 1.0 if objective.direction == "maximize" else -1.0
        self._uses_model = objective.metric in RATES
        self._names = self._relevant_names()
        self._features: Array | None = None

    def choose(self, rows: NDArray[np.int64], past: Sequence[Trial]) -> int:
        """The row of the largest expected improvement; the model's favourite while nothing is measured."""
        prior = self._prior(rows)
        measured = [t for t in past if t.outcome == "measured" and t.value is not None and t.value > 0]
        if not measured:
            return int(rows[np.argmax(prior)])
        known = np.array([self._candidate_features(t.candidate) for t in measured])
        rows, prior = self._new_points(rows, prior, known)
        points = self._grid_features()[rows]
        residuals = np.array([self._sign * math.log(t.value or 1.0) - self._log_predicted(t) for t in measured])
        mean, std = _posterior(known, residuals, points)
        acceptable = [self._sign * math.log(t.value or 1.0) for t in measured if t.is_acceptable]
        best = max(acceptable, default=float("-inf"))
        gain = (
            _expected_improvement(prior + mean, std, best + NOISE_STD)
            if acceptable
            else np.exp(prior + mean - prior.max())
        )
        bad = [t.candidate for t in past if t.was_launched and not t.is_acceptable]
        for candidate in bad:
            distance = np.linalg.norm(points - self._candidate_features(candidate), axis=1)
            gain = gain * (1 - np.exp(-0.5 * (distance / FAILURE_LENGTH_SCALE) ** 2))
        return int(rows[np.argmax(gain)])

    def _new_points(self, rows: NDArray[np.int64], prior: Array, known: Array) -> tuple[NDArray[np.int64], Array]:
        """Without rows that differ from a measured one only in what has no effect; all rows when no other is left."""
        measured = {point.tobytes() for point in np.round(known, 9)}
        points = np.round(self._grid_features()[rows], 9)
        new = np.array([point.tobytes() not in measured for point in points])
        return (rows[new], prior[new]) if new.any() else (rows, prior)

    def _prior(self, rows: NDArray[np.int64]) -> Array:
        if not self._uses_model:
            return np.zeros(len(rows))
        return np.log(np.maximum(self._problem.grid.predicted[rows], 1e-9))

    def _log_predicted(self, trial: Trial) -> float:
        return math.log(max(trial.predicted_value or 1.0, 1e-9)) if self._uses_model else 0.0

    # --- candidates as points: numbers on their scale to [0, 1], words one-hot ---

    def _relevant_names(self) -> list[str]:
        """Searched names that can matter: more than one value, and not known to have no effect here."""
        idle = no_effect(self._problem.deployment(self._problem.default).engine, self._problem.version)
        searched = self._problem.choices.searched
        return [name for name in searched if len(searched[name]) > 1 and name not in idle]

    def _grid_features(self) -> Array:
        if self._features is None:
            grid, names = self._problem.grid, self._problem.choices.names
            columns = [
                self._encode(name, values)[grid.indices[:, names.index(name)]]
                for name in self._names
                for values in [self._problem.choices.searched[name]]
            ]
            self._features = np.hstack(columns) if columns else np.zeros((len(grid.indices), 0))
        return self._features

    def _candidate_features(self, candidate: Candidate) -> Array:
        row = self._problem.row_of(candidate)
        if row is not None:
            return np.asarray(self._grid_features()[row])
        engine = self._problem.deployment(candidate).engine
        parts = []
        for name in self._names:
            values = self._problem.choices.searched[name]
            value: Any = self._problem.choices.value_of(candidate, name)
            if value is None and name in FIELDS:
                value = getattr(engine, "swap_space_gib" if name == "swap_space" else name, values[0])
            parts.append(self._encode(name, [*values, value])[-1])
        return np.concatenate(parts) if parts else np.zeros(0)

    def _encode(self, name: str, values: Sequence[Any]) -> Array:
        """Each value as a point.  # (num_values, dimensions)"""
        known = self._problem.choices.searched[name]
        if all(isinstance(value, (int, float)) for value in [*known, *values]):
            low, high = float(min(known)), float(max(known))  # type: ignore[type-var, arg-type]
            numbers = np.array([float(value) for value in values])
            if low > 0 and high / low >= 4:
                low, high, numbers = math.log(low), math.log(high), np.log(numbers)
            return ((numbers - low) / (high - low))[:, None]
        words = [repr(value) for value in known]
        return np.array([[float(repr(value) == word) / math.sqrt(2) for word in words] for value in values])


def _kernel(a: Array, b: Array, length_scale: float) -> Array:
    """Matern 5/2.  # (len(a), len(b))"""
    distance = np.linalg.norm(a[:, None, :] - b[None, :, :], axis=2) * math.sqrt(5) / length_scale
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))


def _posterior(known: Array, residuals: Array, points: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the residual at `points`, at the likeliest length scale.  # both (len(points),)"""
    offset = residuals.mean()
    centred = residuals - offset
    variance = (PRIOR_WEIGHT * PRIOR_STD**2 + float((centred**2).sum())) / (PRIOR_WEIGHT + len(residuals))
    variance = max(variance, LEAST_STD**2)
    best: tuple[float, float, Any, Array] | None = None
    for length_scale in LENGTH_SCALES:
        covariance = variance * _kernel(known, known, length_scale) + NOISE_STD**2 * np.eye(len(known))
        factor = np.linalg.cholesky(covariance)
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, centred))
        likelihood = -0.5 * float(centred @ weights) - float(np.log(np.diag(factor)).sum())
        if best is None or likelihood > best[0]:
            best = (likelihood, length_scale, factor, weights)
    assert best is not None
    _, length_scale, factor, weights = best
    cross = variance * _kernel(points, known, length_scale)
    explained = np.linalg.solve(factor, cross.T)
    std = np.sqrt(np.maximum(variance - (explained**2).sum(axis=0), 1e-12))
    return offset + cross @ weights, std


def _expected_improvement(mean: Array, std: Array, best: float) -> Array:
    z = (mean - best) / std
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))
    return np.asarray((mean - best) * below + std * density)

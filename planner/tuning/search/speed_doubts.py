"""What the doubt about the speed model's coefficients means for its predictions: `SpeedDoubts(forecast)`.

In: a forecast. Out: for each candidate and metric, how far one standard deviation of each coefficient moves the
prediction. The surrogate's process has these as dimensions: a launch that corrects one coefficient corrects all
candidates that depend on it, and they stay in doubt together until one was launched. Nothing is fitted and then held
for known.

Source: Rasmussen & Williams 2006, ch. 2.7 (explicit basis functions with a Gaussian prior), linearised about the card's
coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.estimate import Coefficients, default_coefficients
from planner.study import Candidate, Forecast, metrics_of

Array = NDArray[np.float64]

FACTORS: tuple[tuple[tuple[str, ...], float], ...] = (
    (("gemm_efficiency", "fused_gemm_efficiency"), 0.4),
    (("bandwidth_efficiency", "fused_bandwidth_efficiency", "marlin_efficiency"), 0.3),
    (("attention_efficiency",), 0.5),
    (("launch_s_per_layer",), 0.6),
    (("graph_launch_s",), 0.6),
    (("host_s", "host_s_per_rank"), 0.6),
    (("host_s_per_seq",), 0.7),
    (("frontend_s_per_token",), 0.6),
)
"""Groups of coefficients scaled by one factor, each with the prior standard deviation of the factor's logarithm."""
STEP = 0.5
"""Step of the derivatives, in standard deviations of the factor's logarithm: a secant over what is likely."""


class SpeedDoubts:
    """How predictions of one forecast depend on the coefficients that are in doubt."""

    def __init__(self, forecast: Forecast) -> None:
        self._forecast, problem = forecast, forecast.problem
        prior = default_coefficients(problem.deployment(problem.default).engine, problem.gpu)
        steps = [STEP * width * unit for (_, width), unit in zip(FACTORS, np.eye(len(FACTORS)), strict=True)]
        self._moved = [scaled(prior, logs) for logs in steps]
        self._of: dict[str, dict[str, Array]] = {}

    @cached_property
    def grid(self) -> Mapping[str, Array]:
        """Change of each metric's logarithm for one standard deviation of each factor, for every row of the grid.

        # each (num_candidates, num_factors)
        """
        grid = self._forecast.grid
        return _slopes(grid.predicted(), [grid.predicted(coefficients) for coefficients in self._moved])

    def of(self, candidate: Candidate) -> Mapping[str, Array]:
        """The same of one candidate, which may lie beside the grid.  # each (num_factors,)"""
        row = self._forecast.problem.row_of(candidate)
        if row is not None:
            return {name: slopes[row] for name, slopes in self.grid.items()}
        if candidate.key not in self._of:
            deployment, workload = self._forecast.deployment(candidate), self._forecast.problem.workload
            limits = self._forecast.problem.objective.capacity_limits
            each = [metrics_of(deployment, workload, one, limits) for one in (None, *self._moved)]
            arrays = [{name: np.array([float(value)]) for name, value in metrics.items()} for metrics in each]
            self._of[candidate.key] = {name: slopes[0] for name, slopes in _slopes(arrays[0], arrays[1:]).items()}
        return self._of[candidate.key]


def scaled(prior: Coefficients, logs: Array) -> Coefficients:
    """The prior with each factor's coefficients multiplied by the exponential of its logarithm."""
    changes = {
        name: getattr(prior, name) * math.exp(log)
        for (names, _), log in zip(FACTORS, logs.tolist(), strict=True)
        for name in names
    }
    return replace(prior, **changes)


def _slopes(base: Mapping[str, Array], moved: list[dict[str, Array]]) -> dict[str, Array]:
    def log(values: Array) -> Array:
        return np.asarray(np.log(np.maximum(values, 1e-9)))

    return {
        name: np.stack([(log(metrics[name]) - log(values)) / STEP for metrics in moved], axis=1)
        for name, values in base.items()
    }

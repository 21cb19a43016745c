"""Fit the speed model's coefficients to a study's own trials: `fit_coefficients(forecast, trials) -> Coefficients`.

Efficiencies and overheads start from the card's priors. Each trial's throughput and time per output token move them
as far as the priors' widths allow (maximum a posteriori, Gauss-Newton on their logarithms). The surrogate learns what
these few factors cannot explain. Source: Rasmussen & Williams 2006, ch. 2.7, for a parametric mean under a process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planner.estimate import Coefficients, Deployment, default_coefficients, predict
from planner.study import Forecast
from planner.trials import Trial
from planner.workload import Workload

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
OBSERVED = {"output_throughput": 0.04, "tpot_mean": 0.10}
"""Metrics that are fitted, each with the error left by the right coefficients, as a standard deviation of the log."""
ITERATIONS = 6
STEP = 0.02
"""Step of the numerical derivatives, in logarithms."""
FURTHEST = 2.0
"""Largest change of a factor's logarithm."""


def fit_coefficients(forecast: Forecast, trials: Sequence[Trial]) -> Coefficients:
    """Coefficients fitted to the measured trials; the card's priors if there are none."""
    problem = forecast.problem
    prior = default_coefficients(problem.deployment(problem.default).engine, problem.gpu)
    measured = [t for t in trials if t.outcome == "measured" and t.metrics.get("output_throughput", 0.0) > 0]
    if not measured:
        return prior
    groups = _groups(forecast, measured)
    names = [name for name in OBSERVED if all(t.metrics.get(name, 0.0) > 0 for t in measured)]
    targets = np.array([[math.log(t.metrics[name]) for t in measured] for name in names])
    scales = np.array([[OBSERVED[name]] * len(measured) for name in names])

    def misfit(logs: Array) -> Array:
        predicted = _log_predicted(problem.workload, groups, names, len(measured), scaled(prior, logs))
        return np.asarray((targets - predicted) / scales).ravel()

    return scaled(prior, _minimise(misfit))


def scaled(prior: Coefficients, logs: Array) -> Coefficients:
    """The prior with each factor's coefficients multiplied by the exponential of its logarithm."""
    changes = {
        name: getattr(prior, name) * math.exp(log)
        for (names, _), log in zip(FACTORS, logs.tolist(), strict=True)
        for name in names
    }
    return replace(prior, **changes)


def _groups(forecast: Forecast, trials: Sequence[Trial]) -> list[tuple[NDArray[np.int64], Deployment]]:
    """Groups of positions in `trials` with their deployment, which has arrays for candidates on the grid."""
    rows = [forecast.problem.row_of(trial.candidate) for trial in trials]
    on_grid = np.array([i for i, row in enumerate(rows) if row is not None], dtype=np.int64)
    groups = [(np.array([i]), forecast.deployment(trials[i].candidate)) for i, row in enumerate(rows) if row is None]
    if on_grid.size:
        indices = forecast.grid.indices[[row for row in rows if row is not None]]
        groups += [(on_grid[members], deployment) for members, deployment in forecast.deployments(indices)]
    return groups


def _log_predicted(
    workload: Workload,
    groups: Sequence[tuple[NDArray[np.int64], Deployment]],
    names: Sequence[str],
    count: int,
    coefficients: Coefficients,
) -> Array:
    """Logarithms of the predicted metrics.  # (len(names), count)"""
    predicted = np.zeros((len(names), count))
    for members, deployment in groups:
        metrics = predict(deployment, workload, coefficients)
        for i, name in enumerate(names):
            predicted[i, members] = metrics[name]
    return np.asarray(np.log(np.maximum(predicted, 1e-9)))


def _minimise(misfit: object) -> Array:
    """Minimise by Gauss-Newton with halved steps. Each prior counts as one more misfit."""
    assert callable(misfit)
    widths = np.array([width for _, width in FACTORS])
    logs = np.zeros(len(FACTORS))

    def cost(at: Array, rest: Array) -> float:
        return float(rest @ rest + ((at / widths) ** 2).sum())

    rest = misfit(logs)
    for _ in range(ITERATIONS):
        slopes = np.array([(misfit(logs + STEP * unit) - rest) / STEP for unit in np.eye(len(logs))]).T
        hessian = slopes.T @ slopes + np.diag(1 / widths**2)
        step = -np.linalg.solve(hessian, slopes.T @ rest + logs / widths**2)
        for _ in range(5):
            trial = np.clip(logs + step, -FURTHEST, FURTHEST)
            left = misfit(trial)
            if cost(trial, left) < cost(logs, rest):
                break
            step = step / 2
        else:
            return logs
        moved, logs, rest = float(np.abs(trial - logs).max()), trial, left
        if moved < 1e-3:
            return logs
    return logs

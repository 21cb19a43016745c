"""How likely candidates are to start, learned from the launches of a study that started and those that failed.

In: the grid's rows as points, the finished trials. Out: a chance for each row. Before any launch it is the memory
estimate's own: headroom and interval (`estimate/margins.py`). Margins are dimensions beside the settings, so a failure
for want of memory lowers the chance wherever memory is as tight. So is what the speed model promises: candidates are
launched for it, and a chance that left it out would be too high for exactly those.

Source: Gelbart, Snoek & Adams 2014, Bayesian Optimization with Unknown Constraints (improvement times chance, and a
least chance).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.estimate import MOST_MARGIN, Deployment, start_margins
from planner.study import Candidate, Forecast
from planner.trials import Trial
from planner.tuning.search.logistic_process import learned_chances

Array = NDArray[np.float64]

USUAL = 0.93
"""Chance that a candidate starts whose memory surely suffices: nothing is known of what else may fail. A guess."""
LEAST_SPREAD = 0.05
"""Least spread of the logarithm of the promised values that counts as one unit of distance."""
SAFE = 0.75
"""Chance of starting that is enough for a launch after a failure. A guess."""
RATHER = 0.5
"""Chance of starting from which a launch is worth its risk while few have failed."""
MUCH_SPARED = 3.0
"""Failed launches fewer than expected of rows drawn at random, from which more is risked."""
SUREST = 0.25
"""Share of the rows that may be launched after more failures than expected."""


class Starts:
    """What is known of starts, for the rows of one grid."""

    def __init__(self, forecast: Forecast, features: Array, features_of: Callable[[Candidate], Array]) -> None:
        """`features`: the settings of every row of the grid; `features_of`: those of a candidate beside the grid."""
        self._forecast, self._features, self._features_of = forecast, features, features_of
        self._margins = np.zeros((len(features), 2))
        for rows, deployment in forecast.grid.groups:
            self._margins[rows] = _margins(deployment, len(rows))
        promised = self._logs(forecast.grid.predicted())
        feasible = promised[forecast.grid.feasible_rows]
        self._middle, self._spread = float(feasible.mean()), max(4 * float(feasible.std()), LEAST_SPREAD)
        self._promised = self._scaled(promised)

    def chances(self, rows: NDArray[np.int64], past: Sequence[Trial]) -> Array:
        """Probability that each row serves.  # (len(rows),)"""
        launched = [trial for trial in past if trial.was_launched]
        known, margins = self._of(launched)
        points = np.column_stack([self._features[rows], self._margins[rows] / MOST_MARGIN, self._promised[rows]])
        started = np.array([trial.outcome == "measured" for trial in launched], dtype=bool)
        return learned_chances(points, _believed(self._margins[rows]), known, _believed(margins), started)

    def _scaled(self, logs: Array) -> Array:
        return np.asarray(np.clip((logs - self._middle) / self._spread, -1.0, 1.0))

    def _logs(self, metrics: Mapping[str, Any]) -> Array:
        """Logarithm of the objective for these predicted metrics."""
        return np.asarray(np.log(np.maximum(self._forecast.problem.objective.value(metrics), 1e-9)))

    def _of(self, trials: Sequence[Trial]) -> tuple[Array, Array]:
        """Points and margins of the trials' candidates."""
        points, margins = [], []
        for trial in trials:
            row = self._forecast.problem.row_of(trial.candidate)
            if row is None:
                margin = _margins(self._forecast.deployment(trial.candidate), 1)[0]
                logs = float(self._logs(self._forecast.predicted(trial.candidate)))
                promised = float(self._scaled(np.array(logs)))
            else:
                margin, promised = self._margins[row], self._promised[row]
            points.append(np.concatenate([self._features_of(trial.candidate), margin / MOST_MARGIN, [promised]]))
            margins.append(margin)
        return np.array(points), np.array(margins).reshape(-1, 2)


def is_worth_the_risk(chances: Array, failed: int, launched: int) -> NDArray[np.bool_]:
    """Whether each row is sure enough to be launched, so that no more launches fail than of rows drawn at random.

    An improvement believed large would else justify one failed launch after the other, since each lowers the chances
    beside it by little. While none of the `launched` has `failed`, or far fewer than of rows drawn at random, any row
    will do that starts rather than not; with as many, one that fails no likelier than a row drawn at random, or is SAFE
    anyway; with more, the surest, since the chances of what is chosen are then too high. True for at least one row.

    # (len(chances),)
    """
    at_random = float(chances.mean())
    spared = launched * (1 - at_random) - failed
    if spared < 0:
        return np.asarray(chances >= np.quantile(chances, 1 - SUREST))
    bar = min(SAFE, at_random)
    return np.asarray(chances >= (min(bar, RATHER) if not failed or spared > MUCH_SPARED else bar))


def _margins(deployment: Deployment, count: int) -> Array:
    """Margins of each of the deployment's rows.  # (count, 2)"""
    return np.stack([np.broadcast_to(np.asarray(m, dtype=float), count) for m in start_margins(deployment)], axis=1)


def _believed(margins: Array) -> Array:
    """Chance that a candidate with these margins serves, by the memory estimate alone.  # (len(margins),)"""
    fits = 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(margins / math.sqrt(2)))
    return np.asarray(np.clip(USUAL * fits.prod(axis=1), 1e-3, USUAL))

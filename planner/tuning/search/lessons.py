"""What earlier studies on the same cards say of the speed model's errors: `Taught`, which corrects predictions.

In: for each row of a study's grid, how far earlier launches say that the prediction is off. Out: predictions corrected
as far as that is believed. The belief is a stated one before the first launch; then each launch weighs the corrected
against the plain prediction. The doubt stays that of a study without earlier ones: what was learned under another load
says where to look first, and not what will be found there.

Source: Golovin et al. 2017, Google Vizier, ch. 3.3 (transfer learning: a process on the residuals of the last study's);
Bishop 2006, Pattern Recognition and Machine Learning, ch. 3.4 (models compared by their evidence).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.study import Problem, Value
from planner.trials import LAUNCH_NOISE, PRIOR_NOISE, Trial
from planner.tuning.search.gaussian_process import (
    OFFSET_STD,
    RESIDUAL_STD,
    SLOPE_STDS,
    SWITCH_STD,
    Array,
    _Predicted,
    cholesky,
)

BELIEVED = 0.75
"""Chance, before this study's first launch, that what earlier studies showed holds here too. A guess."""


@dataclass(frozen=True, slots=True)
class Taught:
    """Corrections of the speed model's predictions, from earlier studies on the same cards."""

    shifts: Mapping[str, Array]
    """Change of each metric's logarithm, by row; the last is of what lies beside the grid.  # each (num_rows + 1,)"""
    words: tuple[str, ...] = ()
    """Provenance and weight of each study, a line each."""

    def corrected(
        self,
        problem: Problem,
        measured: Sequence[Trial],
        rows: NDArray[np.int64],
        seen: _Predicted,
        predicted: _Predicted,
    ) -> tuple[_Predicted, _Predicted]:
        """Predictions of the measured trials (`seen`) and of these rows (`predicted`), as far as this is believed."""
        found = [problem.row_of(trial.candidate) for trial in measured]
        known = np.array([-1 if row is None else row for row in found], dtype=np.int64)
        beliefs = {name: self.belief(name, problem, measured, seen, known) for name in self.shifts}

        def moved(one: _Predicted, at: NDArray[np.int64]) -> _Predicted:
            changed = {
                name: one.metrics[name] * np.exp(beliefs[name] * shift[at]) for name, shift in self.shifts.items()
            }
            return _Predicted({**one.metrics, **changed}, one.slopes)

        return moved(seen, known), moved(predicted, rows)

    def belief(
        self, name: str, problem: Problem, measured: Sequence[Trial], seen: _Predicted, known: NDArray[np.int64]
    ) -> float:
        """Chance that the correction of this metric holds, by the launches of this study. `known`: their rows."""
        at = [i for i, trial in enumerate(measured) if trial.metrics.get(name, 0.0) > 0]
        if not at:
            return BELIEVED
        expected = np.log(np.maximum(seen.metrics[name][at], 1e-9))
        errors = np.log([measured[i].metrics[name] for i in at]) - expected
        factor = cholesky(_doubt(problem, [measured[i] for i in at], expected, seen.slopes[name][at]))
        plain, corrected = (np.linalg.solve(factor, errors - shift) for shift in (0.0, self.shifts[name][known[at]]))
        odds = 0.5 * float(plain @ plain - corrected @ corrected) + math.log(BELIEVED / (1 - BELIEVED))
        return 1 / (1 + math.exp(min(-odds, 700.0)))


def _doubt(problem: Problem, trials: Sequence[Trial], expected: Array, slopes: Array) -> Array:
    """Covariance of the errors of the predictions of these trials, before any was launched."""
    spread = expected - expected.mean()
    doubt = OFFSET_STD**2 + SLOPE_STDS[0] ** 2 * np.outer(spread, spread) + slopes @ slopes.T
    keys = np.array([trial.candidate.key for trial in trials])
    doubt = doubt + RESIDUAL_STD**2 * (keys[:, None] == keys[None, :])
    for name, values in problem.choices.searched.items():
        if is_switch(values):
            words = np.array([repr(problem.choices.value_of(trial.candidate, name)) for trial in trials])
            doubt = doubt + SWITCH_STD**2 * (words[:, None] == words[None, :])
    return np.asarray(doubt + (PRIOR_NOISE**2 + LAUNCH_NOISE**2) * np.eye(len(trials)))


def is_switch(values: Sequence[Value]) -> bool:
    """Whether a setting with these values is switched or named, instead of counted."""
    return not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)

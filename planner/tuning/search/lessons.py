"""What earlier studies on the same cards say of the speed model's errors: `Taught`, which corrects predictions.

In: for each row of a study's grid, how far earlier launches say that the prediction is off. Out: predictions corrected
by a share of it, and the doubt about that share as one more coefficient of the speed model (`speed_doubts.py`). The
launches of this study decide how much of it holds here, from nothing to all. No other doubt becomes less: what was
learned under another load says where to look first, and not what will be found there.

Source: Golovin et al. 2017, Google Vizier, ch. 3.3 (transfer learning: a process on the residuals of the last study's);
Rasmussen & Williams 2006, ch. 2.7 (explicit basis functions with a Gaussian prior).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.study import Problem, Value
from planner.trials import Trial
from planner.tuning.search.gaussian_process import Array, _Predicted

SHARE, SHARE_DOUBT = 0.5, 0.5
"""Prior on the share of earlier studies' errors that this study has too, and its standard deviation: none to all of
them. A guess."""


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
        """Predictions of the measured trials (`seen`) and of these rows, with the doubt about the share."""
        found = [problem.row_of(trial.candidate) for trial in measured]
        known = np.array([-1 if row is None else row for row in found], dtype=np.int64)
        return self._moved(seen, known), self._moved(predicted, rows)

    def _moved(self, one: _Predicted, at: NDArray[np.int64]) -> _Predicted:
        shifts = {name: self.shifts[name][at] if name in self.shifts else np.zeros(len(at)) for name in one.metrics}
        return _Predicted(
            {name: column * np.exp(SHARE * shifts[name]) for name, column in one.metrics.items()},
            {name: np.column_stack([slopes, SHARE_DOUBT * shifts[name]]) for name, slopes in one.slopes.items()},
        )


def is_switch(values: Sequence[Value]) -> bool:
    """Whether a setting with these values is switched or named, instead of counted."""
    return not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)

"""When a search may end before its last trial: what is left is expected to give less than it costs to look.

In: a forecast, the open rows, the finished trials. Out: whether to stop, with the figures that say why. Values of switches
that were never launched are checked first, because a model that is wrong about one of them expects nothing there.

Source: Nguyen et al. 2017, Regret for Expected Improvement over the Best-Observed Value and Stopping Condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.study import Forecast
from planner.trials import Trial
from planner.tuning.search.surrogate import Surrogate

UNTIL = 0.005
"""Expected gain of the most promising launch, as a share, below which a search ends by itself."""
LEAST_MEASURED = 6
"""Fewest measured trials of a search that ends by itself."""
LOOKS = 2
"""Launches in a row after which so little must be expected."""


@dataclass(frozen=True, slots=True)
class Enough:
    """Why a search ended before its last trial."""

    gain: float
    """Expected gain of the most promising launch that is left, as a share."""
    launched: int


def enough(forecast: Forecast, rows: NDArray[np.int64], past: Sequence[Trial], until: float) -> Enough | None:
    """The reason to stop; None if the search should go on. `past`: the finished trials of the search."""
    measured = [trial for trial in past if trial.outcome == "measured"]
    if len(measured) < LEAST_MEASURED or rows.size == 0:
        return None
    gains = []
    for look in range(LOOKS):
        seen = past[: len(past) - look]
        gain = Surrogate(forecast).outlook(rows, seen).gain
        if gain is None or gain >= until:
            return None
        gains.append(gain)
    return Enough(gains[0], len([trial for trial in past if trial.was_launched]))

"""When a search may end before its last trial: what is left is expected to give less than it costs to look.

In: a forecast, the open rows, the finished trials. Out: whether to stop, with the figures that say why. Values of
switches that were never launched are checked first: a model that is wrong about one of them expects nothing there.

Source: Nguyen et al. 2017, Regret for Expected Improvement over the Best-Observed Value and Stopping Condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.errors import InputError
from planner.study import Forecast, StudySpec
from planner.trials import Trial
from planner.tuning.search.outlooks import Outlooks

UNTIL = 0.005
"""Expected gain of the most promising launch, as a share, below which a search ends by itself."""
LEAST_MEASURED = 6
"""Fewest measured trials of a search that ends by itself."""
LOOKS = 2
"""Launches in a row after which so little must be expected."""


def until_of(spec: StudySpec, asked: str | None) -> float | None:
    """The gain to stop at: as asked, else UNTIL with our own sampler, and None with those that look elsewhere."""
    if asked is not None:
        return parse_until(asked)
    return UNTIL if spec.sampler.name == "planner" else None


@dataclass(frozen=True, slots=True)
class Enough:
    """Why a search ended before its last trial."""

    gain: float
    """Expected gain of the most promising launch that is left, as a share."""
    launched: int

    def words(self, target: int, until: float) -> str:
        """`stopped after 11 of 30 launches: ...`."""
        return (
            f"stopped after {self.launched} of {target} launches: the most promising one left is expected to give "
            f"{self.gain:+.1%}, less than {until * 100:g} % (--until); --keep-going searches on"
        )


def parse_until(text: str) -> float:
    """Parse `0.5%` into a share. Raises InputError."""
    try:
        share = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not text.strip().endswith("%") or not 0 < share <= 0.5:
        raise InputError(f"--until {text}: allowed is a percentage above 0 and up to 50, for example 0.5%")
    return share


def enough(
    forecast: Forecast,
    rows: NDArray[np.int64],
    past: Sequence[Trial],
    until: float,
    outlooks: Outlooks | None = None,
) -> Enough | None:
    """The reason to stop; None if the search should go on. `past`: the finished trials of the search.

    An earlier look is at what was open then. `outlooks` that the sampler has too are not computed again.
    """
    measured = [trial for trial in past if trial.outcome == "measured"]
    if len(measured) < LEAST_MEASURED or rows.size == 0:
        return None
    gains, outlooks, problem = [], outlooks or Outlooks(), forecast.problem
    for look in range(LOOKS):
        before, since = past[: len(past) - look], past[len(past) - look :]
        launched = [row for trial in since if (row := problem.row_of(trial.candidate)) is not None]
        tried = [problem.row_of(trial.candidate) for trial in before]
        opened = np.array([row for row in launched if row not in tried], dtype=np.int64)
        gain = outlooks.of(forecast, np.union1d(rows, opened), before).gain
        if gain is None or gain >= until:
            return None
        gains.append(gain)
    return Enough(gains[0], len([trial for trial in past if trial.was_launched]))

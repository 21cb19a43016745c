"""Seconds that the start of a launch is expected to take, from the starts that were seen.

In: rows of the grid, the measured trials. Out: seconds for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from planner.engine import NOT_COMPILED
from planner.study import Forecast
from planner.trials import Trial
from planner.tuning.search.gaussian_process import Array

FIRST_START_S = 60.0
"""Assumed start-up time of a launch, in seconds, before any was seen."""
WARM_SHARE = 0.6
"""Fraction of the start-up time if the code is in the compile cache: 28.6 s instead of 45 s of V1 0.24 on H200."""


def expected_start_s(forecast: Forecast, rows: NDArray[np.int64], measured: Sequence[Trial]) -> Array:
    """Expected start-up seconds; fewer if an engine of the same compiled shape filled the compile cache before."""
    problem, grid, names = forecast.problem, forecast.grid, forecast.problem.choices.names
    shaping = [i for i, name in enumerate(names) if name not in NOT_COMPILED]
    seen: set[bytes] = set()
    starts: dict[bool, list[float]] = {False: [], True: []}
    for trial in measured:
        row = problem.row_of(trial.candidate)
        shape = b"" if row is None else grid.indices[row, shaping].tobytes()
        if trial.start_s > 0:
            starts[shape in seen].append(trial.start_s)
        seen.add(shape)
    cold_s = fmean(starts[False] or [FIRST_START_S])
    engine = problem.deployment(problem.default).engine
    compiles = engine.generation == "V1" and engine.enforce_eager is not True and not problem.gpu.is_cpu
    warm_s = fmean(starts[True] or [cold_s * (WARM_SHARE if compiles else 1.0)])
    is_warm = np.array([grid.indices[row, shaping].tobytes() in seen for row in rows])
    return np.where(is_warm, warm_s, cold_s)

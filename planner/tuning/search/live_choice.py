"""Which launch serves several settings: `corner_of` a row, and the candidates to measure live beside a launch.

In: a situation or a launch. Out: a row of the grid; candidates. Settings that differ in the scheduler's limits alone
form a group; a launch at the group's largest limits can be turned to all others (`launch/live/knobs.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from planner.launch import LIVE, lowered
from planner.study import Candidate, Forecast
from planner.trials import Trial
from planner.tuning.search.surrogate import Surrogate

SETTINGS_A_LAUNCH = 5
"""Most settings that are measured in a launch besides its own."""


def settings_a_launch(start_s: float, load_s: float) -> int:
    """How many settings to measure in a launch besides its own: as many loads as a start takes, at least one."""
    return max(1, min(SETTINGS_A_LAUNCH, round(start_s / load_s))) if load_s > 0 else 1


def group_of(forecast: Forecast, row: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the rows that differ from this one in the scheduler's limits alone, itself among them if it is one."""
    names, indices = forecast.problem.choices.names, forecast.grid.indices
    launched = [column for column, name in enumerate(names) if name not in LIVE]
    return rows[(indices[rows][:, launched] == indices[row, launched]).all(axis=1)]


def corner_of(forecast: Forecast, row: int, rows: NDArray[np.int64], past: Sequence[Trial]) -> int:
    """The row to launch in place of this one: of those that can be turned to it, the one with the largest limits.

    Itself if it was measured live before: what is still wanted of it is a launch of its own.
    """
    problem, grid = forecast.problem, forecast.grid
    wanted = problem.choices.candidate(problem.choices.params(grid.indices[row]))
    if wanted in measured_live(past):
        return row
    found = {row: _size(forecast, wanted)}
    for other in map(int, group_of(forecast, row, rows)):
        candidate = problem.choices.candidate(problem.choices.params(grid.indices[other]))
        if lowered(problem, candidate, wanted) is not None:
            found[other] = _size(forecast, candidate)
    return max(found, key=lambda one: found[one])


def measured_live(past: Sequence[Trial]) -> set[Candidate]:
    return {point.candidate for trial in past for point in trial.live.points}


def _size(forecast: Forecast, candidate: Candidate) -> float:
    engine = forecast.deployment(candidate).engine
    return math.log(engine.max_num_seqs) + math.log(engine.max_num_batched_tokens)


def live_beside(
    surrogate: Surrogate,
    forecast: Forecast,
    launched: Candidate,
    rows: NDArray[np.int64],
    past: Sequence[Trial],
) -> tuple[Candidate, ...]:
    """Settings to measure in this launch besides its own: of its group, those believed best that nobody measured yet.

    `rows`: those that no trial has tried.
    """
    problem, row = forecast.problem, forecast.problem.row_of(launched)
    if row is None:
        return ()
    group = group_of(forecast, row, rows)
    seen = measured_live(past)
    if not len(group):
        return ()
    seconds = [(trial.start_s, trial.benchmark_s) for trial in past if trial.outcome == "measured"]
    most = settings_a_launch(*map(fmean, zip(*seconds, strict=True))) if seconds else 1
    believed = problem.objective.sign * surrogate.believed(group, past)
    found = []
    for other in map(int, group[np.argsort(-believed)]):
        candidate = problem.choices.candidate(problem.choices.params(forecast.grid.indices[other]))
        if candidate == launched or candidate in seen or lowered(problem, launched, candidate) is None:
            continue
        found.append(candidate)
        if len(found) == most:
            break
    return tuple(found)

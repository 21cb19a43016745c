"""Which candidates a search may launch again: `leaders_of(problem, measured, pending)`.

In: measured trials, what is under way. Out: rows of the grid. Whether another launch is worth it is the surrogate's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.study import Candidate, Problem
from planner.trials import Trial

AGAIN_AFTER = 8
"""Candidates that are measured before a leader is launched again."""
MOST_LAUNCHES = 3
"""Most launches of one candidate in a search."""


def leaders_of(
    problem: Problem, measured: Sequence[Trial], pending: Sequence[Candidate]
) -> tuple[NDArray[np.int64], list[int]]:
    """Rows that may be launched again, and the position of one trial of each: measured to the end, every limit kept.

    None before AGAIN_AFTER candidates were measured: in a small space all are tried first, and the finals measure the
    leaders again in any case. None more than MOST_LAUNCHES times, and none that is under way.
    """
    rows = [problem.row_of(trial.candidate) for trial in measured]
    launches = Counter(row for row in rows if row is not None)
    if len(launches) < AGAIN_AFTER:
        return np.array([], dtype=np.int64), []
    busy = {problem.row_of(candidate) for candidate in pending}
    at: dict[int, int] = {}
    for i, (row, trial) in enumerate(zip(rows, measured, strict=True)):
        is_whole = trial.is_acceptable and trial.stopped_at is None
        if row is not None and is_whole and row not in busy and launches[row] < MOST_LAUNCHES:
            at.setdefault(row, i)
    return np.array(list(at), dtype=np.int64), list(at.values())

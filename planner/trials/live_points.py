"""`LivePoint`: other settings measured in a trial's launch by turning its scheduler's limits (`launch/live/knobs.py`).

In: trials. Out: live points as trials to learn from. A live point is evidence and no result: it is never reported as
the figure of its settings, never deployed, and its failure says nothing of a launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planner.study import Candidate, Problem, judge_limits
from planner.trials.live_run import NOT_LIVE
from planner.trials.noise import LAUNCH_NOISE
from planner.trials.trial import Trial

LIVE_BIAS = 0.03
"""Doubt about a live figure besides the noise of a launch, for each halving of a limit since the start, as a standard
deviation of the log: its KV cache, graphs and compiled code are those of the start. A guess: no GPU was measured."""


def as_trials(problem: Problem, trials: Sequence[Trial]) -> list[tuple[Trial, float]]:
    """Each live point as a trial of its candidate that was measured in the launch's host and study, with the standard
    deviation of the log of what a launch would give besides its own noise.
    """
    found = []
    for trial in trials:
        for point in trial.live.points:
            value = problem.objective.value({**point.metrics, **problem.known(point.candidate)})
            if value is None or value <= 0:
                continue
            as_if = replace(
                trial,
                candidate=point.candidate,
                value=float(value),
                metrics=point.metrics,
                repeat_metrics=(),
                repeat_values=(),
                constraints=tuple(judge_limits(problem.objective, point.metrics)),
                at_loads=(),
                live=NOT_LIVE,
                stopped_at=None,
            )
            found.append((as_if, LIVE_BIAS * halvings(problem, trial.candidate, point.candidate)))
    return found


def live_covariance(trials: Sequence[Trial], live: Sequence[tuple[Trial, float]]) -> NDArray[np.float64] | float:
    """Covariance of the logs of the trials' values and then of the live points', besides the noise of each.

    What is measured in one launch shares that launch's luck; a live point has a bias of its own besides.
    # (len(trials) + len(live), the same)
    """
    if not live:
        return 0.0
    numbers = np.array([trial.number for trial in [*trials, *(point for point, _ in live)]])
    shared = LAUNCH_NOISE**2 * (numbers[:, None] == numbers[None, :]) * ~np.eye(len(numbers), dtype=bool)
    return np.asarray(shared + np.diag([0.0] * len(trials) + [bias**2 for _, bias in live]))


def halvings(problem: Problem, launched: Candidate, other: Candidate) -> float:
    """How far the limits of `other` are below those of the launch: the sum of the logarithms to base 2, at least 1."""
    start, now = (problem.deployment(one).engine for one in (launched, other))
    sequences = math.log2(max(1.0, start.max_num_seqs / now.max_num_seqs))
    tokens = math.log2(max(1.0, start.max_num_batched_tokens / now.max_num_batched_tokens))
    return max(1.0, sequences + tokens)

"""`LivePoint`: other settings measured in a trial's launch by turning its scheduler's limits (`launch/live/knobs.py`).

In: trials. Out: live points as trials to learn from. A live point is evidence and no result: it is never reported as
the figure of its settings, never deployed, and its failure says nothing of a launch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from planner.study import Candidate, Problem, judge_limits
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
        for point in trial.live:
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
                live=(),
                stopped_at=None,
            )
            found.append((as_if, LIVE_BIAS * halvings(problem, trial.candidate, point.candidate)))
    return found


def halvings(problem: Problem, launched: Candidate, other: Candidate) -> float:
    """How far the limits of `other` are below those of the launch: the sum of the logarithms to base 2, at least 1."""
    start, now = (problem.deployment(one).engine for one in (launched, other))
    sequences = math.log2(max(1.0, start.max_num_seqs / now.max_num_seqs))
    tokens = math.log2(max(1.0, start.max_num_batched_tokens / now.max_num_batched_tokens))
    return max(1.0, sequences + tokens)

"""A stored trial judged for another question than it was measured for: other limits, or another objective.

In: a problem's forecast and a trial that holds its metrics. Out: the trial with the value and the limits that a replay
of it would give (`planner tune --replay`). Nothing is launched; what was not measured is said, never taken for kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import fmean

from planner.benchmark import MAX_MODEL_LEN
from planner.constraints import Constraint
from planner.study import Forecast, Objective, Problem, judge_limits
from planner.trials.capacities import answers, capacity_of
from planner.trials.trial import Trial

SLO = "slo "
"""Beginning of the names of constraints that are limits (`planner.benchmark.Limit.judge`)."""
NOT_MEASURED = 1.0
"""Excess of a limit whose metric the trial does not have: as far from kept as a value twice the limit."""


def rejudged(forecast: Forecast, trial: Trial) -> Trial:
    """A stored trial as it answers the problem's objective and limits; itself if these are what it was measured for.

    It still says what it was measured for (`Trial.asked`), so judge what is stored, not what was judged anew.
    A limit is judged by the worst repeat, as in the launch itself; by the means of a trial that has no more.
    """
    objective = forecast.problem.objective
    if trial.outcome != "measured" or trial.asked == objective.asked:
        return trial
    if trial.levels or objective.seeks_load:
        return _of_levels(forecast.problem, trial)
    known = _known(forecast.problem, trial)
    runs = [{**run, **known} for run in (trial.repeat_metrics or (trial.metrics,))]
    others = [constraint for constraint in trial.constraints if not constraint.name.startswith(SLO)]
    judged = replace(trial, constraints=(*_limits(objective, runs), *others))
    if trial.asked and _objective(trial.asked).powers == objective.powers:
        return judged
    values = [float(value) for run in runs if (value := objective.value(run)) is not None]
    whole = len(values) if trial.stopped_at is None else len(trial.repeat_values) if trial.repeat_metrics else 0
    predicted = objective.value({**forecast.predicted(trial.candidate), **known})
    return replace(
        judged,
        value=fmean(values) if values else None,
        repeat_values=tuple(values[:whole]),
        predicted_value=None if predicted is None else float(predicted),
    )


def _of_levels(problem: Problem, trial: Trial) -> Trial:
    """A trial judged for another capacity or from one, by its levels; without a value where they do not say it."""
    objective = problem.objective
    found = capacity_of(problem, trial.levels) if answers(problem, trial) else None
    if found is None:
        lacking = Constraint(f"{SLO}{objective.name}", NOT_MEASURED, f"{objective.name} was not measured")
        return replace(trial, value=None, repeat_values=(), interval=None, constraints=(lacking,))
    others = [constraint for constraint in trial.constraints if not constraint.name.startswith(SLO)]
    return replace(
        trial,
        value=found.value,
        repeat_values=() if found.value is None else (found.value,),
        interval=found.interval,
        metrics=found.level.metrics,
        repeat_metrics=(found.level.metrics,),
        constraints=(*_limits(objective, [found.level.metrics]), *others),
    )


def _known(problem: Problem, trial: Trial) -> dict[str, float]:
    """What the objective needs and no launch measures."""
    needs = {*problem.objective.powers, *problem.objective.limits}
    return problem.known(trial.candidate) if MAX_MODEL_LEN in needs else {}


def _limits(objective: Objective, runs: Sequence[dict[str, float]]) -> list[Constraint]:
    """Each limit by its worst run."""
    found = sorted((one for run in runs for one in judge_limits(objective, run)), key=lambda one: one.excess)
    worst = {constraint.name: constraint for constraint in found}
    for name in objective.limits:
        if f"{SLO}{name}" not in worst:
            worst[f"{SLO}{name}"] = Constraint(f"{SLO}{name}", NOT_MEASURED, f"{name} was not measured")
    return list(worst.values())


@lru_cache(maxsize=64)
def _objective(asked: str) -> Objective:
    return Objective.read(asked)


def competes(problem: Problem, trial: Trial) -> bool:
    """False for a trial that was given up for another question, or measured at loads that say nothing of this one: it
    may be the best for this one, and nobody knows."""
    return answers(problem, trial) and (trial.stopped_at is None or trial.asked in {"", problem.objective.asked})


def other_questions(problem: Problem, trials: Sequence[Trial]) -> list[str]:
    """The objectives and limits, in words, other than the problem's that trials were measured for, in order of time."""
    asked = dict.fromkeys(t.asked for t in trials if t.was_launched and t.asked not in {"", problem.objective.asked})
    return [_objective(one).question for one in asked]

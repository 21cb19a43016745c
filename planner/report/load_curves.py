"""Load against latency of the default and of the trial to deploy, from the levels that their launches tried.

In: a problem and its trials. Out: `LoadCurve`s. Levels of the finals count too, each one load of one launch. A stopped
level says nothing of the whole load, so it is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.benchmark import Level
from planner.study import Problem
from planner.trials import Trial, chosen_trial, default_trial

MOST_LEVELS_SHOWN = 8
"""Most levels of one trial in the table, spread over its loads."""
RATES_SHOWN = ("request_throughput", "output_throughput")


@dataclass(frozen=True, slots=True)
class LoadCurve:
    name: str
    """`default`, or `trial 4`."""
    levels: tuple[Level, ...]
    """Whole levels of its launches, by load; those of equal load in the order they were sent."""


def load_curves(problem: Problem, trials: Sequence[Trial]) -> list[LoadCurve]:
    """The default's curve, then that of the trial to deploy; none where no load was sought."""
    default, chosen = default_trial(problem, trials), chosen_trial(problem, trials)
    shown = {t.number: t for t in (default, chosen) if t is not None and t.levels}
    return [_curve(problem, trials, trial) for trial in shown.values()]


def _curve(problem: Problem, trials: Sequence[Trial], trial: Trial) -> LoadCurve:
    launches = [trial, *(t for t in trials if t.rerun is not None and t.rerun.of == trial.number)]
    whole = [level for launch in launches for level in launch.levels if level.share == 1 and level.metrics]
    return LoadCurve(_name(problem, trial), tuple(sorted(whole, key=lambda level: level.load)))


def further_curves(problem: Problem, trials: Sequence[Trial]) -> list[LoadCurve]:
    """The same two trials over the study's own load and those of `also_at`; none where no further load was sent."""
    default, chosen = default_trial(problem, trials), chosen_trial(problem, trials)
    shown = {t.number: t for t in (default, chosen) if t is not None and t.at_loads}
    return [LoadCurve(_name(problem, trial), tuple(_loads(problem, trial))) for trial in shown.values()]


def _loads(problem: Problem, trial: Trial) -> list[Level]:
    workload = problem.workload
    points = [
        (workload.request_rate or float(workload.concurrency), trial.metrics),
        *((further.load, further.metrics) for further in trial.at_loads),
    ]
    return [
        Level(load, workload.num_requests, 0, dict(metrics)) for load, metrics in sorted(points, key=lambda p: p[0])
    ]


def _name(problem: Problem, trial: Trial) -> str:
    return "default" if trial.candidate == problem.default else f"trial {trial.number}"


def curve_metrics(problem: Problem) -> tuple[str, ...]:
    """Metrics of a level that are shown: its rates, and what is limited."""
    return (*RATES_SHOWN, *problem.objective.limits)


def spread(curve: LoadCurve) -> list[Level]:
    """Levels from the lowest load to the highest, the first of each load."""
    levels = list({level.load: level for level in reversed(curve.levels)}.values())[::-1]
    last, count = len(levels) - 1, min(len(levels), MOST_LEVELS_SHOWN)
    return [levels[round(i * last / max(1, count - 1))] for i in range(count)]

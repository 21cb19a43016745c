"""The finals of a study: its best trials and the default are measured again, in turn, on prompts that none has seen.

The best of many noisy measurements looks better than it is (the winner's curse), so a search's own numbers prove
nothing. `finalists` picks who competes, `heats` lists the launches that are left, `judge_finals` says who won and how
surely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from planner.statistics import Difference, t_quantile
from planner.study import Problem
from planner.trials.racing import Repeats
from planner.trials.trial import Rerun, Trial, as_on_one_host, best_trial, default_trial, leveled, searched

MOST_FINALISTS = 3
"""Most candidates measured again in the finals; the default is always added."""
CLOSE = 0.04
"""Largest gap to the best trial, as a share, at which a trial of the search competes: it may be as good."""
ROUNDS = 2
LEAST_REPEATS = 2
"""Fewest repeats per launch; with two rounds this gives four pairs to compare."""
FRESH = 1000
"""Number of the first repeat of the finals, above every repeat of the search, so that the prompts are fresh."""


def finalists(problem: Problem, trials: Sequence[Trial]) -> list[Trial]:
    """The default where it was measured, then the best trial and those close to it, best first; empty without a rival.

    If the objective is known before a launch, the finals are about the limits. Then every trial counts as close,
    because the next best may keep limits that the best breaks, and a single trial is measured again too.
    """
    best = best_trial(problem, trials)
    if best is None or not best.value:
        return []
    sign, is_known = problem.objective.sign, problem.objective.is_known
    good = [t for t in searched(trials) if t.is_acceptable and t.stopped_at is None and t.value and t.value > 0]
    values = {t.number: leveled(problem, t) or 1.0 for t in good}
    good.sort(key=lambda t: -sign * values[t.number])
    near = [t for t in good if is_known or sign * math.log(values[t.number] / values[best.number]) >= -CLOSE]
    default = default_trial(problem, trials)
    rivals = [t for t in near if t is not default][:MOST_FINALISTS]
    if default is not None and default.is_acceptable:
        return [default, *rivals] if rivals or is_known else []
    return rivals if len(rivals) > 1 or is_known else []


def most_heats(problem: Problem, launches: int) -> int:
    """Most launches that the finals may take after a search of so many launches; how many is known when it is over."""
    competing = min(launches, MOST_FINALISTS + 1)
    return ROUNDS * competing if competing > 1 or problem.objective.is_known else 0


def heat_repeats(problem: Problem) -> int:
    """Repeats of the workload in each launch of the finals."""
    return max(LEAST_REPEATS, problem.spec.repeats)


@dataclass(frozen=True, slots=True)
class Heat:
    """One launch of the finals."""

    trial: Trial
    """The trial that is measured again."""
    rerun: Rerun
    repeats: Repeats


def heats(problem: Problem, trials: Sequence[Trial], rounds: int = ROUNDS) -> list[Heat]:
    """The launches still to be done, in order. Every second round runs backwards, so that drift cancels."""
    chosen = finalists(problem, trials)
    series = _series(chosen)
    done = {(t.rerun.of, t.rerun.round) for t in trials if t.rerun is not None and t.rerun.series == series}
    count = heat_repeats(problem)
    return [
        Heat(trial, Rerun(of=trial.number, series=series, round=number), Repeats(FRESH + number * count, count))
        for number in range(rounds)
        for trial in (chosen if number % 2 == 0 else chosen[::-1])
        if (trial.number, number) not in done
    ]


def _series(chosen: Sequence[Trial]) -> str:
    return ",".join(str(trial.number) for trial in chosen)


@dataclass(frozen=True, slots=True)
class Finalist:
    trial: Trial
    """The trial as the search measured it."""
    values: tuple[float, ...]
    """Objective of each repeat over all rounds, on one host's level; the prompts at each place are the same for all."""
    is_acceptable: bool
    """Whether every launch of the finals served and kept the limits."""
    metrics: dict[str, float]
    """Mean of each metric over its launches of the finals."""
    broken: str | None
    """Message of the first limit that one of these launches broke; None if all were kept."""
    gain: Difference | None = None
    """Gain over the default as a share, with its interval; None for the default itself or without one."""

    @property
    def value(self) -> float:
        """Geometric mean over the repeats, as the gain compares them; their mean if one is 0 or all are the same."""
        if min(self.values) <= 0 or min(self.values) == max(self.values):
            return fmean(self.values)
        return math.exp(fmean(map(math.log, self.values)))


@dataclass(frozen=True, slots=True)
class Finals:
    finalists: tuple[Finalist, ...]
    """The finalists in the order of `finalists`: the default first, if it competes."""
    winner: Finalist | None
    """The simplest finalist that none surely beats; None if none kept every limit again."""
    keeps_default: bool


def judge_finals(problem: Problem, trials: Sequence[Trial]) -> Finals | None:
    """The verdict; None while the finals of the present finalists are not over, or if there are none."""
    chosen = finalists(problem, trials)
    if not chosen or heats(problem, trials):
        return None
    leveled_runs = [as_on_one_host(problem, trial) for trial in trials if trial.rerun is not None]
    found = [_finalist(leveled_runs, trial, _series(chosen)) for trial in chosen]
    able = [finalist for finalist in found if finalist.is_acceptable]
    if not able:
        return Finals(tuple(found), None, keeps_default=False)
    blocks = Blocks({f.trial.number: [math.log(value) for value in f.values] for f in able})
    default = default_trial(problem, trials)
    if able[0].trial is default:
        gains = {f.trial.number: blocks.gain(f.trial.number, able[0].trial.number) for f in able[1:]}
        found = [replace(finalist, gain=gains.get(finalist.trial.number)) for finalist in found]
    able = [finalist for finalist in found if finalist.is_acceptable]

    def beats(one: Finalist, other: Finalist) -> bool:
        gain = blocks.gain(one.trial.number, other.trial.number)
        return gain.low > 0 if problem.objective.sign > 0 else gain.high < 0

    by_simplicity = sorted(able, key=lambda f: _changes(problem, f.trial))
    winner = next(f for f in by_simplicity if not any(beats(other, f) for other in able if other is not f))
    return Finals(tuple(found), winner, keeps_default=winner.trial is default)


def _finalist(trials: Sequence[Trial], trial: Trial, series: str) -> Finalist:
    runs = [t for t in trials if t.rerun is not None and t.rerun.series == series and t.rerun.of == trial.number]
    runs.sort(key=lambda t: t.rerun.round if t.rerun is not None else 0)
    values = tuple(value for run in runs for value in run.repeat_values)
    served = all(run.is_acceptable and len(run.repeat_values) == len(runs[0].repeat_values) for run in runs)
    names = [name for name in trial.metrics if all(name in run.metrics for run in runs)]
    metrics = {name: fmean(run.metrics[name] for run in runs) for name in names}
    broken = next((c.message for run in runs for c in run.constraints if c.excess > 0), None)
    return Finalist(trial, values, bool(values) and served and min(values) > 0, metrics, broken)


class Blocks:
    """Means compared in a randomised block design: each block is one set of prompts that all finalists got.

    What a block does to all of them cancels; the rest is the noise, pooled over the finalists, with (k-1)(n-1) degrees
    of freedom. Source: Box, Hunter & Hunter 2005, Statistics for Experimenters, ch. 4.
    """

    def __init__(self, logs: Mapping[int, Sequence[float]]) -> None:
        """`logs`: logarithms of the values by finalist, the same number for each."""
        self._means = {number: fmean(values) for number, values in logs.items()}
        self._size = len(next(iter(logs.values())))
        blocks = [fmean(values[i] for values in logs.values()) for i in range(self._size)]
        overall = fmean(blocks)
        squares = sum(
            (value - self._means[number] - blocks[i] + overall) ** 2
            for number, values in logs.items()
            for i, value in enumerate(values)
        )
        self._degrees = (len(logs) - 1) * (self._size - 1)
        self._variance = squares / self._degrees if self._degrees else math.inf

    def gain(self, one: int, other: int) -> Difference:
        """How much higher the value of `one` is than that of `other`, as a share, with its 95 % interval."""
        value = self._means[one] - self._means[other]
        half = t_quantile(self._degrees) * math.sqrt(2 * self._variance / self._size) if self._degrees else math.inf
        low, high = (math.expm1(min(end, MOST_LOG)) for end in (value - half, value + half))
        return Difference(math.expm1(value), low, high, f"{self._size} blocks of {len(self._means)}")


MOST_LOG = 50.0
"""Highest logarithm of an interval's end; an interval without information is cut here."""


def _changes(problem: Problem, trial: Trial) -> tuple[int, int]:
    """Number of settings that differ from the default, then the trial's number: of equals the earlier is first."""
    names = problem.choices.names
    default = problem.default
    differ = sum(
        problem.choices.value_of(trial.candidate, name) not in {None, problem.choices.value_of(default, name)}
        for name in names
    )
    return differ, trial.number


def chosen_trial(problem: Problem, trials: Sequence[Trial]) -> Trial | None:
    """The trial to deploy: the winner of the finals, if any; before they are over, the best of the search."""
    finals = judge_finals(problem, trials)
    if finals is None:
        return best_trial(problem, trials)
    return None if finals.winner is None else finals.winner.trial


def measured_again(problem: Problem, trials: Sequence[Trial], trial: Trial) -> Trial:
    """The trial with the numbers of its finals, if it was in them, since those of the search flatter."""
    finals = judge_finals(problem, trials)
    for finalist in finals.finalists if finals is not None else ():
        if finalist.trial.number == trial.number and finalist.values:
            rerun = next(t.rerun for t in trials if t.rerun is not None and t.rerun.of == trial.number)
            metrics = {**trial.metrics, **finalist.metrics}
            return replace(trial, value=finalist.value, metrics=metrics, rerun=rerun, host_speed=1.0)
    return trial

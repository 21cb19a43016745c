"""The finals of a study: its best trials and the default are measured again, in turn, on prompts that none has seen.

The best of many noisy measurements looks better than it is (the winner's curse), so a search's own numbers prove
nothing. `finalists` picks who competes, `heats` lists the launches that are left, `judge_finals` says who won and how
surely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from planner.engine import FIELDS
from planner.statistics import Difference
from planner.study import Problem
from planner.trials.blocks import MOST_ROUNDS, Blocks, least_rounds, level_for, undecided
from planner.trials.noise import launch_noise
from planner.trials.racing import Repeats
from planner.trials.ranking import best_trial, standings
from planner.trials.rivals import worth_measuring
from planner.trials.trial import Rerun, Trial, as_on_one_host, default_trial, searched

MOST_FINALISTS = 3
"""Most candidates measured again in the finals; the default is always added."""
USUAL_FINALISTS = 2
"""Candidates that are expected to be measured again: of equals whose launches differ by 2 % a third is not worth it."""
CLOSE = 0.04
"""Largest gap to the best trial, as a share, at which a trial of the search competes: it may be as good."""
KNOWN_ROUNDS = 2
"""Rounds where the objective is known before a launch, so that only the limits are measured."""
FRESH = 1000
"""Number of the first repeat of the finals, above every repeat of the search, so that the prompts are fresh."""


def finalists(problem: Problem, trials: Sequence[Trial]) -> list[Trial]:
    """The default where it was measured, then the best trial and those that may well be better, best first.

    Empty without a rival. A rival is at most CLOSE behind and has an expected gain that is worth its launches. If the
    objective is known before a launch, the finals are about the limits. Then every trial counts as close,
    because the next best may keep limits that the best breaks, and a single trial is measured again too.
    """
    best = best_trial(problem, trials)
    if best is None or not best.value:
        return []
    sign, is_known = problem.objective.sign, problem.objective.is_known
    good = standings(problem, trials)
    near = [s.trial for s in good if s.trial.value and (is_known or sign * (s.log - good[0].log) >= -CLOSE)]
    default = default_trial(problem, trials)
    rivals = [t for t in near if t is not default][:MOST_FINALISTS]
    if not is_known:
        logs = [sign * s.log for trial in rivals for s in good if s.trial is trial]
        rivals = rivals[: worth_measuring(logs, launch_noise(searched(trials), problem.spec.repeats))]
    if default is not None and default.is_acceptable:
        return [default, *rivals] if rivals or is_known else []
    return rivals if len(rivals) > 1 or is_known else []


@dataclass(frozen=True, slots=True)
class Heat:
    """One launch of the finals."""

    trial: Trial
    """The trial that is measured again."""
    rerun: Rerun
    repeats: Repeats


def heats(problem: Problem, trials: Sequence[Trial]) -> list[Heat]:
    """The launches to do next, in order; empty once the finals are over.

    First all rounds that every finalist runs in, then one round after the other while nothing is decided. Every second
    round runs backwards, so that drift cancels. Who failed or broke a limit is not launched again.
    """
    chosen = finalists(problem, trials)
    series = _series(chosen)
    reruns = [t for t in trials if t.rerun is not None and t.rerun.series == series]
    done = {(t.rerun.of, t.rerun.round) for t in reruns if t.rerun is not None}
    out = {t.rerun.of for t in reruns if t.rerun is not None and not t.is_acceptable}
    count = problem.spec.repeats

    def left(number: int, entrants: Sequence[Trial]) -> list[Heat]:
        order = entrants if number % 2 == 0 else entrants[::-1]
        repeats = Repeats(FRESH + number * count, count)
        return [
            Heat(trial, Rerun(of=trial.number, series=series, round=number), repeats)
            for trial in order
            if trial.number not in out and (trial.number, number) not in done
        ]

    least = _least_rounds(problem, len(chosen))
    if to_do := [heat for number in range(least) for heat in left(number, chosen)]:
        return to_do
    for number in range(least, MOST_ROUNDS):
        pair = _undecided(problem, trials, chosen, number)
        if to_do := left(number, pair):
            return to_do
    return []


def expected_heats(problem: Problem, launches: int) -> tuple[int, int]:
    """Launches of the finals after a search of so many: those expected in the first rounds, and the most of all."""
    most = min(launches, MOST_FINALISTS + 1)
    if problem.objective.is_known:
        return KNOWN_ROUNDS * most, KNOWN_ROUNDS * most
    if most < 2:
        return 0, 0
    usual = min(launches, USUAL_FINALISTS + 1)
    counts = [least_rounds(count) * count + 2 * (MOST_ROUNDS - least_rounds(count)) for count in range(2, most + 1)]
    return least_rounds(usual) * usual, max(counts)


def most_heats(problem: Problem, to_do: Sequence[Heat]) -> int:
    """Most launches of finals that begin with `to_do`; 0 if there is nothing to do."""
    if not to_do or problem.objective.is_known:
        return len(to_do)
    least = least_rounds(len({heat.trial.number for heat in to_do}))
    return len(to_do) + 2 * (MOST_ROUNDS - max(least, 1 + max(heat.rerun.round for heat in to_do)))


def _least_rounds(problem: Problem, count: int) -> int:
    return KNOWN_ROUNDS if problem.objective.is_known else least_rounds(count)


def _undecided(problem: Problem, trials: Sequence[Trial], chosen: Sequence[Trial], rounds: int) -> list[Trial]:
    """The default and its best rival after so many rounds, or the two best; empty if more launches change nothing."""
    earlier = [t for t in trials if t.rerun is None or t.rerun.round < rounds]
    able = [f for f in _measured_again(problem, earlier, chosen) if f.is_acceptable]
    if problem.objective.is_known:
        return []
    default = next((f.trial.number for f in able if f.trial.candidate == problem.default), None)
    pair = undecided(_logs(able), problem.objective.sign, default)
    return [finalist.trial for number in pair for finalist in able if finalist.trial.number == number]


def _series(chosen: Sequence[Trial]) -> str:
    return ",".join(str(trial.number) for trial in chosen)


@dataclass(frozen=True, slots=True)
class Finalist:
    trial: Trial
    """The trial as the search measured it."""
    values: tuple[float, ...]
    """Objective of each launch, the mean over its repeats, on one host's level."""
    rounds: tuple[int, ...]
    """Round of each launch; launches of one round had the same prompts."""
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
        """The geometric mean of its launches, so that it agrees with the gain."""
        first = self.values[0]
        return first * math.exp(fmean(math.log(v / first) for v in self.values)) if min(self.values) > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Finals:
    finalists: tuple[Finalist, ...]
    """The finalists in the order of `finalists`: the default first, if it competes."""
    winner: Finalist | None
    """The simplest finalist that none surely beats; None if none kept every limit again."""
    keeps_default: bool
    is_over: bool = True
    """Whether no further round would be launched; False where the time was over before the answer was sure."""


def judge_finals(problem: Problem, trials: Sequence[Trial]) -> Finals | None:
    """The verdict; None if there are no finals of the present finalists, or not all of them ran in the first rounds.

    Further rounds make it surer. Whether they are left out is no matter of what was seen, so the intervals hold.
    """
    chosen, to_do = finalists(problem, trials), heats(problem, trials)
    if not chosen or any(heat.rerun.round < _least_rounds(problem, len(chosen)) for heat in to_do):
        return None
    found = _measured_again(problem, trials, chosen)
    able = [finalist for finalist in found if finalist.is_acceptable]
    if not able:
        return Finals(tuple(found), None, keeps_default=False, is_over=not to_do)
    blocks, level = Blocks(_logs(able)), level_for(len(able) - 1)
    default = default_trial(problem, trials)
    if able[0].trial is default:
        gains = {f.trial.number: blocks.gain(f.trial.number, able[0].trial.number, level) for f in able[1:]}
        found = [replace(finalist, gain=gains.get(finalist.trial.number)) for finalist in found]
    able = [finalist for finalist in found if finalist.is_acceptable]

    def beats(one: Finalist, other: Finalist) -> bool:
        gain = blocks.gain(one.trial.number, other.trial.number, level)
        return gain.low > 0 if problem.objective.sign > 0 else gain.high < 0

    by_simplicity = sorted(able, key=lambda f: (len(changed_settings(problem, f.trial)), f.trial.number))
    winner = next(f for f in by_simplicity if not any(beats(other, f) for other in able if other is not f))
    return Finals(tuple(found), winner, keeps_default=winner.trial is default, is_over=not to_do)


def _measured_again(problem: Problem, trials: Sequence[Trial], chosen: Sequence[Trial]) -> list[Finalist]:
    runs = [as_on_one_host(problem, trial) for trial in trials if trial.rerun is not None]
    return [_finalist(runs, trial, _series(chosen)) for trial in chosen]


def _finalist(trials: Sequence[Trial], trial: Trial, series: str) -> Finalist:
    runs = [(t.rerun.round, t) for t in trials if t.rerun and t.rerun.series == series and t.rerun.of == trial.number]
    runs.sort(key=lambda run: run[0])
    whole = [(number, run) for number, run in runs if run.repeat_values]
    values = tuple(fmean(run.repeat_values) for _, run in whole)
    served = all(run.is_acceptable and len(run.repeat_values) == len(runs[0][1].repeat_values) for _, run in runs)
    names = [name for name in trial.metrics if all(name in run.metrics for _, run in runs)]
    metrics = {name: fmean(run.metrics[name] for _, run in runs) for name in names} if runs else {}
    broken = next((c.message for _, run in runs for c in run.constraints if c.excess > 0), None)
    is_acceptable = bool(values) and served and min(values) > 0
    return Finalist(trial, values, tuple(number for number, _ in whole), is_acceptable, metrics, broken)


def _logs(able: Sequence[Finalist]) -> dict[int, dict[int, float]]:
    return {f.trial.number: dict(zip(f.rounds, map(math.log, f.values), strict=True)) for f in able}


def changed_settings(problem: Problem, trial: Trial) -> list[str]:
    """Searched settings in which the trial differs from the default.

    The engine's own default counts as unchanged also where it is written out.
    """
    engine, choices = problem.deployment(problem.default).engine, problem.choices

    def default_of(name: str) -> Any:
        value = choices.value_of(problem.default, name)
        return getattr(engine, name, None) if value is None and name in FIELDS else value

    values = {name: choices.value_of(trial.candidate, name) for name in choices.names}
    return [name for name, value in values.items() if value is not None and value != default_of(name)]


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

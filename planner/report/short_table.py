"""At most eight rows on a study's trials: settings that run alike are one row, what never varies is left out.

In: a forecast and its trials. Out: a `TrialsTable`. `trial_table.py` has one row for each trial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from planner.benchmark import Metric
from planner.report.trial_table import TrialRow, TrialsTable, below_lines, cell, mark, varying
from planner.study import Forecast, Problem
from planner.trials import (
    Trial,
    as_on_one_host,
    chosen_trial,
    default_trial,
    heading,
    leveled,
    outcome_text,
    searched,
)

MOST_ROWS = 8
MOST_NUMBERS = 4
"""Most trials that one row names."""
MOST_VALUES = 3
"""Most values of a setting that one cell names; of more the first and the last."""


@dataclass(frozen=True, slots=True)
class TrialGroup:
    """Trials of one effect: alike under the load, or failed for the same reason."""

    trials: tuple[Trial, ...]
    """The one to deploy first, if it is among them."""

    @property
    def first(self) -> Trial:
        return self.trials[0]

    @property
    def whole(self) -> list[Trial]:
        """Those that were measured to the end; all if none was."""
        found = [trial for trial in self.trials if trial.outcome == "measured"]
        return [trial for trial in found if trial.stopped_at is None] or found

    def value(self, problem: Problem) -> float | None:
        """Geometric mean of their values on one host's level; None without any."""
        values = [value for trial in self.whole if (value := leveled(problem, trial)) is not None]
        if not values:
            return None
        return math.exp(fmean(map(math.log, values))) if min(values) > 0 else fmean(values)

    def metric(self, problem: Problem, name: str) -> str:
        """Mean of a metric in words; empty if none has it."""
        measured = [{**as_on_one_host(problem, t).metrics, **problem.known(t.candidate)} for t in self.whole]
        found = [metrics[name] for metrics in measured if name in metrics]
        return Metric.parse(name).format(fmean(found)) if found else ""


def short_table(forecast: Forecast, trials: Sequence[Trial]) -> TrialsTable:
    """The trial to deploy, the default, then the best of each effect, in at most MOST_ROWS rows."""
    problem, objective = forecast.problem, forecast.problem.objective
    groups = trial_groups(forecast, trials)
    shown, hidden = groups[:MOST_ROWS], groups[MOST_ROWS:]
    best, default = chosen_trial(problem, trials), default_trial(problem, trials)
    members = [trial for group in shown for trial in group.trials]
    differing, same = varying(problem, members)
    latencies = [n for n in objective.limits if n not in objective.beside] or ["ttft_p50", "tpot_p50"]
    has_broken = bool(objective.limits) and any(not group.first.is_acceptable for group in shown)
    names = [objective.name, *objective.beside]
    has_drafts = any(trial.draft_acceptance is not None for trial in members)
    figures = [*(n.replace("_", " ") for n in names), "vs default", *map(_label, latencies)]
    figures += ["drafts taken"] if has_drafts else []
    rows = []
    for group in shown:
        cells = (
            _value(problem, group),
            *(group.metric(problem, name) for name in objective.beside),
            _gain(problem, group, default),
            *(group.metric(problem, name) for name in latencies),
            *([_drafts_taken(group)] if has_drafts else []),
            *([_limits(group)] if has_broken else []),
        )
        number = f"{_numbers(group, best)}{' (default)' if group.first.candidate == problem.default else ''}"
        is_best = best is not None and group.first.number == best.number
        style = "bold green" if is_best else "" if group.first.is_acceptable else "dim"
        rows.append(TrialRow(number, cells, tuple(_setting(problem, group, n) for n in differing), style))
    table = TrialsTable(
        title=f"Trials: {objective.words}",
        figures=(*figures, *(["limits"] if has_broken else [])),
        settings=tuple(map(heading, differing)),
        rows=tuple(rows),
        below=(*below_lines(problem, members, differing, same), *_reasons(problem, shown), *_hidden_lines(hidden)),
    )
    return _without_constants(table)


def trial_groups(forecast: Forecast, trials: Sequence[Trial]) -> list[TrialGroup]:
    """The trials of the search by effect: the one to deploy, the default, kept limits, broken ones, failures."""
    problem, best = forecast.problem, chosen_trial(forecast.problem, trials)
    number = None if best is None else best.number
    found: dict[tuple[object, ...], list[Trial]] = {}
    for trial in searched(trials):
        found.setdefault(_effect(forecast, trial), []).append(trial)
    groups = [TrialGroup(tuple(sorted(each, key=lambda trial: trial.number != number))) for each in found.values()]

    def order(group: TrialGroup) -> tuple[bool, bool, bool, bool, float]:
        first, value = group.first, group.value(problem)
        return (
            first.number != number,
            first.candidate != problem.default,
            not first.is_acceptable,
            value is None,
            0.0 if value is None else -problem.objective.sign * value,
        )

    return sorted(groups, key=order)


def _effect(forecast: Forecast, trial: Trial) -> tuple[object, ...]:
    """What trials of one group have in common."""
    if trial.candidate == forecast.problem.default:
        return ("default",)
    if trial.outcome != "measured":
        return trial.outcome, "" if trial.failure is None else trial.failure.message
    row = forecast.problem.row_of(trial.candidate)
    alike = None if row is None else forecast.classes.of_row(row)
    return (alike if alike is not None else trial.candidate.key, trial.is_acceptable, trial.value is None)


def _value(problem: Problem, group: TrialGroup) -> str:
    value = group.value(problem)
    if value is None:
        return "none" if group.first.outcome == "measured" else group.first.outcome
    return f"{mark(group.whole[0])}{problem.objective.format(value)}"


def _gain(problem: Problem, group: TrialGroup, default: Trial | None) -> str:
    """Gain over the default as seen in the search; empty without one, and for the default itself."""
    base, value = None if default is None else leveled(problem, default), group.value(problem)
    if not base or value is None or group.first.candidate == problem.default:
        return ""
    return f"{value / base - 1:+.1%}"


def _limits(group: TrialGroup) -> str:
    if group.first.outcome != "measured":
        return ""
    return "kept" if group.first.is_acceptable else "broken"


def _drafts_taken(group: TrialGroup) -> str:
    """Mean share of drafted tokens that were taken; empty without drafts."""
    found = [trial.draft_acceptance for trial in group.whole if trial.draft_acceptance is not None]
    return f"{fmean(found):.0%}" if found else ""


def _label(name: str) -> str:
    metric = Metric.parse(name)
    return f"{metric.family.upper()} {metric.statistic}" if metric.is_latency else name.replace("_", " ")


def _numbers(group: TrialGroup, best: Trial | None) -> str:
    """`4*, 7, 9`: the numbers of a group's trials."""
    named = [f"{t.number}{'*' if best is not None and t.number == best.number else ''}" for t in group.trials]
    more = f" and {len(named) - MOST_NUMBERS} more" if len(named) > MOST_NUMBERS else ""
    return f"{', '.join(named[:MOST_NUMBERS])}{more}"


def _setting(problem: Problem, group: TrialGroup, name: str) -> str:
    """The group's values of a setting, those of the trial to deploy first."""
    values = list(dict.fromkeys(cell(problem.choices.value_of(trial.candidate, name)) for trial in group.trials))
    return ", ".join(values) if len(values) <= MOST_VALUES else f"{values[0]}, {len(values) - 1} others"


def _reasons(problem: Problem, groups: Sequence[TrialGroup]) -> list[str]:
    """Why a group has no value, one line each; broken limits stand in the row."""
    silent = [group for group in groups if group.value(problem) is None]
    return [f"trial {_numbers(group, None)}: {outcome_text(problem, group.first)}" for group in silent]


def _hidden_lines(groups: Sequence[TrialGroup]) -> list[str]:
    count = sum(len(group.trials) for group in groups)
    return [f"not shown: {count} more trial{'s' * (count > 1)}"] if groups else []


def _without_constants(table: TrialsTable) -> TrialsTable:
    """The table without the figures that are the same in every row."""
    columns = list(zip(*(row.figures for row in table.rows), strict=True))
    kept = [i for i, cells in enumerate(columns) if i == 0 or len(set(cells)) > 1]
    rows = [TrialRow(r.number, tuple(r.figures[i] for i in kept), r.settings, r.style) for r in table.rows]
    return TrialsTable(table.title, tuple(table.figures[i] for i in kept), table.settings, tuple(rows), table.below)

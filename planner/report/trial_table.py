"""The table of a study's trials: their numbers, and one column for each setting that differs among them.

In: a problem and its trials. Out: `trials_table`, which is one table where it fits the terminal, else two. Settings
that are the same in all trials stand in a line below, in vLLM's words; so does what the headings stand for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from planner.benchmark import Metric
from planner.engine import words_of
from planner.report.verdict import gain_words
from planner.study import Problem, Value
from planner.terminal import Fitted
from planner.trials import (
    ABOUT,
    ABOUT_NOTE,
    Trial,
    all_metrics,
    chosen_trial,
    default_trial,
    flags_of,
    heading,
    legend,
    outcome_text,
    searched,
)
from planner.units import format_ms

UNBOUNDED = 1000
"""Width, in characters, in which a table is measured."""
LEFT_TO_ENGINE = "-"


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as both tables show it."""

    number: str
    figures: tuple[str, ...]
    settings: tuple[str, ...]
    style: str


@dataclass(frozen=True, slots=True)
class TrialsTable:
    """Trials with their numbers and settings, as wide as the terminal allows."""

    title: str
    figures: tuple[str, ...]
    """Headings of the numbers."""
    settings: tuple[str, ...]
    """Headings of the settings that differ."""
    rows: tuple[TrialRow, ...]
    below: tuple[str, ...]
    """Lines below the table."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        def fits(table: Table) -> bool:
            return Measurement.get(console, options.update(max_width=UNBOUNDED), table).maximum <= options.max_width

        whole = self._table(self.title, (*self.figures, *self.settings), [(*r.figures, *r.settings) for r in self.rows])
        if fits(whole) or not self.settings:
            yield Fitted(whole)
        else:
            yield Fitted(self._table(self.title, self.figures, [row.figures for row in self.rows]))
            settings = self._table("Settings of the trials", self.settings, [row.settings for row in self.rows])
            if not fits(settings):
                settings.padding = (0, 0)
            yield Fitted(settings)
        for line in self.below:
            yield Text(line, "dim")

    def _table(self, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
        table = Table(title=title, title_justify="left")
        for name in ("trial", *columns):
            table.add_column(name, justify="right")
        for row, values in zip(self.rows, cells, strict=True):
            table.add_row(*map(Text, (row.number, *values)), style=row.style)  # an engine's words may look like markup
        return table


def trials_table(problem: Problem, trials: Sequence[Trial]) -> TrialsTable:
    """Every trial of the search with its numbers and settings; the one to deploy is marked."""
    best, default, shown = chosen_trial(problem, trials), default_trial(problem, trials), searched(trials)
    objective = problem.objective
    differing, same = varying(problem, shown)
    rows = []
    for trial in shown:
        is_best = best is not None and trial.number == best.number
        is_default = trial.candidate == problem.default
        figures = (
            mark(trial) + objective.format(trial.value) + _within(trial) if trial.value is not None else trial.outcome,
            *(_metric(problem, trial, name) for name in objective.beside),
            gain_words(problem, trial, default),
            latency(trial, "ttft_p50"),
            latency(trial, "tpot_p50"),
            f"{trial.start_s:.0f} s" if trial.start_s else "",
        )
        values = tuple(cell(problem.choices.value_of(trial.candidate, name)) for name in differing)
        number = f"{trial.number}{'*' if is_best else ''}{' (default)' if is_default else ''}"
        style = "bold green" if is_best else "" if trial.is_acceptable else "dim"
        rows.append(TrialRow(number, figures, values, style))
    named = (objective.name, *objective.beside)
    return TrialsTable(
        title=f"Trials: {objective.words}",
        figures=(*(n.replace("_", " ") for n in named), "vs default", "TTFT p50", "TPOT p50", "start"),
        settings=tuple(map(heading, differing)),
        rows=tuple(rows),
        below=tuple(_below(problem, shown, differing, same)),
    )


def varying(problem: Problem, trials: Sequence[Trial]) -> tuple[list[str], list[str]]:
    """The searched settings that differ among the trials, and those that all trials but the default have alike."""
    value_of, names = problem.choices.value_of, problem.choices.names
    others = [trial.candidate for trial in trials if trial.candidate != problem.default]
    values = {name: {repr(value_of(candidate, name)) for candidate in others} for name in names}
    same = [name for name in names if len(others) > 1 and len(values[name]) == 1]
    return [name for name in names if name not in same], same


def _below(problem: Problem, trials: Sequence[Trial], differing: Sequence[str], same: Sequence[str]) -> list[str]:
    lines = below_lines(problem, trials, differing, same)
    return [*lines, *(f"trial {t.number}: {outcome_text(problem, t)}" for t in trials if not t.is_acceptable)]


def below_lines(problem: Problem, trials: Sequence[Trial], differing: Sequence[str], same: Sequence[str]) -> list[str]:
    """Lines below a table: what its headings stand for, and what all its trials but the default have alike."""
    lines = [f"{LEFT_TO_ENGINE} is left to the engine; {words}" for words in [legend(differing)] if words]
    others = [trial for trial in trials if trial.candidate != problem.default]
    if others and (words := flags_of(problem, others[0].candidate, same)):
        lines.append(f"the same in all but the default: {words}")
    if problem.has_baseline or not problem.default_is_engines:
        near = "" if problem.default_is_engines else "settings "
        lines.append(f"default: the {near}{problem.default_words}")
    return [*lines, *(words for words in [note(trials)] if words is not None)]


def cell(value: Value) -> str:
    """A value on little room: of JSON its values alone."""
    if value is None:
        return LEFT_TO_ENGINE
    if isinstance(value, str) and value.startswith("{"):
        try:
            return " ".join(map(str, json.loads(value).values()))
        except ValueError:
            return value
    return words_of(value)


def _within(trial: Trial) -> str:
    """Interval of a capacity within its launch, as ` (29-33)`; empty without one."""
    if trial.interval is None:
        return ""
    low, high = trial.interval
    return f" ({low:.3g}-{'more' if high is None else f'{high:.3g}'})"


def _metric(problem: Problem, trial: Trial, name: str) -> str:
    metrics = all_metrics(problem, trial) if trial.outcome == "measured" else {}
    return Metric.parse(name).format(metrics[name]) if name in metrics else ""


def note(trials: Sequence[Trial]) -> str | None:
    """What the mark of an estimated value means; None if there is none."""
    return ABOUT_NOTE if any(trial.stopped_at is not None for trial in trials) else None


def mark(trial: Trial) -> str:
    return "" if trial.stopped_at is None else ABOUT


def latency(trial: Trial, name: str) -> str:
    return format_ms(trial.metrics[name]) if name in trial.metrics else ""

"""The section of the page that draws all trials over their settings: `settings_section(problem, trials, best)`."""

from __future__ import annotations

from collections.abc import Sequence

from planner.report.html.labels import objective_axis, value_word
from planner.report.html.page import PageFigure, Section, table
from planner.report.html.parallel import ParallelAxis, ParallelLine, parallel
from planner.report.html.plots import Axis
from planner.study import Problem, Value
from planner.trials import Trial, heading, leveled, searched

LEAST_TRIALS = 3
MOST_AXES = 12
"""Most settings drawn: those with the most values among the trials."""


def settings_section(problem: Problem, trials: Sequence[Trial], best: Trial | None) -> Section | None:
    """Parallel coordinates of the search's trials that have a value; None for fewer than LEAST_TRIALS of them."""
    shown = [trial for trial in searched(trials) if trial.value is not None and trial.stopped_at is None]
    names = _differing(problem, shown)
    if len(shown) < LEAST_TRIALS or not names:
        return None
    values = {trial.number: leveled(problem, trial) or 0.0 for trial in shown}
    axes = [_axis(problem, name, shown) for name in names]
    low, high = min(values.values()), max(values.values())
    span = (high - low) or 1.0
    goal = objective_axis(problem)
    lines = [
        ParallelLine(
            title=f"trial {trial.number}: {problem.objective.format(values[trial.number])}; "
            + ", ".join(f"{heading(name)} {value_word(_value(problem, trial, name))}" for name in names),
            places=(
                *(places[_value(problem, trial, name)] for name, (_, places) in zip(names, axes, strict=True)),
                (values[trial.number] - low) / span,
            ),
            kind="best" if best is not None and trial.number == best.number else "" if trial.is_acceptable else "weak",
        )
        for trial in shown
    ]
    caption = "Every trial with a value, over the settings that differ"
    drawn = parallel(caption, [*(axis for axis, _ in axes), _goal_axis(goal, low, high)], lines)
    numbers = table(
        caption,
        ("trial", problem.objective.name, *map(heading, names)),
        [
            (
                str(trial.number),
                problem.objective.format(values[trial.number]),
                *(value_word(_value(problem, trial, name)) for name in names),
            )
            for trial in shown
        ],
    )
    words = ("Each line is a trial; it crosses each axis at the trial's value. The best one is drawn thick.",)
    return Section("settings", "Settings of all trials", words=words, figures=(PageFigure(caption, drawn, numbers),))


def _value(problem: Problem, trial: Trial, name: str) -> Value:
    return problem.choices.value_of(trial.candidate, name)


def _differing(problem: Problem, trials: Sequence[Trial]) -> list[str]:
    """The searched settings with more than one value among the trials, at most MOST_AXES, in the study's order."""
    counts = {name: len({_value(problem, t, name) for t in trials}) for name in problem.choices.names}
    most = sorted((name for name in counts if counts[name] > 1), key=lambda name: -counts[name])[:MOST_AXES]
    return [name for name in problem.choices.names if name in most]


def _axis(problem: Problem, name: str, trials: Sequence[Trial]) -> tuple[ParallelAxis, dict[Value, float]]:
    """Axis of a setting and the place of each value: in order, evenly apart; what is left to the engine comes first."""
    found = {_value(problem, trial, name) for trial in trials}
    ordered = sorted(found, key=lambda value: (value is not None, not _is_number(value), _sortable(value)))
    places = {value: i / max(1, len(ordered) - 1) for i, value in enumerate(ordered)}
    return ParallelAxis(heading(name), [(place, value_word(value)) for value, place in places.items()]), places


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float)


def _sortable(value: Value) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, str(value))


def _goal_axis(goal: Axis, low: float, high: float) -> ParallelAxis:
    labels = [(at, goal.format(low + at * (high - low))) for at in (0.0, 0.5, 1.0)]
    return ParallelAxis(goal.title, labels if high > low else labels[:1])

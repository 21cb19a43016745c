"""A study's findings as the sections of the page: `study_page(forecast, trials) -> Page`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.benchmark import Metric
from planner.engine import words_of
from planner.report.findings import Launch, compared, feasible_words, launches, left_out_words, origins, progress_words
from planner.report.html.evidence import effects_section, latencies_section, predictions_section
from planner.report.html.labels import (
    change,
    figures_of,
    mark,
    marked_value,
    metric_axis,
    objective_axis,
    percent,
    sentence,
    short_percent,
    time_unit,
)
from planner.report.html.load_section import load_section
from planner.report.html.page import Log, Page, PageFigure, Row, Section, Table, table
from planner.report.html.plots import Axis, PlotPoint, Series, intervals, scatter
from planner.report.html.settings_section import settings_section
from planner.report.verdict import Verdict, banners, gain_words, judged
from planner.study import Forecast, Problem
from planner.trials import (
    ABOUT_NOTE,
    USUAL_FRONT,
    Rerun,
    Trial,
    all_metrics,
    changed_words,
    default_trial,
    describe,
    engine_time,
    export_command,
    front,
    gain_interval,
    heading,
    legend,
    leveled,
    outcome_text,
    searched,
)
from planner.units import format_count, format_duration, format_ms

LOG_LINES = 40
"""Lines shown from the end of a failed engine's log."""
MOST_GAIN = 10.0
"""Largest end of an interval that is drawn, as a share; wider ones come from too few runs and are only in the table."""


def study_page(
    forecast: Forecast, trials: Sequence[Trial], pareto: Sequence[str] = (), script: str | None = None
) -> Page:
    """The page of a study. `script`: the text that runs the trial to deploy, if there is one."""
    problem, verdict = forecast.problem, judged(forecast, trials)
    spec = problem.spec
    models = ", ".join(model.name for model in problem.models.values())
    found = [
        _verdict(problem, verdict),
        None if script is None else Section("run", "Run it", logs=(Log("run.sh", script, is_copied=True),)),
        _compared(forecast, trials),
        load_section(problem, trials),
        _progress(problem, trials),
        _front(problem, trials, tuple(pareto) or USUAL_FRONT),
        _trials(problem, trials, verdict),
        settings_section(problem, trials, verdict.trial),
        _ruled_out(forecast),
        effects_section(forecast, trials),
        predictions_section(problem, trials),
        latencies_section(problem, trials),
        Section(
            "origin",
            "How the numbers were obtained",
            tables=(table("What they depend on", ("name", "value"), origins(problem, trials), ("value",)),),
        ),
    ]
    return Page(
        title=spec.name,
        subtitle=spec.description
        or f"{models} on {spec.hardware.num_gpus} x {problem.gpu.name}, vLLM {problem.version}: {len(trials)} trials",
        banners=tuple(banners(trials)),
        sections=tuple(section for section in found if section is not None),
        footer=f"planner {', '.join(dict.fromkeys(trial.provenance.planner_version for trial in trials))}",
    )


def _verdict(problem: Problem, verdict: Verdict) -> Section:
    settings = []
    if verdict.trial is not None:
        command = f"{export_command(problem, verdict.trial)} (in the study's folder)"
        settings = [f"Settings: {describe(problem, verdict.trial.candidate)}", changed_words(problem, verdict.trial)]
        settings.append(f"run: {command}")
    further = [line for line in (verdict.against, *verdict.reasons, verdict.answers) if line is not None]
    words = tuple(sentence(line) for line in (*settings, *further))
    lead = sentence(verdict.sentence)
    if verdict.finals is None:
        return Section("verdict", "Verdict", lead, verdict.trial is None, words)
    objective, rows, drawn = problem.objective, [], []
    for finalist in verdict.finals.finalists:
        number, gain, seen = finalist.trial.number, finalist.gain, leveled(problem, finalist.trial)
        rows.append(
            Row(
                (
                    str(number),
                    "" if seen is None else objective.format(seen),
                    objective.format(finalist.value) if finalist.values else "failed",
                    "" if gain is None else f"{gain.value:+.1%}",
                    "" if gain is None else gain_interval(objective, gain),
                    finalist.broken or (problem.default_words if finalist.trial.candidate == problem.default else ""),
                ),
                "best" if finalist is verdict.finals.winner else "" if finalist.is_acceptable else "weak",
            )
        )
        if gain is not None and not objective.is_known and max(abs(gain.low), abs(gain.high)) < MOST_GAIN:
            drawn.append((f"trial {number}", gain.low, gain.value, gain.high))
    columns = ("trial", "in the search", "again", "vs default", "95 % interval", "note")
    shown = Table("Finals: measured again in turn, on fresh prompts", columns, tuple(rows), frozenset({"note"}))
    caption = f"Gain in {objective.name} over the defaults in the finals, with 95 % intervals"
    numbers = table(caption, ("trial", "low", "gain", "high"), [(n, *map(percent, found)) for n, *found in drawn])
    figures = (PageFigure(caption, intervals(caption, drawn, Axis("gain over the defaults", short_percent)), numbers),)
    return Section(
        "verdict", "Verdict", lead, verdict.trial is None, words, figures=figures if drawn else (), tables=(shown,)
    )


def _compared(forecast: Forecast, trials: Sequence[Trial]) -> Section | None:
    comparison = compared(forecast, trials)
    if comparison is None:
        return None
    best, default = comparison.best, comparison.default
    same = [setting.name for setting in comparison.settings if not setting.differs]
    settings = table(
        "Settings that differ",
        ("setting", "default", f"trial {best.number}"),
        [(s.name, s.default, s.best) for s in comparison.settings if s.differs],
    )
    caption = f"Key metrics, {'of the finals' if comparison.from_finals else 'as the search saw them'}"
    if default is None:
        shown = [(name, Metric.parse(name).format(now)) for name, _, now in comparison.metrics]
        metrics = table(caption, ("metric", f"trial {best.number}"), shown)
    else:
        pairs = [
            (
                name,
                "" if was is None else Metric.parse(name).format(was),
                Metric.parse(name).format(now),
                change(was, now),
            )
            for name, was, now in comparison.metrics
        ]
        metrics = table(caption, ("metric", "default", f"trial {best.number}", "change"), pairs)
    words = [f"Not changed: {', '.join(same)}."] if same and settings.rows else []
    if not settings.rows:
        words.append("The defaults are the best: nothing differs.")
    elif default is None:
        words.append("The defaults were not measured; see the table of trials.")
    return Section(
        "best",
        "The default against the best",
        words=tuple(words),
        tables=(*((settings,) if settings.rows else ()), metrics),
    )


def _progress(problem: Problem, trials: Sequence[Trial]) -> Section | None:
    found = launches(problem, trials)
    if not found:
        return None
    rows = [
        (
            str(launch.count),
            str(launch.trial.number),
            format_duration(launch.engine_s),
            "" if launch.value is None else problem.objective.format(launch.value),
            "" if launch.best is None else problem.objective.format(launch.best),
        )
        for launch in found
    ]
    numbers = table(
        "Each launch and the best so far",
        ("launch", "trial", "engine time", problem.objective.name, "best so far"),
        rows,
    )

    def figure(caption: str, at: Callable[[Launch], float], axis: Axis) -> PageFigure:
        dots = [
            PlotPoint(
                at(launch), launch.value, f"trial {launch.trial.number}: {problem.objective.format(launch.value)}"
            )
            for launch in found
            if launch.value is not None
        ]
        series = [Series("launches", dots), Series("best so far", _steps(found, at), has_line=True, has_dots=False)]
        return PageFigure(caption, scatter(caption, series, axis, objective_axis(problem)), numbers)

    unit, unit_s = time_unit(found[-1].engine_s)
    time = Axis(f"engine time, {unit}", lambda value: f"{value:.3g}")
    return Section(
        "progress",
        "The best so far",
        words=(sentence(progress_words(problem, found)), sentence(f"engine time: {engine_time(trials).words}")),
        figures=(
            figure("Best so far over launches", lambda launch: launch.count, Axis("launches", lambda v: f"{v:.0f}")),
            figure("Best so far over the time engines ran", lambda launch: launch.engine_s / unit_s, time),
        ),
    )


def _steps(found: Sequence[Launch], at: Callable[[Launch], float]) -> list[PlotPoint]:
    points: list[PlotPoint] = []
    for launch in found:
        if launch.best is None:
            continue
        if points:
            points.append(PlotPoint(at(launch), points[-1].y))
        points.append(PlotPoint(at(launch), launch.best))
    return points


def _front(problem: Problem, trials: Sequence[Trial], metrics: Sequence[str]) -> Section | None:
    points = front(problem, trials, metrics)
    if not points:
        return None
    first, second = metrics[:2]
    kept = {id(point.trial) for point in points if point.load is None}
    able = [(t, all_metrics(problem, t)) for t in searched(trials) if t.is_acceptable and id(t) not in kept]

    def dot(number: int, values: dict[str, float]) -> PlotPoint:
        return PlotPoint(values[first], values[second], f"trial {number}: {figures_of(values, metrics)}")

    rest = [dot(trial.number, values) for trial, values in able if first in values and second in values]
    series = [
        Series("beaten", rest),
        Series("on the front", [dot(point.trial.number, point.metrics) for point in points], has_line=True),
    ]
    caption = f"Trials that none beats in {' and '.join(metrics)}"
    numbers = table(
        caption,
        ("trial", "load", *metrics, "settings"),
        [
            (
                f"{mark(point.trial)}{point.trial.number}",
                "" if point.load is None else f"{point.load:g}",
                *(Metric.parse(name).format(point.metrics[name]) for name in metrics),
                describe(problem, point.trial.candidate),
            )
            for point in points
        ],
        ("settings",),
    )
    drawn = scatter(caption, series, metric_axis(first), metric_axis(second))
    return Section("pareto", "Pareto front", figures=(PageFigure(caption, drawn, numbers),))


def _trials(problem: Problem, trials: Sequence[Trial], verdict: Verdict) -> Section:
    default, objective, names = default_trial(problem, trials), problem.objective, problem.choices.names
    rows = []
    for trial in trials:
        values = [problem.choices.value_of(trial.candidate, name) for name in names]
        what = " (default)" if trial.candidate == problem.default else ""
        again = what if trial.rerun is None else f" ({trial.rerun.of} {_why_again(trial.rerun)})"
        is_best = verdict.trial is not None and trial.number == verdict.trial.number
        rows.append(
            Row(
                (
                    f"{trial.number}{again}",
                    "" if trial.value is None else marked_value(problem, trial),
                    gain_words(problem, trial, default) if trial.rerun is None else "",
                    *(format_ms(trial.metrics[n]) if n in trial.metrics else "" for n in ("ttft_p50", "tpot_p50")),
                    f"{trial.start_s:.0f} s" if trial.start_s else "",
                    *("-" if value is None else words_of(value) for value in values),
                    _outcome(problem, trial),
                ),
                "best" if is_best else "" if trial.is_acceptable else "weak",
            )
        )
    settings = [heading(name) for name in names]
    columns = ("trial", objective.name, "vs default", "TTFT p50", "TPOT p50", "start", *settings, "outcome")
    notes = [
        *filter(None, [legend(names)]),
        "- is left to the engine",
        *([ABOUT_NOTE] if any(t.stopped_at is not None for t in trials) else []),
    ]
    shown = Table(f"Every trial: {objective.words}", columns, tuple(rows), frozenset({"outcome"}), "; ".join(notes))
    logs = tuple(
        Log(f"End of the log of trial {trial.number}", "\n".join(trial.failure.log_tail.splitlines()[-LOG_LINES:]))
        for trial in trials
        if trial.failure is not None and trial.failure.log_tail
    )
    return Section("trials", "Every trial", tables=(shown,), logs=logs)


def _why_again(rerun: Rerun) -> str:
    return "again" if rerun.is_final else rerun.series


def _outcome(problem: Problem, trial: Trial) -> str:
    """The outcome in words, with its reason."""
    if trial.outcome != "measured":
        return outcome_text(problem, trial)
    is_plain = trial.is_acceptable and trial.stopped_at is None
    return trial.outcome if is_plain else f"{trial.outcome}: {outcome_text(problem, trial)}"


def _ruled_out(forecast: Forecast) -> Section:
    problem, total = forecast.problem, len(forecast.grid.indices)
    rows = [(name, format_count(count), f"{count / total:.1%}") for name, count in forecast.grid.removed_by().items()]
    words = [sentence(feasible_words(forecast))]
    if problem.left_out:
        words.append(sentence(left_out_words(problem)))
    rules = table("Infeasible combinations, by the first rule that is broken", ("rule", "combinations", "share"), rows)
    return Section("ruled-out", "Ruled out", words=tuple(words), tables=(rules,) if rows else ())

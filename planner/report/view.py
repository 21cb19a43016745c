"""How a study is shown in the terminal: Rich renderables built from values. Prints nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.benchmark import Level, Metric
from planner.engine import words_of
from planner.estimate import no_effect
from planner.report.findings import (
    PERCENTILES,
    UNSAID,
    distributions,
    feasible_words,
    launches,
    memory_fits,
    memory_words,
    origins,
    progress_words,
)
from planner.report.lever_hints import lever_lines
from planner.report.load_curves import curve_metrics, load_curves, spread
from planner.report.plan import differing_words, expected_words, infeasible_words, left_out_lines, plan_notes
from planner.report.questions import asked_anew
from planner.report.short_table import short_table
from planner.report.trial_table import mark, note, trials_table
from planner.report.verdict import UNSURE, banners, judged
from planner.study import IN_FILE, Forecast, Places, Problem
from planner.terminal import Fitted
from planner.trials import (
    BANNERS,
    USUAL_FRONT,
    Finals,
    FrontPoint,
    Trial,
    describe,
    engine_time,
    front,
    gain_interval,
    leveled,
    result_lines,
    risk_words,
    searched,
)
from planner.units import format_count, format_ms

# --- tune ---


def plan_view(
    forecast: Forecast,
    results: str,
    seconds: str = "",
    backend: str = "",
    target: int = 0,
    places: Places = IN_FILE,
) -> RenderableType:
    """What `tune` shows before it starts; without a backend, what could be tuned."""
    problem, grid = forecast.problem, forecast.grid
    table = Table(title="Searched settings", title_justify="left")
    table.add_column("setting")
    table.add_column("values")
    table.add_column("note")
    infeasible = infeasible_words(forecast, places)
    idle = no_effect(problem.deployment(problem.default).engine, problem.version)
    for name, values in problem.choices.searched.items():
        note = f"no effect on speed: {idle[name]}" if name in idle else forecast.classes.notes.get(name, "")
        table.add_row(name, ", ".join("default" if v is None else words_of(v) for v in values), note)
    lines = [
        f"candidates  {format_count(len(grid.indices))}: {format_count(len(grid.feasible_rows))} feasible, "
        f"{format_count(len(grid.indices) - len(grid.feasible_rows))} infeasible",
        *(f"            {format_count(count):>7} by rule: {name}" for name, count in grid.removed_by().items()),
    ]
    if infeasible is None:
        lines.append(f"differing   {differing_words(forecast)}")
    lines += [f"left out    {words}" for words in left_out_lines(problem)]
    lines += [f"note        {words}" for words in plan_notes(problem, backend)]
    limits = problem.objective.limits_words
    lines.append(f"objective   {problem.objective.words}{f'; {limits}' if limits else ''}")
    if (expected := expected_words(forecast)) is not None:
        lines.append(f"expected    {expected}")
    if infeasible is None:
        lines += [f"levers      {words}" for words in lever_lines(forecast)]
    if backend:
        sampler = problem.spec.sampler
        seed = f" (seed {sampler.seed})" if sampler.seed else ""
        lines += [
            f"deployment  {problem.spec.deployment_words}",
            f"trials      {target} on backend {backend}, sampler {sampler.name}{seed}; {problem.default_words} first",
            f"time        {seconds if infeasible is None else 'none: nothing can be launched'}",
            f"results     {results}",
        ]
    parts: list[RenderableType] = [Fitted(table), *(Text(line) for line in lines)]
    if infeasible is not None:
        parts.append(Text(infeasible, "bold red"))
    if backend in BANNERS:
        parts.insert(0, Text(BANNERS[backend], "bold yellow"))
    return Group(*parts)


def pareto_table(problem: Problem, points: Sequence[FrontPoint], metrics: Sequence[str]) -> RenderableType:
    """A Pareto front with the metrics it compares."""
    table = Table(title=f"Pareto front: {', '.join(metrics)}", title_justify="left")
    for name in ("trial", "load", *(metric.replace("_", " ") for metric in metrics)):
        table.add_column(name, justify="right")
    table.add_column("settings")
    for point in points:
        figures = (Metric.parse(name).format(point.metrics[name]) for name in metrics)
        load = _judged_load(problem) if point.load is None else point.load
        number = f"{mark(point.trial)}{point.trial.number}"
        table.add_row(*map(Text, (number, f"{load:g}", *figures, describe(problem, point.trial.candidate))))
    table.caption, table.caption_justify = note([point.trial for point in points]), "left"
    below = _banners([points[0].trial]) if points else [Text("no trial kept every limit", "bold red")]
    return Group(Fitted(table), *below)


def result_tables(problem: Problem, trials: Sequence[Trial]) -> list[RenderableType]:
    """Every table of a study: its trials, and those at further loads and at the levels of a search if there are any."""
    further = [loads_table(problem, trials), load_table(problem, trials)]
    return [trials_table(problem, trials), *(table for table in further if table is not None)]


def loads_table(problem: Problem, trials: Sequence[Trial]) -> RenderableType | None:
    """The trials' results at the study's further loads; None without any."""
    asked = tuple(problem.objective.powers)
    table = Table(title=f"At other loads than {_judged_load(problem):g}", title_justify="left")
    for name in ("trial", "load", *(metric.replace("_", " ") for metric in asked), "TTFT p50", "TPOT p50"):
        table.add_column(name, justify="right")
    for trial in searched(trials):
        for at in trial.at_loads:
            metrics = {**problem.known(trial.candidate), **at.metrics}
            figures = (*asked, "ttft_p50", "tpot_p50")
            cells = [Metric.parse(name).format(metrics[name]) if name in metrics else "" for name in figures]
            table.add_row(str(trial.number), f"{at.load:g}", *cells)
    return Fitted(table) if table.row_count else None


def load_table(problem: Problem, trials: Sequence[Trial]) -> RenderableType | None:
    """The levels of the default and of the trial to deploy; None where no load was sought."""
    curves, names = load_curves(problem, trials), curve_metrics(problem)
    table = Table(title="Load against latency, by the levels that were tried", title_justify="left")
    unit = "requests/s" if problem.objective.by_rate else "in flight"
    for name in ("trial", unit, *(name.replace("_", " ") for name in names), "limits"):
        table.add_column(name, justify="right")
    for curve in curves:
        for level in spread(curve):
            kept = "kept" if level.keeps(problem.objective.limits) else "broken"
            load = f"{level.load:.3g}" if problem.objective.by_rate else format_count(level.load)
            cells = (curve.name, load, *(_level_cell(level, name) for name in names), kept)
            table.add_row(*map(Text, cells), style="" if kept == "kept" else "dim")
        table.add_section()
    return Fitted(table) if table.row_count else None


def _level_cell(level: Level, name: str) -> str:
    return Metric.parse(name).format(level.metrics[name]) if name in level.metrics else ""


def _judged_load(problem: Problem) -> float:
    return problem.workload.request_rate or problem.workload.concurrency


def conclusion(forecast: Forecast, trials: Sequence[Trial]) -> RenderableType:
    """The best against the engine's defaults, in words and numbers, and what it took."""
    problem, verdict, took = forecast.problem, judged(forecast, trials), engine_time(trials).words
    time = [Text(f"engine time: {took}")] if took else []
    parts: list[RenderableType] = [] if verdict.finals is None else [Fitted(_finals_table(problem, verdict.finals))]
    if verdict.trial is None:
        anew = [Text(line) for line in asked_anew(problem, trials)]
        return Group(*parts, Text(verdict.sentence, "bold red"), *anew, *time, *_banners(trials))
    parts += [Text(verdict.sentence, "bold green"), Text(f"      {describe(problem, verdict.trial.candidate)}")]
    parts += [Text(line) for line in (verdict.against, *verdict.reasons) if line is not None]
    parts += [Text(line) for line in asked_anew(problem, trials)]
    if verdict.answers is not None:
        parts.append(Text(verdict.answers, "bold"))
    return Group(*parts, *time, *_banners([verdict.trial]))


def in_short(
    forecast: Forecast, trials: Sequence[Trial], command: str, rest: str = "", wrote: Sequence[str] = ()
) -> RenderableType:
    """The result in five lines, at most eight rows below it, and where the rest is.

    `command` starts the service; `rest` prints all that is left out here; `wrote` are lines on what was written.
    """
    problem = forecast.problem
    verdict, lines = judged(forecast, trials), result_lines(problem, trials, command, forecast.calibrations)
    if verdict.trial is None:
        parts: list[RenderableType] = [Text(lines[0], "bold red")]
    else:
        risk = risk_words(problem, verdict.trial, forecast.calibrations)
        parts = [Text(lines[0], "bold green"), *(Text(line, "bold red" if line == risk else "") for line in lines[1:])]
    is_unsure = verdict.finals is not None and not verdict.finals.is_over
    doubts = (UNSURE if is_unsure else None, verdict.answers, *asked_anew(problem, trials))
    parts += [Text(line, "bold") for line in doubts if line is not None]
    parts.append(short_table(forecast, trials))
    if (loads := load_table(problem, trials)) is not None:
        parts.append(loads)
    parts += [Text(line) for line in wrote]
    if rest:
        parts.append(Text(f"all trials, finals, reasons and origins: {rest}", "dim"))
    return Group(*parts, *_banners(trials if verdict.trial is None else [verdict.trial]))


def further_facts(forecast: Forecast, trials: Sequence[Trial]) -> RenderableType:
    """What `report` adds to the conclusion: how the best was reached, what was ruled out, where numbers come from."""
    parts: list[RenderableType] = []
    problem = forecast.problem
    shown = distributions(problem, trials)
    if shown:
        table = Table(title="Latencies of the finalists", title_justify="left")
        for name in ("trial", "", *PERCENTILES):
            table.add_column(name, justify="right")
        for one in shown:
            for latency, values in one.percentiles.items():
                table.add_row(str(one.trial.number), latency.upper(), *map(format_ms, values))
        parts.append(Fitted(table))
    lines = []
    if found := launches(problem, trials):
        lines.append(f"progress: {progress_words(problem, found)}")
    if points := front(problem, trials, USUAL_FRONT):
        numbers = ", ".join(f"{mark(p.trial)}{p.trial.number}" for p in points)
        lines.append(f"Pareto front of {' and '.join(USUAL_FRONT)}: trials {numbers}")
    rules = "; ".join(f"{format_count(count)} by rule: {name}" for name, count in forecast.grid.removed_by().items())
    lines.append(f"space: {feasible_words(forecast)}{f': {rules}' if rules else ''}")
    if fits := memory_fits(trials):
        lines.append(f"memory: {memory_words(fits)}")
    said = (f"{name} {words}" for name, words in origins(problem, trials) if words not in UNSAID)
    lines.append(f"obtained with {'; '.join(said)}")
    return Group(*parts, *(Text(line) for line in lines))


def _finals_table(problem: Problem, finals: Finals) -> Table:
    objective = problem.objective
    table = Table(title="Finals: measured again in turn, on fresh prompts", title_justify="left")
    beside = [name for name in objective.beside if name in finals.finalists[0].metrics]
    again = [f"{name.replace('_', ' ')} again" for name in beside]
    for name in ("trial", "in the search", "again", "change", *again, "vs default", "95 %"):
        table.add_column(name, justify="right")
    has_broken = any(finalist.broken for finalist in finals.finalists)
    if has_broken:
        table.add_column("broken")
    for finalist in finals.finalists:
        seen = leveled(problem, finalist.trial) or 0.0
        value = objective.format(finalist.value) if finalist.values else "failed"
        change = f"{finalist.value / seen - 1:+.1%}" if finalist.values and seen else ""
        gain = finalist.gain
        table.add_row(
            f"{finalist.trial.number}{'*' if finalist is finals.winner else ''}",
            objective.format(seen),
            value,
            change,
            *(Metric.parse(name).format(finalist.metrics[name]) if name in finalist.metrics else "" for name in beside),
            "" if gain is None else f"{gain.value:+.1%}",
            "" if gain is None else gain_interval(objective, gain),
            *([finalist.broken or ""] if has_broken else []),
            style="bold green" if finalist is finals.winner else "" if finalist.is_acceptable else "dim",
        )
    return table


def _banners(trials: Sequence[Trial]) -> list[Text]:
    return [Text(banner, "bold yellow") for banner in banners(trials)]

"""What a person reads in the terminal: rich renderables made of values. Prints nothing itself."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from planner.bench_view import BenchTable
from planner.explain import effects, explained, limit_of, model_fit
from planner.finals import Finalist, Finals, chosen_trial, judge_finals
from planner.objective import Objective, format_metric
from planner.pareto import Point
from planner.problem import Problem
from planner.quality import quality_words
from planner.risks import no_effect
from planner.space import Candidate, Value
from planner.statistics import Difference
from planner.trial import Trial, all_metrics, best_trial, default_trial, searched
from planner.units import format_count, format_ms

MOST_EFFECTS = 4
LOG_WIDTH = 132
SIMULATED_BANNER = "SIMULATED: a model of the engine on a model of the card, not a measurement"
REPLAYED_BANNER = "REPLAYED: answered from a file of earlier launches, nothing is launched"
ABOUT = "~"
ABOUT_NOTE = "~ given up early, surely not the best: estimates"
BANNERS = {"simulated": SIMULATED_BANNER, "replay": REPLAYED_BANNER}
"""By backend."""


def make_console(stderr: bool = False, quiet: bool = False) -> Console:
    """Wide where nothing says how wide: a log file has no 80 columns. A quiet one prints nothing."""
    console = Console(highlight=False, stderr=stderr, quiet=quiet)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, stderr=stderr, quiet=quiet, width=LOG_WIDTH)


@contextmanager
def progress(first: str, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, told (stage, done, total); nothing where stderr is no terminal."""
    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


@contextmanager
def working(words: str) -> Iterator[None]:
    """Words on a terminal while something takes a while whose end is not known."""
    with progress(words):
        yield


def describe(problem: Problem, candidate: Candidate) -> str:
    """The searched values of a candidate on one line; what is the engine's own default is left out."""
    parts = []
    for name in problem.choices.names:
        value = problem.choices.value_of(candidate, name)
        if value is not None:
            parts.append(f"{_SHORT_NAMES.get(name, name)}={_word(value)}")
    return " ".join([problem.default_words, *parts] if candidate == problem.default else parts)


def _values(problem: Problem, candidate: Candidate) -> str:
    """Only the values, in the order of the searched settings."""
    values = (problem.choices.value_of(candidate, name) for name in problem.choices.names)
    return " ".join("-" if value is None else _word(value) for value in values)


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- tune ---


def plan_view(problem: Problem, results: str, seconds: str = "", backend: str = "", target: int = 0) -> RenderableType:
    """What `tune` says before it starts; without a backend, what could be tuned."""
    grid = problem.grid
    table = Table(title="Searched settings", title_justify="left")
    table.add_column("setting")
    table.add_column("values")
    table.add_column("note")
    idle = no_effect(problem.deployment(problem.default).engine, problem.version)
    for name, values in problem.choices.searched.items():
        note = f"no effect on speed: {idle[name]}" if name in idle else ""
        table.add_row(name, ", ".join("default" if v is None else _word(v) for v in values), note)
    lines = [
        f"candidates  {format_count(len(grid.indices))}: {format_count(len(grid.feasible_rows))} feasible, "
        f"{format_count(len(grid.indices) - len(grid.feasible_rows))} infeasible",
        *(f"            {format_count(count):>7} by rule: {name}" for name, count in grid.removed_by().items()),
    ]
    if problem.left_out:
        lines.append(f"left out    {', '.join(problem.left_out)}: vLLM {problem.version} does not know them")
    limits = problem.objective.limits_words
    lines.append(f"objective   {problem.objective.words}{f'; {limits}' if limits else ''}")
    if backend:
        sampler = problem.spec.sampler.name
        lines += [
            f"trials      {target} on backend {backend}, sampler {sampler}; {problem.default_words} first",
            f"time        {seconds}",
            f"results     {results}",
        ]
    parts: list[RenderableType] = [table, *(Text(line) for line in lines)]
    if backend in BANNERS:
        parts.insert(0, Text(BANNERS[backend], "bold yellow"))
    return Group(*parts)


def outcome_text(problem: Problem, trial: Trial) -> str:
    """`measured 812.3 tok/s`, or why there is no number."""
    if trial.outcome == "measured" and trial.value is not None:
        text = problem.objective.format(trial.value)
        if trial.stopped_at is not None:
            text = f"{ABOUT}{text}, given up after {trial.stopped_at:.0%} of the load"
        broken = [constraint.message for constraint in trial.constraints if constraint.excess > 0]
        return f"{text}; {broken[0]}" if broken else text
    if trial.failure is not None:
        return f"failed: {trial.failure.message}"
    reason = trial.constraints[0].message if trial.constraints else "no value"
    return f"{trial.outcome}: {reason}"


def trials_table(problem: Problem, trials: Sequence[Trial]) -> Table:
    """Every trial of the search with its numbers and settings; the one to deploy is marked."""
    best, default = chosen_trial(problem, trials), default_trial(problem, trials)
    objective = problem.objective
    beside = objective.beside
    table = Table(title=f"Trials: {objective.words}", title_justify="left")
    names = (objective.name, *beside)
    for name in ("trial", *(n.replace("_", " ") for n in names), "vs default", "TTFT p50", "TPOT p50", "start"):
        table.add_column(name, justify="right")
    table.add_column(" ".join(_SHORT_NAMES.get(name, name) for name in problem.choices.names))
    for trial in searched(trials):
        is_best = best is not None and trial.number == best.number
        settings = _values(problem, trial.candidate)
        if trial.candidate == problem.default:
            settings = problem.default_words if problem.default_is_engines else f"{settings} ({problem.default_words})"
        cells = (
            f"{trial.number}{'*' if is_best else ''}",
            _mark(trial) + objective.format(trial.value) if trial.value is not None else trial.outcome,
            *(_metric(problem, trial, name) for name in beside),
            _against(trial, default),
            _latency(trial, "ttft_p50"),
            _latency(trial, "tpot_p50"),
            f"{trial.start_s:.0f} s" if trial.start_s else "",
            settings if trial.is_acceptable else f"{settings}\n{outcome_text(problem, trial)}",
        )
        table.add_row(
            *(Text(cell) for cell in cells),  # an engine's words may look like markup
            style="bold green" if is_best else "" if trial.is_acceptable else "dim",
        )
    table.caption, table.caption_justify = _note(searched(trials)), "left"
    return table


def _metric(problem: Problem, trial: Trial, name: str) -> str:
    metrics = all_metrics(problem, trial) if trial.outcome == "measured" else {}
    return format_metric(name, metrics[name]) if name in metrics else ""


def _note(trials: Sequence[Trial]) -> str | None:
    return ABOUT_NOTE if any(trial.stopped_at is not None for trial in trials) else None


def pareto_table(problem: Problem, points: Sequence[Point], metrics: Sequence[str]) -> RenderableType:
    """A front with the metrics it is about."""
    table = Table(title=f"Pareto front: {', '.join(metrics)}", title_justify="left")
    for name in ("trial", "load", *(metric.replace("_", " ") for metric in metrics)):
        table.add_column(name, justify="right")
    table.add_column("settings")
    for point in points:
        figures = (format_metric(name, point.metrics[name]) for name in metrics)
        load = _judged_load(problem) if point.load is None else point.load
        number = f"{_mark(point.trial)}{point.trial.number}"
        table.add_row(*map(Text, (number, f"{load:g}", *figures, describe(problem, point.trial.candidate))))
    table.caption, table.caption_justify = _note([point.trial for point in points]), "left"
    return Group(table, *(_banners(points[0].trial) if points else [Text("no trial kept every limit", "bold red")]))


def loads_table(problem: Problem, trials: Sequence[Trial]) -> Table | None:
    """What the trials showed at the study's further loads; None without any."""
    asked = tuple(problem.objective.powers)
    table = Table(title=f"At other loads than {_judged_load(problem):g}", title_justify="left")
    for name in ("trial", "load", *(metric.replace("_", " ") for metric in asked), "TTFT p50", "TPOT p50"):
        table.add_column(name, justify="right")
    for trial in searched(trials):
        for at in trial.at_loads:
            metrics = {**problem.known(trial.candidate), **at.metrics}
            figures = (*asked, "ttft_p50", "tpot_p50")
            cells = [format_metric(name, metrics[name]) if name in metrics else "" for name in figures]
            table.add_row(str(trial.number), f"{at.load:g}", *cells)
    return table if table.row_count else None


def _judged_load(problem: Problem) -> float:
    return problem.workload.request_rate or problem.workload.concurrency


def _mark(trial: Trial) -> str:
    return "" if trial.stopped_at is None else ABOUT


def _against(trial: Trial, default: Trial | None) -> str:
    if default is None or default.value is None or trial.value is None or trial.number == default.number:
        return ""
    return f"{trial.value / default.value - 1:+.1%}"


def _latency(trial: Trial, name: str) -> str:
    return format_ms(trial.metrics[name]) if name in trial.metrics else ""


_SHORT_NAMES = {
    "max_num_seqs": "seqs",
    "max_num_batched_tokens": "tokens",
    "gpu_memory_utilization": "memory",
    "enable_chunked_prefill": "chunked",
    "enable_prefix_caching": "prefix",
    "max_seq_len_to_capture": "capture",
    "block_size": "block",
    "swap_space": "swap",
}


def conclusion(problem: Problem, trials: Sequence[Trial]) -> RenderableType:
    """Best against the engine's defaults, in words and numbers."""
    finals = judge_finals(problem, trials)
    if finals is not None and finals.winner is None:
        text = "no finalist kept every limit again: more trials may find one, or the limits leave no room"
        return Group(_finals_table(problem, finals), Text(text, "bold red"), *_banners(finals.finalists[0].trial))
    if finals is not None and finals.winner is not None:
        winner = finals.winner.trial
        return Group(
            _finals_table(problem, finals),
            Text(_verdict(problem, finals.winner, finals.keeps_default), "bold green"),
            Text(f"      {describe(problem, winner.candidate)}"),
            *_reasons(problem, trials, winner),
            *_footnotes(problem, winner),
        )
    best, default = best_trial(problem, trials), default_trial(problem, trials)
    if best is None or best.value is None:
        return Text("no trial kept every limit; see the reasons in the table", "bold red")
    figures = problem.objective.figures(best.value, all_metrics(problem, best))
    lines = [Text(f"best: trial {best.number}, {figures}{_of_what(problem.objective)}", "bold green")]
    lines.append(Text(f"      {describe(problem, best.candidate)}"))
    if default is None or default.value is None:
        reason = outcome_text(problem, default) if default else "not tried"
        lines.append(Text(f"{problem.default_words}: {reason}"))
    elif default.number == best.number:
        near = "" if problem.default_is_engines else "settings nearest to the "
        lines.append(Text(f"the {near}engine's defaults are the best that was measured: keep them", "bold"))
    else:
        gain = best.value / default.value - 1
        text = f"{problem.default_words}: {problem.objective.format(default.value)}; the best is {gain:+.1%}"
        lines.append(Text(f"{text} (as seen in the search, not measured again)"))
    return Group(*lines, *_reasons(problem, trials, best), *_footnotes(problem, best))


def _reasons(problem: Problem, trials: Sequence[Trial], winner: Trial) -> list[Text]:
    """What mattered, what limits the winner, how right the speed model was."""
    found = effects(problem, searched(trials))[:MOST_EFFECTS]
    mattered = "; ".join(
        f"{_SHORT_NAMES.get(e.name, e.name)} {_word(e.worst)} -> {_word(e.best)}: {e.gain:+.0%}" for e in found
    )
    what = f" for {metric}" if (metric := explained(problem.objective)) else ""
    lines = [Text(f"what mattered{what} (worst to best value, on average): {mattered or 'nothing by 1 % or more'}")]
    lines.append(Text(f"limit: {limit_of(problem, winner.candidate)}"))
    fit = None if problem.objective.is_known else model_fit(searched(trials))
    if fit is not None:
        rank = "" if math.isnan(fit.tau) else f", rank correlation {fit.tau:.2f}"
        lines.append(Text(f"speed model: {fit.error:.0%} off before any launch (median of {fit.count} trials){rank}"))
    return lines


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
        seen = finalist.trial.value or 0.0
        value = objective.format(finalist.value) if finalist.values else "failed"
        change = f"{finalist.value / seen - 1:+.1%}" if finalist.values and seen else ""
        gain = finalist.gain
        table.add_row(
            f"{finalist.trial.number}{'*' if finalist is finals.winner else ''}",
            objective.format(seen),
            value,
            change,
            *(format_metric(name, finalist.metrics[name]) if name in finalist.metrics else "" for name in beside),
            "" if gain is None else f"{gain.value:+.1%}",
            "" if gain is None else _interval(objective, gain),
            *([finalist.broken or ""] if has_broken else []),
            style="bold green" if finalist is finals.winner else "" if finalist.is_acceptable else "dim",
        )
    return table


def _footnotes(problem: Problem, trial: Trial) -> list[Text]:
    """Whether its answers are the default's, and what its numbers are not."""
    answers = quality_words(problem, trial)
    lines = [] if answers is None else [Text(answers, "bold")]
    return [*lines, *_banners(trial)]


def _verdict(problem: Problem, winner: Finalist, keeps_default: bool) -> str:
    """The study's answer in one sentence."""
    objective = problem.objective
    if keeps_default:
        near = (
            "the engine's defaults" if problem.default_is_engines else "the settings nearest to the engine's defaults"
        )
        gain_words = f"no larger {objective.name} kept the limits" if objective.is_known else "no significant gain"
        return f"{gain_words} over {near}: keep them"
    figures = objective.figures(winner.value, {**winner.metrics, **problem.known(winner.trial.candidate)})
    text = f"deploy trial {winner.trial.number}: {figures}{_of_what(objective)}"
    gain = winner.gain
    if gain is None:
        return f"{text}; the defaults have no value to compare with"
    return f"{text}; {gain.value:+.1%} ({_interval(objective, gain)}) against {problem.default_words}"


def _of_what(objective: Objective) -> str:
    """The question that a known value answers."""
    asked = objective.is_known and objective.limits
    return f", the largest tried that kept {objective.limits_words}" if asked else ""


def _interval(objective: Objective, gain: Difference) -> str:
    return "exact" if objective.is_known else f"{gain.low:+.1%} to {gain.high:+.1%}"


def _banners(trial: Trial) -> list[Text]:
    """Where its numbers come from: a replayed trial may have been simulated when it was recorded."""
    origins = dict.fromkeys((trial.provenance.backend, "simulated" if trial.provenance.simulated else ""))
    return [Text(BANNERS[origin], "bold yellow") for origin in origins if origin in BANNERS]


def print_table(console: Console, one: BenchTable) -> None:
    """A table that is told in words, with its notes below."""
    table = Table(*one.columns, title=one.title, title_justify="left")
    for row in one.rows:
        table.add_row(*row)
    console.print(table, *one.notes, sep="\n", markup=False)


NARROW = 72
"""Columns below which a table of figures is told in blocks of lines."""


def print_listing(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """What ships, a row each: the name, figures, and in the last column words."""
    if console.width < NARROW:
        for name, *cells in rows:
            console.print(Text(name, "bold"))
            for column, cell in zip(columns[1:], cells, strict=True):
                console.print(Text(f"  {column} {cell}"), overflow="fold")
        return
    table = Table(columns[0])
    for column in columns[1:-1]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column(columns[-1], overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)

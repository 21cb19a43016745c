"""Numbers, axes and sentences as the page writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from planner.benchmark import Metric
from planner.engine import words_of
from planner.report.html.plots import Axis
from planner.study import Problem, Value
from planner.trials import ABOUT, Trial
from planner.units import format_count, format_ms


def sentence(words: str) -> str:
    """Words as the page writes them: a capital, a full stop, arrows; the digits of one number stay together."""
    text = re.sub(r"(?<=\d) (?=\d{3}\b)", "\N{NO-BREAK SPACE}", words.replace(" -> ", " → "))
    return f"{text[:1].upper()}{text[1:]}."


def metric_axis(name: str) -> Axis:
    metric = Metric.parse(name)
    if metric.is_latency:
        return Axis(name, format_ms)
    return Axis(f"{name}, {metric.unit}", (lambda value: f"{value:.4g}") if metric.is_rate else format_count)


def objective_axis(problem: Problem) -> Axis:
    metric = problem.objective.metric
    return Axis("score, points", lambda value: f"{value:.4g}") if metric is None else metric_axis(metric)


def time_unit(longest_s: float) -> tuple[str, float]:
    """Unit for a time axis up to `longest_s`, and its length in seconds."""
    units = (("hours", 3600.0), ("minutes", 60.0))
    return next(((name, unit_s) for name, unit_s in units if longest_s >= 2 * unit_s), ("seconds", 1.0))


def figures_of(values: dict[str, float], metrics: Sequence[str]) -> str:
    return ", ".join(f"{name} {Metric.parse(name).format(values[name])}" for name in metrics)


def marked_value(problem: Problem, trial: Trial) -> str:
    return mark(trial) + problem.objective.format(trial.value or 0.0)


def mark(trial: Trial) -> str:
    return "" if trial.stopped_at is None else ABOUT


def value_word(value: Value) -> str:
    return "default" if value is None else words_of(value)


def percent(value: float) -> str:
    return f"{value:+.1%}"


def short_percent(value: float) -> str:
    """A share in percent, for ticks."""
    return f"{100 * value:+.3g}%" if value else "0%"


def ratio(predicted: float, real: float) -> str:
    return f"{predicted / real:.2f}" if real else ""


def change(was: float | None, now: float) -> str:
    return "" if not was or not math.isfinite(now / was) else f"{now / was - 1:+.1%}"

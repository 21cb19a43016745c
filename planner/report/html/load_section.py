"""The section of the page that draws load against latency: `load_section(problem, trials) -> Section | None`."""

from __future__ import annotations

from collections.abc import Sequence

from planner.benchmark import Metric
from planner.report.html.labels import figures_of, metric_axis
from planner.report.html.page import PageFigure, Section, table
from planner.report.html.plots import PlotPoint, Series, scatter
from planner.report.load_curves import curve_metrics, load_curves
from planner.study import Problem
from planner.trials import Trial

RATE = "output_throughput"


def load_section(problem: Problem, trials: Sequence[Trial]) -> Section | None:
    """Throughput against each limited latency, for default and chosen trial; None where no load is sought."""
    curves, metrics = load_curves(problem, trials), curve_metrics(problem)
    if not any(curve.levels for curve in curves):
        return None
    unit = "requests/s" if problem.objective.by_rate else "in flight"
    rows = [
        (
            curve.name,
            f"{level.load:.3g}",
            *(Metric.parse(name).format(level.metrics[name]) if name in level.metrics else "" for name in metrics),
        )
        for curve in curves
        for level in curve.levels
    ]
    figures = []
    for limited, bound in problem.objective.limits.items():
        series = [
            Series(
                curve.name,
                [
                    PlotPoint(
                        level.metrics[RATE],
                        level.metrics[limited],
                        f"{curve.name}, {level.load:.3g} {unit}: {figures_of(level.metrics, (RATE, limited))}",
                    )
                    for level in curve.levels
                    if {RATE, limited} <= level.metrics.keys()
                ],
                has_line=True,
            )
            for curve in curves
        ]
        caption = f"{limited} against throughput, limit {Metric.parse(limited).format(bound)}"
        numbers = table(caption, ("trial", unit, *metrics), rows)
        figures.append(PageFigure(caption, scatter(caption, series, metric_axis(RATE), metric_axis(limited)), numbers))
    return Section("load", "Load against latency", figures=tuple(figures))

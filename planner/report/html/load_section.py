"""The section of the page that draws load against latency: `load_section(problem, trials) -> Section | None`."""

from __future__ import annotations

from collections.abc import Sequence

from planner.benchmark import Metric
from planner.report.html.labels import figures_of, metric_axis
from planner.report.html.page import PageFigure, Section, table
from planner.report.html.plots import PlotPoint, Series, scatter
from planner.report.load_curves import curve_metrics, further_curves, load_curves
from planner.study import Problem
from planner.trials import Trial

RATE = "output_throughput"
USUAL_LATENCIES = ("ttft_p95", "tpot_p95")


def load_section(problem: Problem, trials: Sequence[Trial]) -> Section | None:
    """Throughput against latencies, for default and chosen trial; None where only one load was sent.

    Drawn are the limited latencies, where none is limited USUAL_LATENCIES.
    """
    curves, by_rate = load_curves(problem, trials), problem.objective.by_rate
    if not any(curve.levels for curve in curves):
        curves, by_rate = further_curves(problem, trials), problem.workload.request_rate is not None
    if not curves:
        return None
    limited = [name for name in problem.objective.limits if Metric.parse(name).is_latency] or list(USUAL_LATENCIES)
    metrics = tuple(dict.fromkeys((*curve_metrics(problem), *limited)))
    unit = "requests/s" if by_rate else "in flight"
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
    for latency in limited:
        series = [
            Series(
                curve.name,
                [
                    PlotPoint(
                        level.metrics[RATE],
                        level.metrics[latency],
                        f"{curve.name}, {level.load:.3g} {unit}: {figures_of(level.metrics, (RATE, latency))}",
                    )
                    for level in curve.levels
                    if {RATE, latency} <= level.metrics.keys()
                ],
                has_line=True,
            )
            for curve in curves
        ]
        bound = problem.objective.limits.get(latency)
        limit = "" if bound is None else f", limit {Metric.parse(latency).format(bound)}"
        caption = f"{latency} against throughput{limit}"
        numbers = table(caption, ("trial", unit, *metrics), rows)
        figures.append(PageFigure(caption, scatter(caption, series, metric_axis(RATE), metric_axis(latency)), numbers))
    return Section("load", "Load against latency", figures=tuple(figures))

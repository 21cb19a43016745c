"""The sections that explain: what mattered, predictions against reality, how latencies spread."""

from __future__ import annotations

from collections.abc import Sequence

from planner.benchmark import LATENCIES
from planner.report.explanation import Effect, effects, explained
from planner.report.findings import PERCENTILES, distributions, memory_fits, memory_words, value_fits
from planner.report.html.labels import marked_value, objective_axis, ratio, sentence, short_percent, value_word
from planner.report.html.page import PageFigure, Section, Table, table
from planner.report.html.plots import Axis, PlotPoint, Series, bars, lines, scatter
from planner.study import Forecast, Problem
from planner.trials import Trial, searched
from planner.units import format_count, format_ms

NO_START_LOG = (
    "No launch told its memory: the embedded simulated engine has no start-up log. Real launches, and those of "
    "the simulated engine as a server, are compared here."
)


def effects_section(forecast: Forecast, trials: Sequence[Trial]) -> Section:
    problem = forecast.problem
    found = effects(forecast, searched(trials))
    metric = explained(problem.objective) or problem.objective.name
    words = (
        f"What each setting does to {metric}, averaged over all feasible values of the others, as the search's own "
        "model has learned it from all trials; predicted: the best and the worst value were not both launched."
    )
    if not found:
        return Section("effects", "What mattered", words=(words, "Nothing matters by 1 % or more."))
    caption = f"Effect of each setting on {metric}: best value over worst"
    numbers = table(
        f"Effect of each value on {metric}, over the setting's worst",
        ("setting", "effect", "values"),
        [
            (_named(e), f"{e.gain:+.1%}", "; ".join(f"{value_word(value)} {gain:+.1%}" for value, gain in e.levels))
            for e in found
        ],
        ("values",),
    )
    drawn = bars(
        caption,
        [
            (_named(e), e.gain, f"{_named(e)}: {value_word(e.worst)} to {value_word(e.best)}, {e.gain:+.1%}")
            for e in found
        ],
        Axis("best value over worst", short_percent),
    )
    return Section("effects", "What mattered", words=(words,), figures=(PageFigure(caption, drawn, numbers),))


def _named(effect: Effect) -> str:
    return effect.name if effect.is_launched else f"{effect.name} (predicted)"


def predictions_section(problem: Problem, trials: Sequence[Trial]) -> Section:
    objective, figures, words = problem.objective, [], []
    values = [] if objective.is_known else value_fits(trials)
    if values:
        numbers = table(
            f"Predicted and measured {objective.name}",
            ("trial", "predicted", "measured", "predicted / measured"),
            [(str(t.number), objective.format(p), marked_value(problem, t), ratio(p, real)) for t, p, real in values],
        )
        dots = [
            PlotPoint(p, real, f"trial {t.number}: {objective.format(p)}, {objective.format(real)}")
            for t, p, real in values
        ]
        figures.append(
            _against_reality(
                f"{objective.name}: predicted before launch, and measured", dots, objective_axis(problem), numbers
            )
        )
    fits = memory_fits(trials)
    if not fits:
        words.append(NO_START_LOG)
    else:
        words.append(sentence(memory_words(fits)))
        numbers = table(
            "Predicted and real KV cache of each start, tokens of one instance",
            ("trial", "predicted", "real", "error"),
            [
                (str(f.trial.number), format_count(f.predicted_tokens), format_count(f.real_tokens), f"{f.error:+.1%}")
                for f in fits
            ],
        )
        dots = [
            PlotPoint(
                f.predicted_tokens,
                f.real_tokens,
                f"trial {f.trial.number}: {format_count(f.predicted_tokens)}, {format_count(f.real_tokens)}",
            )
            for f in fits
        ]
        axis = Axis("tokens", format_count)
        figures.append(_against_reality("KV cache: predicted before launch, and as the log said", dots, axis, numbers))
    return Section("predictions", "Predicted against measured", words=tuple(words), figures=tuple(figures))


def _against_reality(caption: str, dots: Sequence[PlotPoint], axis: Axis, numbers: Table) -> PageFigure:
    ends = [min(min(d.x, d.y) for d in dots), max(max(d.x, d.y) for d in dots)]
    same = Series("as predicted", [PlotPoint(end, end) for end in ends], has_line=True, has_dots=False)
    unit = axis.title.rpartition(", ")[2]
    across, up = Axis(f"predicted, {unit}", axis.format), Axis(f"measured, {unit}", axis.format)
    return PageFigure(caption, scatter(caption, [Series("trials", dots), same], across, up), numbers)


def latencies_section(problem: Problem, trials: Sequence[Trial]) -> Section | None:
    found = distributions(problem, trials)
    if not found:
        return None

    def name(number: int, is_default: bool) -> str:
        return f"trial {number}{' (default)' if is_default else ''}"

    figures = []
    for latency in LATENCIES:
        kept = [(name(d.trial.number, d.is_default), d.percentiles[latency]) for d in found if latency in d.percentiles]
        if not kept:
            continue
        caption = f"{latency.upper()} at its percentiles"
        numbers = table(caption, ("trial", *PERCENTILES), [(who, *map(format_ms, values)) for who, values in kept])
        figures.append(
            PageFigure(caption, lines(caption, PERCENTILES, kept, Axis(latency.upper(), format_ms)), numbers)
        )
    words = (
        "Percentiles are what records keep of a distribution; each is the mean over the launches. "
        "TTFT: first token. TPOT: each further token. ITL: gap between chunks. E2EL: whole answer.",
    )
    return Section("latencies", "Latencies of the finalists", words=words, figures=tuple(figures))

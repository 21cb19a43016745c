"""The page of `planner watch`: `watch_parts(sight) -> WatchParts`, `rendered_watch(...) -> str`. All text is escaped.

The page is made whole once; then it asks for its parts again and puts in what has changed, so that the keyboard's place
and a screen reader's are kept. `watch.js` does that; nothing else in the page runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.report.findings import launches
from planner.report.html.labels import marked_value, objective_axis, percent
from planner.report.html.page import Log, PageFigure, Row, Section, Table, environment, table
from planner.report.html.plots import Axis, PlotPoint, Series, scatter
from planner.report.verdict import banners, gain_words
from planner.report.watch.sight import Sight
from planner.report.watch.state import CANNOT_SAY
from planner.trials import (
    Finals,
    Trial,
    default_trial,
    describe,
    gain,
    gain_interval,
    judge_finals,
    launch_noise,
    outcome_text,
)
from planner.units import format_duration, format_gib, format_ms

EVERY_S = 2
"""Seconds between two questions of the page for what is new."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure to see at a glance."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class WatchParts:
    title: str
    subtitle: str
    kind: str
    """The kind of the state, for its colour."""
    state: str
    at: str
    banners: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]


def rendered_watch(parts: WatchParts, nonce: str) -> str:
    """The whole page. `nonce`: a word that only this answer has, by which its policy knows the page's own script."""
    return environment().get_template("watch.html.jinja").render(parts=parts, nonce=nonce, every_s=EVERY_S)


def rendered_parts(parts: WatchParts) -> str:
    """Only what may change, for a page that is open."""
    return environment().get_template("watch_parts.html.jinja").render(parts=parts)


def watch_parts(sight: Sight) -> WatchParts:
    spec, problem = sight.problem.spec, sight.problem
    models = ", ".join(model.name for model in problem.models.values())
    found = [_now(sight), _progress(sight), _cards(sight), _log(sight), _session(sight), _trials(sight)]
    return WatchParts(
        title=spec.name,
        subtitle=f"{models} on {spec.hardware.num_gpus} x {problem.gpu.name}, vLLM {problem.version}: "
        f"{problem.objective.words}",
        kind=sight.state.kind,
        state=sight.state.words,
        at=f"{sight.at.astimezone():%H:%M:%S}",
        banners=tuple(banners(sight.trials)),
        tiles=tuple(_tiles(sight)),
        sections=tuple(section for section in found if section is not None),
    )


def _tiles(sight: Sight) -> list[Tile]:
    ahead = sight.ahead
    plan = Tile("Plan", CANNOT_SAY, "no tune wrote down its plan here") if ahead is None else Tile("Plan", ahead.words)
    tiles = [_best_tile(sight), _gain_tile(sight), _left_tile(sight), plan]
    if ahead is not None and not sight.state.is_over:
        value, _, note = ahead.left_words.partition("; ")
        tiles.append(Tile("Time left", value, note))
    return tiles


def _best_tile(sight: Sight) -> Tile:
    best, objective = sight.best, sight.problem.objective
    if best is None or best.value is None:
        return Tile("Best so far", "none yet", "no launch has kept every limit")
    if sight.band is None:
        return Tile("Best so far", objective.format(best.value), f"trial {best.number}")
    low, high = (objective.format(end) for end in sight.band)
    return Tile(
        "Best so far", objective.format(best.value), f"trial {best.number}; noise of one launch: {low} to {high}"
    )


def _gain_tile(sight: Sight) -> Tile:
    problem, best = sight.problem, sight.best
    finals = judge_finals(problem, sight.trials)
    if finals is not None and finals.winner is not None:
        return _final_tile(sight, finals)
    default = default_trial(problem, sight.trials)
    if best is None or default is None or not default.value or not best.value:
        return Tile("Over the defaults", CANNOT_SAY, "the default, or the best, has no value yet")
    if best.number == default.number:
        return Tile("Over the defaults", "nothing yet", "the engine's defaults are the best so far")
    return Tile("Over the defaults", percent(gain(problem, best, default)), "of the search; the finals decide")


def _final_tile(sight: Sight, finals: Finals) -> Tile:
    assert finals.winner is not None
    winner, sure = finals.winner, "" if finals.is_over else "; not sure yet"
    if finals.keeps_default or winner.gain is None:
        return Tile("Finals", f"trial {winner.trial.number}", f"no significant gain over the defaults{sure}")
    ends = gain_interval(sight.problem.objective, winner.gain)
    return Tile("Finals", f"{winner.gain.value:+.1%}", f"trial {winner.trial.number} over the defaults, {ends}{sure}")


def _left_tile(sight: Sight) -> Tile:
    left, name = sight.closer.left, "Left to gain"
    if left is None:
        return Tile(name, "reckoning", "what the best of all that is left would bring")
    if left.gain is None:
        return Tile(name, CANNOT_SAY, "too little is measured, or the sampler's model says nothing here")
    noise = launch_noise(sight.trials, sight.problem.spec.repeats)
    stop = "you can stop: " if left.is_little and not sight.state.is_over else ""
    return Tile(name, f"{left.gain:.1%}", f"{stop}the best of all that is left; noise of a launch {noise:.1%}")


def _now(sight: Sight) -> Section | None:
    if not sight.under_way:
        return None
    rows = []
    for launch in sight.under_way:
        session, stage = sight.session, ""
        if session is not None and session.trial == launch.number and session.stage:
            stage = session.stage + (f" {session.done} of {session.total}" if session.total else "")
        began = "" if launch.began is None else f"{launch.began:%H:%M:%S}"
        what = "search" if launch.rerun is None else f"trial {launch.rerun.of} again"
        rows.append((str(launch.number), what, stage or CANNOT_SAY, began, describe(sight.problem, launch.candidate)))
    shown = table(
        "Launches under way", ("trial", "for", "stage", "began", "settings"), rows, ("for", "stage", "settings")
    )
    return Section("now", "Under way", tables=(shown,))


def _progress(sight: Sight) -> Section | None:
    problem = sight.problem
    found = launches(problem, sight.trials)
    if not any(launch.value is not None for launch in found):
        return None
    dots, steps = [], list[PlotPoint]()
    for launch in found:
        if launch.value is not None:
            title = f"trial {launch.trial.number}: {problem.objective.format(launch.value)}"
            dots.append(PlotPoint(launch.count, launch.value, title))
        if launch.best is not None:
            steps += [PlotPoint(launch.count, steps[-1].y)] if steps else []
            steps.append(PlotPoint(launch.count, launch.best))
    series = [Series("launches", dots), Series("best so far", steps, has_line=True, has_dots=False)]
    if sight.band is not None:
        for name, end in zip(("noise, low end", "noise, high end"), sight.band, strict=True):
            ends = [PlotPoint(1, end), PlotPoint(max(2, len(found)), end)]
            series.append(Series(name, ends, has_line=True, has_dots=False))
    caption = "Launches, the best so far and the noise of one launch of the best"
    numbers = table(
        caption,
        ("launch", "trial", problem.objective.name, "best so far"),
        [
            (str(one.count), str(one.trial.number), *("" if v is None else problem.objective.format(v)
             for v in (one.value, one.best)))
            for one in found
        ],
    )  # fmt: skip
    drawn = scatter(caption, series, Axis("launches", lambda v: f"{v:.0f}"), objective_axis(problem))
    return Section("progress", "The best so far", figures=(PageFigure(caption, drawn, numbers),))


def _cards(sight: Sight) -> Section:
    readings = sight.closer.readings
    if readings is None:
        return Section("cards", "Cards of this machine", words=("Not read yet.",))
    if not readings.cards:
        why = readings.error or "the driver sees none"
        return Section("cards", "Cards of this machine", words=(f"{CANNOT_SAY.capitalize()}: {why}.",))

    def told(value: float | None, words: str) -> str:
        return CANNOT_SAY if value is None else words.format(value)

    rows = []
    for card in readings.cards:
        memory = CANNOT_SAY
        if card.used_bytes is not None and card.total_bytes is not None:
            memory = f"{format_gib(card.used_bytes)} of {format_gib(card.total_bytes)}"
        limit = "" if card.power_limit_w is None else f" of {card.power_limit_w:.0f} W"
        power, temperature = told(card.power_w, "{:.0f} W") + limit, told(card.temperature_c, "{} °C")
        busy = CANNOT_SAY if card.busy is None else f"{card.busy:.0%}"
        rows.append((str(card.index), card.name, memory, power, temperature, busy))
    shown = table("Cards now", ("card", "name", "memory used", "power", "temperature", "busy"), rows, ("name",))
    return Section("cards", "Cards of this machine", tables=(shown,))


def _log(sight: Sight) -> Section:
    closer = sight.closer
    if not closer.logs:
        return Section("log", "The engine's last lines", words=(f"{CANNOT_SAY.capitalize()}: {closer.log_words}.",))
    logs = tuple(Log(f"Trial {closer.log_of}, {one.name}", one.text, is_open=True) for one in closer.logs)
    return Section("log", "The engine's last lines", logs=logs)


def _session(sight: Sight) -> Section | None:
    if sight.session is None or not sight.session.lines:
        return None
    return Section("session", "What tune said last", logs=(Log("Lines", "\n".join(sight.session.lines), is_open=True),))


def _trials(sight: Sight) -> Section:
    problem, default, best = sight.problem, default_trial(sight.problem, sight.trials), sight.best
    columns = ("trial", problem.objective.name, "vs default", "TTFT p50", "TPOT p50", "took", "outcome", "settings")
    rows = tuple(
        Row(_cells(sight, trial, default), "best" if trial is best else "" if trial.is_acceptable else "weak")
        for trial in reversed(sight.trials)
    )
    shown = Table("Trials, the latest first", columns, rows, frozenset({"outcome", "settings"}))
    return Section("trials", "Trials", tables=(shown,))


def _cells(sight: Sight, trial: Trial, default: Trial | None) -> tuple[str, ...]:
    problem, again = sight.problem, trial.rerun
    latencies = (format_ms(trial.metrics[n]) if n in trial.metrics else "" for n in ("ttft_p50", "tpot_p50"))
    took_s = trial.start_s + trial.benchmark_s
    return (
        str(trial.number) if again is None else f"{trial.number} ({again.of} again)",
        "" if trial.value is None else marked_value(problem, trial),
        gain_words(problem, trial, default) if again is None else "",
        *latencies,
        format_duration(took_s) if took_s else "",
        "measured" if trial.is_acceptable else outcome_text(problem, trial),
        describe(problem, trial.candidate),
    )

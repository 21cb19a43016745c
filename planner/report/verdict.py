"""A study's answer in words: the sentence, its reasons, where its numbers come from; for the terminal and the page.

In: a problem's forecast and its trials. Out: `Verdict`, and words for a candidate or a trial. Knows no colours and no
tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.engine import words_of
from planner.report.explanation import effects, explained, limit_of, model_fit
from planner.study import Forecast, Objective, Problem, Value
from planner.trials import (
    BANNERS,
    Finals,
    Trial,
    alike_words,
    answer_of,
    flag_of,
    gain,
    hosts_words,
    other_loads_words,
    price_words,
    quality_words,
    risk_words,
    searched,
)

MOST_EFFECTS = 4
UNSURE = "the finals are not over: further rounds would make this surer; the same command with more hours runs them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    sentence: str
    trial: Trial | None
    """The trial that the sentence is about; None if no trial kept every limit."""
    finals: Finals | None
    """The finals; None while they are not over."""
    against: str | None = None
    """How the default did, if the sentence does not say."""
    reasons: tuple[str, ...] = ()
    answers: str | None = None
    """Whether the trial's answers are the default's, in words; None if nothing is known."""


def judged(forecast: Forecast, trials: Sequence[Trial]) -> Verdict:
    """Judge the best against the engine's defaults, with the reasons for it."""
    problem = forecast.problem
    answer = answer_of(problem, trials)
    if answer.trial is None:
        return Verdict(sentence=answer.sentence, trial=None, finals=answer.finals)
    return Verdict(
        sentence=answer.sentence,
        trial=answer.trial,
        finals=answer.finals,
        against=answer.against,
        reasons=(
            *filter(None, _beside(forecast, trials, answer.trial)),
            *_equals(problem.objective, answer.finals),
            *([] if answer.finals is None or answer.finals.is_over else [UNSURE]),
            *_reasons(forecast, trials, answer.trial),
            *hosts_words(problem, trials),
        ),
        answers=quality_words(problem, answer.trial),
    )


def _beside(forecast: Forecast, trials: Sequence[Trial], winner: Trial) -> tuple[str | None, ...]:
    """What the gain costs, what the estimate doubts, and what is as good."""
    problem = forecast.problem
    return (
        price_words(problem, trials, winner),
        other_loads_words(problem, trials, winner),
        risk_words(problem, winner, forecast.calibrations),
        alike_words(problem, trials, winner),
    )


def _equals(objective: Objective, finals: Finals | None) -> tuple[str, ...]:
    """Why a finalist with a better figure is not the one to deploy."""
    if finals is None or finals.winner is None or finals.keeps_default:
        return ()
    figure = {f.trial.number: objective.sign * f.value for f in finals.finalists if f.is_acceptable}
    best = max(figure, key=lambda number: figure[number])
    if figure[best] <= figure[finals.winner.trial.number]:
        return ()
    return (
        f"trial {best} measured better, but not surely: of equals the one that changes the fewest settings is deployed",
    )


def _reasons(forecast: Forecast, trials: Sequence[Trial], winner: Trial) -> tuple[str, ...]:
    """What mattered, what limits the winner, and how accurate the speed model was."""
    problem = forecast.problem
    found = effects(forecast, searched(trials))[:MOST_EFFECTS]
    told = {
        is_launched: "; ".join(
            f"{flag_of(e.name)} {_setting(e.worst)} -> {_setting(e.best)}: {e.gain:+.0%}"
            for e in found
            if e.is_launched == is_launched
        )
        for is_launched in (True, False)
    }
    what = f" for {metric}" if (metric := explained(problem.objective)) else ""
    lines = [f"what mattered{what} (worst to best value, on average): {told[True] or 'nothing by 1 % or more'}"]
    if told[False]:
        lines.append(f"predicted, not launched on both sides: {told[False]}")
    if not problem.objective.seeks_load:  # else it is what the limits leave, and not the study's own load
        lines.append(f"bottleneck: {limit_of(forecast, winner.candidate)}")
    fit = None if problem.objective.is_known else model_fit(searched(trials))
    if fit is not None:
        rank = "" if math.isnan(fit.tau) else f", rank correlation {fit.tau:.2f}"
        lines.append(f"speed model: {fit.error:.0%} off before any launch (median of {fit.count} trials){rank}")
    return tuple(lines)


def _setting(value: Value) -> str:
    return "default" if value is None else words_of(value)


def banners(trials: Sequence[Trial]) -> list[str]:
    """Banners on where the numbers come from: a replayed trial may have been simulated when it was recorded."""
    origins = [
        origin
        for trial in trials
        for origin in (trial.provenance.backend, "simulated" if trial.provenance.simulated else "")
    ]
    return [BANNERS[origin] for origin in dict.fromkeys(origins) if origin in BANNERS]


def gain_words(problem: Problem, trial: Trial, default: Trial | None) -> str:
    """Gain of a trial of the search over the default, as `+12.5%`; empty if there is nothing to compare."""
    if default is None or default.value is None or trial.value is None or trial.number == default.number:
        return ""
    return f"{gain(problem, trial, default):+.1%}"

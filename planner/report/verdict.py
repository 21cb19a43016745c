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
from planner.statistics import Difference
from planner.study import Forecast, Objective, Problem, Value
from planner.trials import (
    BANNERS,
    Finalist,
    Finals,
    Trial,
    alike_words,
    all_metrics,
    best_trial,
    default_trial,
    flag_of,
    gain,
    hosts_words,
    judge_finals,
    other_loads_words,
    outcome_text,
    price_words,
    quality_words,
    risk_words,
    searched,
)

MOST_EFFECTS = 4
NONE_KEPT = "no trial kept every limit; see the reasons in the table"
NONE_KEPT_AGAIN = "no finalist kept every limit again: more trials may find one, or the limits leave no room"

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
    """Judge the best against the engine's defaults: by the finals if they are over, else by the search."""
    problem = forecast.problem
    finals = judge_finals(problem, trials)
    if finals is not None and finals.winner is None:
        return Verdict(sentence=NONE_KEPT_AGAIN, trial=None, finals=finals)
    if finals is not None and finals.winner is not None:
        winner = finals.winner.trial
        sentence, against = _of_finals(problem, finals, finals.winner), None
    else:
        best = best_trial(problem, trials)
        if best is None or best.value is None:
            return Verdict(sentence=NONE_KEPT, trial=None, finals=None)
        winner = best
        figures = problem.objective.figures(best.value, all_metrics(problem, best))
        sentence = f"best: trial {best.number}, {figures}{_of_what(problem.objective)}"
        against = _against(problem, best, default_trial(problem, trials))
    return Verdict(
        sentence=sentence,
        trial=winner,
        finals=finals,
        against=against,
        reasons=(
            *filter(None, _beside(forecast, trials, winner)),
            *_equals(problem.objective, finals),
            *([] if finals is None or finals.is_over else [UNSURE]),
            *_reasons(forecast, trials, winner),
            *hosts_words(problem, trials),
        ),
        answers=quality_words(problem, winner),
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


def _against(problem: Problem, best: Trial, default: Trial | None) -> str:
    if default is None or default.value is None:
        return f"{problem.default_words}: {outcome_text(problem, default) if default else 'not tried'}"
    if default.number == best.number:
        return f"{_defaults(problem)} are the best that was measured: keep them"
    text = f"{problem.default_words}: {problem.objective.format(default.value)}"
    text = f"{text}; the best is {gain(problem, best, default):+.1%}"
    return f"{text} (as seen in the search, not measured again)"


def _defaults(problem: Problem) -> str:
    """What is kept where nothing is better, in words."""
    words = "the baseline's settings" if problem.has_baseline else "the engine's defaults"
    return words if problem.default_is_engines else f"the settings nearest to {words}"


def _of_finals(problem: Problem, finals: Finals, winner: Finalist) -> str:
    """The study's answer in one sentence."""
    objective = problem.objective
    if finals.keeps_default:
        near = _defaults(problem)
        gain_words = f"no larger {objective.name} kept the limits" if objective.is_known else "no significant gain"
        keep = f"{gain_words} over {near}: keep them"
        rivals = [(f.gain.value, f.trial.number, f.gain) for f in finals.finalists if f.is_acceptable and f.gain]
        if objective.is_known or not rivals:
            return keep
        _, number, best = max(rivals, key=lambda rival: objective.sign * rival[0])
        return f"{keep}; trial {number} shows {best.value:+.1%} ({interval(objective, best)})"
    figures = objective.figures(winner.value, {**winner.metrics, **problem.known(winner.trial.candidate)})
    text = f"deploy trial {winner.trial.number}: {figures}{_of_what(objective)}"
    gain = winner.gain
    if gain is None:
        return f"{text}; the defaults have no value to compare with"
    if objective.seeks_load:
        text = f"{text} against {objective.format(finals.finalists[0].value)} with {problem.default_words}"
        return f"{text}, {gain.value:+.1%} ({interval(objective, gain)})"
    return f"{text}; {gain.value:+.1%} ({interval(objective, gain)}) against {problem.default_words}"


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


def _of_what(objective: Objective) -> str:
    """What a value means of which the limits are a part: the largest tried that kept them, or the most load in them."""
    if objective.seeks_load:
        return f" inside {objective.limits_words}"
    asked = objective.is_known and objective.limits
    return f", the largest tried that kept {objective.limits_words}" if asked else ""


def interval(objective: Objective, gain: Difference) -> str:
    return "exact" if objective.is_known else f"{gain.low:+.1%} to {gain.high:+.1%}"


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

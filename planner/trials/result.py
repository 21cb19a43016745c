"""A study's answer: one sentence, and the few lines that a person needs to act on it; for terminal, page and scripts.

In: a problem and its trials. Out: `StudyAnswer` and `result_lines`. Knows no colours, tables or files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.engine import settings
from planner.estimate import Calibrations
from planner.statistics import Difference
from planner.study import LAYOUT, PARALLEL_SIZES, Objective, Problem
from planner.trials.beside import alike_words, other_loads_words, price_words, risk_words
from planner.trials.finals import Finalist, Finals, changed_settings, judge_finals
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial, all_metrics, default_trial, gain
from planner.trials.wording import flags_of, flags_words, outcome_text

NONE_KEPT = "no trial kept every limit; see the reasons in the table"
NONE_KEPT_AGAIN = "no finalist kept every limit again: more trials may find one, or the limits leave no room"
NOTHING_ALIKE = "as good: no other trial is within the noise of it"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyAnswer:
    """The trial to deploy and the sentence on it."""

    sentence: str
    trial: Trial | None
    """The trial that the sentence is about; None if no trial kept every limit."""
    finals: Finals | None
    """The finals; None while they are not over."""
    against: str | None = None
    """How the default did, if the sentence does not say."""

    @property
    def words(self) -> str:
        """Sentence and default on one line."""
        return "; ".join(filter(None, (self.sentence, self.against)))


def answer_of(problem: Problem, trials: Sequence[Trial]) -> StudyAnswer:
    """Judge the best against the engine's defaults: by the finals if they are over, else by the search."""
    finals = judge_finals(problem, trials)
    if finals is not None:
        if finals.winner is None:
            return StudyAnswer(sentence=NONE_KEPT_AGAIN, trial=None, finals=finals)
        sentence = _of_finals(problem, finals, finals.winner)
        return StudyAnswer(sentence=sentence, trial=finals.winner.trial, finals=finals)
    best = best_trial(problem, trials)
    if best is None or best.value is None:
        return StudyAnswer(sentence=NONE_KEPT, trial=None, finals=None)
    figures = problem.objective.figures(best.value, all_metrics(problem, best))
    sentence = f"best: trial {best.number}, {figures}{_of_what(problem.objective)}"
    against = _against(problem, best, default_trial(problem, trials))
    return StudyAnswer(sentence=sentence, trial=best, finals=None, against=against)


def result_lines(
    problem: Problem, trials: Sequence[Trial], command: str, calibrations: Calibrations | None = None
) -> tuple[str, ...]:
    """The result in five lines: gain, price, flags, command, what is as good; a risk is a line below the gain.

    `command`: what starts the service of the trial to deploy. One line where nothing is to be deployed.
    """
    answer = answer_of(problem, trials)
    if answer.trial is None:
        return (answer.sentence,)
    price = (price_words(problem, trials, answer.trial), other_loads_words(problem, trials, answer.trial))
    return tuple(
        filter(
            None,
            (
                answer.words,
                risk_words(problem, answer.trial, calibrations),
                "; ".join(filter(None, price)),
                changed_words(problem, answer.trial),
                f"run: {command}",
                None if problem.objective.is_known else alike_words(problem, trials, answer.trial) or NOTHING_ALIKE,
            ),
        )
    )


def changed_words(problem: Problem, trial: Trial) -> str:
    """`flags: --max-num-seqs 64; of the study: --max-model-len 24576`: all that differs from the engine's defaults."""
    candidate, changed = trial.candidate, changed_settings(problem, trial)
    found = flags_of(problem, candidate, changed)
    fixed = {name: value for name, value in settings(candidate.engine).items() if name not in problem.choices.names}
    for name in PARALLEL_SIZES:
        if LAYOUT in changed or fixed.get(name) == 1:
            fixed.pop(name, None)
    own = f"; of the study: {flags_words(problem, fixed)}" if fixed else ""
    return f"flags: {found or 'none, the defaults are kept'}{own}"


def export_command(problem: Problem, trial: Trial, where: str = "") -> str:
    """What a person types to start the service of a trial; `where`: the study's folder and options of its trials."""
    kind, file = ("", "run.sh") if problem.spec.container is not None else (" --kind serve", "serve.sh")
    study = f" {where}" if where else ""
    return f"planner export{study} --trial {trial.number}{kind} -o {file} && bash {file}"


def gain_interval(objective: Objective, gain: Difference) -> str:
    """`+2.5% to +11.6%`: the 95 % interval of a gain."""
    return "exact" if objective.is_known else f"{gain.low:+.1%} to {gain.high:+.1%}"


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
        return f"{keep}; trial {number} shows {best.value:+.1%} ({gain_interval(objective, best)})"
    figures = objective.figures(winner.value, {**winner.metrics, **problem.known(winner.trial.candidate)})
    text = f"deploy trial {winner.trial.number}: {figures}{_of_what(objective)}"
    gain = winner.gain
    if gain is None:
        return f"{text}; the defaults have no value to compare with"
    if objective.seeks_load:
        text = f"{text} against {objective.format(finals.finalists[0].value)} with {problem.default_words}"
        return f"{text}, {gain.value:+.1%} ({gain_interval(objective, gain)})"
    return f"{text}; {gain.value:+.1%} ({gain_interval(objective, gain)}) against {problem.default_words}"


def _of_what(objective: Objective) -> str:
    """What a value means of which the limits are a part: the largest tried that kept them, or the most load in them."""
    if objective.seeks_load:
        return f" inside {objective.limits_words}"
    asked = objective.is_known and objective.limits
    return f", the largest tried that kept {objective.limits_words}" if asked else ""

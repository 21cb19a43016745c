"""What to say where trials answer another question than they were measured for, and which launches it would take.

In: a problem and its trials, judged for its question. Out: sentences; none if every trial was measured for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.benchmark import MAX_MODEL_LEN
from planner.study import Problem
from planner.trials import Trial, answers, competes, heats, other_questions, searched

MOST_NAMED = 6
"""Most trials that one line names."""


def asked_anew(problem: Problem, trials: Sequence[Trial]) -> list[str]:
    """Lines on trials of other questions: what they were measured for, what they cannot answer, what is to launch."""
    others = other_questions(problem, trials)
    if not others:
        return []
    lines = [f"judged for {problem.objective.question}; trials were measured for {' and for '.join(others)}"]
    if silent := [trial for trial in searched(trials) if not answers(problem, trial)]:
        lines.append(
            f"measured at loads that do not say {problem.objective.name}: {_names(silent)}; {_launches(len(silent))} "
            "would tell (planner tune with this objective)"
        )
    compared = [trial for trial in searched(trials) if answers(problem, trial)]
    if given_up := [trial for trial in compared if not competes(problem, trial)]:
        lines.append(
            f"given up early for what was asked then, so not compared: {_names(given_up)}; "
            f"{_launches(len(given_up))} would tell (planner tune with these limits)"
        )
    for name in problem.objective.limits:
        if lacking := [trial for trial in compared if _lacks(trial, name)]:
            lines.append(f"{name} was not measured in {_names(lacking)}; {_launches(len(lacking))} would tell")
    if again := heats(problem, trials):
        numbers = sorted({heat.trial.number for heat in again})
        lines.append(
            f"finals for this question: {_launches(len(again))} of trials {', '.join(map(str, numbers))} are left "
            "(planner tune with these limits)"
        )
    return lines


def _lacks(trial: Trial, metric: str) -> bool:
    return trial.outcome == "measured" and metric not in {*trial.metrics, MAX_MODEL_LEN}


def _launches(count: int) -> str:
    return f"{count} launch{'es' if count > 1 else ''}"


def _names(trials: Sequence[Trial]) -> str:
    named = ", ".join(str(trial.number) for trial in trials[:MOST_NAMED])
    more = f" and {len(trials) - MOST_NAMED} more" if len(trials) > MOST_NAMED else ""
    return f"trial{'s' if len(trials) > 1 else ''} {named}{more}"

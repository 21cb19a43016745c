"""JSON documents about a study: `summary(problem, trials)`, `plan_document(forecast)`. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from planner.report.plan import expected_words, infeasible_words, left_out_lines, nothing_words, plan_notes
from planner.report.questions import asked_anew
from planner.statistics import Difference
from planner.study import Forecast, Problem, tied_at_top
from planner.trials import (
    Trial,
    alike_words,
    all_metrics,
    chosen_trial,
    default_trial,
    engine_time,
    judge_finals,
    measured_again,
    neighbours,
    num_launched,
    price_words,
    risk_words,
    searched,
    speeds_by_host,
)


def plan_document(forecast: Forecast, backend: str = "") -> dict[str, Any]:
    """The searched settings, how many combinations each rule removes, and why nothing can start if nothing can."""
    problem, grid = forecast.problem, forecast.grid
    feasible, total = len(grid.feasible_rows), len(grid.indices)
    return {
        "study": problem.spec.name,
        "deployment": problem.spec.deployment_words,
        "searched": dict(problem.choices.searched),
        "left_out": list(problem.left_out),
        "notes": [*left_out_lines(problem), *plan_notes(problem, backend)],
        "objective": problem.objective.words,
        "limits": dict(problem.objective.limits),
        "expected": expected_words(forecast),
        "candidates": total,
        "feasible": feasible,
        "infeasible": total - feasible,
        "differing": forecast.classes.count,
        "tied_at_top": tied_at_top(forecast),
        "infeasible_by_rule": dict(grid.removed_by()),
        "nothing_to_launch": infeasible_words(forecast),
    }


def summary(problem: Problem, trials: Sequence[Trial]) -> dict[str, Any]:
    """The trial to deploy, the default, and how sure the difference is."""
    chosen, default, finals = (
        chosen_trial(problem, trials),
        default_trial(problem, trials),
        judge_finals(problem, trials),
    )
    finalists = {} if finals is None else {finalist.trial.number: finalist for finalist in finals.finalists}
    winner = None if chosen is None else finalists.get(chosen.number)
    gain = None if winner is None or winner.gain is None else winner.gain
    return {
        "study": problem.spec.name,
        "objective": problem.objective.words,
        "limits": dict(problem.objective.limits),
        "asked_anew": asked_anew(problem, trials),
        "simulated": any(trial.provenance.simulated for trial in trials),
        "launches": num_launched(searched(trials)),
        "engine_s": asdict(engine_time(trials)),
        "measured_again": finals is not None,
        "finals_over": finals is not None and finals.is_over,
        "deploy": None if chosen is None else _brief(problem, trials, chosen),
        "nothing_to_deploy": nothing_words(Forecast(problem), trials),
        "default": None if default is None else _brief(problem, trials, default),
        "keeps_default": chosen is not None and default is not None and chosen.number == default.number,
        **_hosts(problem, trials),
        "gain": None if gain is None else _shares(gain),
        "price": None if chosen is None else price_words(problem, trials, chosen),
        "at_risk": None if chosen is None else risk_words(problem, chosen),
        "as_good": None if chosen is None else alike_words(problem, trials, chosen),
        "finals": [
            {"trial": number, "values": list(finalist.values), "kept_limits": finalist.is_acceptable}
            for number, finalist in finalists.items()
        ],
    }


def _hosts(problem: Problem, trials: Sequence[Trial]) -> dict[str, Any]:
    """Speeds of the hosts and effect of neighbours, if the study ran on several hosts; else empty."""
    speeds, beside = speeds_by_host(problem, trials), neighbours(problem, trials)
    found: dict[str, Any] = {}
    if speeds:
        found["hosts"] = [{"host": one.host, "speed": one.speed, "default": _shares(one.measured)} for one in speeds]
    if beside is not None:
        change = None if beside.change is None else _shares(beside.change)
        found["neighbours"] = {"host": beside.host, "trials": beside.count, "change": change, "disturb": beside.disturb}
    return found


def _shares(difference: Difference) -> dict[str, float]:
    return {"value": difference.value, "low": difference.low, "high": difference.high}


def _brief(problem: Problem, trials: Sequence[Trial], trial: Trial) -> dict[str, Any]:
    """A trial with the figures of the finals if it was in them, and with those of the search under their own names."""
    again = measured_again(problem, trials, trial)
    values = {name: problem.choices.value_of(trial.candidate, name) for name in problem.choices.names}
    return {
        "trial": trial.number,
        "outcome": trial.outcome,
        "value": again.value,
        "value_in_search": trial.value,
        "settings": {name: value for name, value in values.items() if value is not None},
        "metrics": all_metrics(problem, again) if trial.outcome == "measured" else {},
        "metrics_in_search": all_metrics(problem, trial) if trial.outcome == "measured" else {},
    }

"""What to say of a plan beside its figures: doubts, what is left out, and why nothing can be deployed.

In: a problem, and its trials if there are any. Out: sentences. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.constraints import Constraint
from planner.engine import version_doubt
from planner.launch import downloads_words
from planner.study import IN_FILE, MODEL, Forecast, Places, Problem, layouts_left_out, tied_at_top, way_out
from planner.trials import Trial, chosen_trial, describe, outcome_text, searched
from planner.tuning import expected_most, expected_of_limits
from planner.units import format_count

MANY = 10
"""Excess over a limit, as a share of it, from which on it is said as a multiple."""


def left_out_lines(problem: Problem) -> list[str]:
    """What the search space names and no candidate can have."""
    words, num_gpus = [], problem.spec.hardware.num_gpus
    if problem.left_out:
        words.append(f"{', '.join(problem.left_out)}: vLLM {problem.version} does not know them")
    words += problem.impossible
    if larger := layouts_left_out(problem.space, num_gpus):
        words.append(f"layout {', '.join(larger)}: needs more than {num_gpus} card{'s' if num_gpus > 1 else ''}")
    return words


def plan_notes(problem: Problem, backend: str = "") -> list[str]:
    """Doubts that a person should know before a launch; `backend` is empty where nothing is launched."""
    downloads = downloads_words(problem.spec) if backend == "docker" else None
    found = [words for words in (version_doubt(problem.version), downloads) if words is not None]
    return [*found, *unmodelled_words(problem), *_unused_words(problem)]


def _unused_words(problem: Problem) -> list[str]:
    """What the study says and a search for the most load does not use."""
    if not problem.objective.seeks_load:
        return []
    words, workload = [], problem.workload
    if problem.spec.repeats > 1:
        words.append(f"repeats {problem.spec.repeats}: not used, as each launch sends several levels of load")
    if workload.replay:
        words.append("workload.replay: not used; requests are sent at the level that is tried, not when they arrived")
    if workload.ramp or workload.start_rate is not None:
        words.append(f"workload.{'ramp' if workload.ramp else 'start_rate'}: not used; each level begins at once")
    return words


def unmodelled_words(problem: Problem) -> list[str]:
    """The flags of any candidate that move memory in a way that is not modelled, a line for each reason."""
    choices = problem.choices
    varied = [{name: value} for name in (MODEL, "speculative_config") for value in choices.searched.get(name, [])]
    candidates = [problem.default, *(choices.candidate(params) for params in varied)]
    return [one.words for one in dict.fromkeys(one for each in candidates for one in problem.doubts(each))]


def differing_words(forecast: Forecast) -> str:
    """How many feasible combinations differ under the load, and how many of these the speed model calls the best."""
    count, tied = forecast.classes.count, tied_at_top(forecast)
    top = f"{format_count(tied)} tied at the top" if tied > 1 else "one of them at the top"
    return f"{format_count(count)} under this load, {top} by the speed model"


def expected_words(forecast: Forecast) -> str | None:
    """What the speed model expects of the study's limits before any launch; None without limits."""
    objective = forecast.problem.objective
    expected = None if objective.by_rate else expected_of_limits(forecast)
    most = expected_most(forecast)
    words = "; ".join(filter(None, (None if expected is None else expected.words, most)))
    return f"{words} (by the speed model, before any launch)" if words else None


def infeasible_words(forecast: Forecast, places: Places = IN_FILE) -> str | None:
    """Why no combination of the search space can be launched, and what would start; None if one can."""
    if len(forecast.grid.feasible_rows):
        return None
    violated = forecast.check(forecast.problem.default)
    reason = violated[0].message.rstrip(".") if violated else ", ".join(forecast.grid.removed_by())
    found = way_out(forecast, places)
    mended = f"what would start: {found}" if found else "planner estimate says what each setting needs"
    return f"no combination can start: {reason}; {mended}"


def nothing_words(forecast: Forecast, trials: Sequence[Trial], places: Places = IN_FILE) -> str | None:
    """Why a study ends with nothing to deploy, and a way out; None if there is a trial to deploy."""
    problem = forecast.problem
    if chosen_trial(problem, trials) is not None:
        return None
    measured = [trial for trial in searched(trials) if trial.outcome == "measured"]
    if not measured:
        if (words := infeasible_words(forecast, places)) is not None:
            return words
        reasons = [outcome_text(problem, trial) for trial in searched(trials)][:1]
        return f"no trial could be measured{': ' + reasons[0] if reasons else ''}; planner log explains an engine's log"
    nearest = min(measured, key=lambda trial: sum(max(0.0, one.excess) for one in _worst(trials, trial).values()))
    way_out = (
        "loosen that limit" if problem.objective.seeks_load else "loosen that limit, or lower the load (--concurrency)"
    )
    broken = ", ".join(f"{one.message}, {_missed(one)}" for one in _worst(trials, nearest).values() if one.excess > 0)
    return (
        f"no trial kept every limit; the nearest is trial {nearest.number} ({describe(problem, nearest.candidate)}): "
        f"{broken or 'not measured again in the finals'}; {way_out}"
    )


def _missed(limit: Constraint) -> str:
    """By how much a limit is missed, as a share of it or as a multiple."""
    return f"missed by {limit.excess:.0%}" if limit.excess < MANY else f"{format_count(1 + limit.excess)} times as much"


def _worst(trials: Sequence[Trial], trial: Trial) -> dict[str, Constraint]:
    """Each limit of a trial as its worst launch kept or broke it, those of the finals included."""
    launches = [trial, *(each for each in trials if each.rerun is not None and each.rerun.of == trial.number)]
    found = sorted((one for each in launches for one in each.constraints), key=lambda one: one.excess)
    return {one.name: one for one in found}

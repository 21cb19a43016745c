"""What to say of a plan beside its figures: doubts, what is left out, and why nothing can be deployed.

In: a problem, and its trials if there are any. Out: sentences. Prints nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.engine import version_doubt
from planner.estimate import nearest_fixes
from planner.launch import downloads_words
from planner.study import Forecast, Problem, layouts_left_out, setup_of_default, tied_at_top
from planner.trials import Trial, chosen_trial, outcome_text, searched
from planner.units import format_count


def left_out_lines(problem: Problem) -> list[str]:
    """What the search space names and no candidate can have."""
    words, num_gpus = [], problem.spec.hardware.num_gpus
    if problem.left_out:
        words.append(f"{', '.join(problem.left_out)}: vLLM {problem.version} does not know them")
    if larger := layouts_left_out(problem.space, num_gpus):
        words.append(f"layout {', '.join(larger)}: needs more than {num_gpus} card{'s' if num_gpus > 1 else ''}")
    return words


def plan_notes(problem: Problem, backend: str = "") -> list[str]:
    """Doubts that a person should know before a launch; `backend` is empty where nothing is launched."""
    downloads = downloads_words(problem.spec) if backend == "docker" else None
    return [words for words in (version_doubt(problem.version), downloads) if words is not None]


def differing_words(forecast: Forecast) -> str:
    """How many feasible combinations differ under the load, and how many of these the speed model calls the best."""
    count, tied = forecast.classes.count, tied_at_top(forecast)
    top = f"{format_count(tied)} tied at the top" if tied > 1 else "one of them at the top"
    return f"{format_count(count)} under this load, {top} by the speed model"


def infeasible_words(forecast: Forecast) -> str | None:
    """Why no combination of the search space can be launched, and what would start; None if one can."""
    if len(forecast.grid.feasible_rows):
        return None
    violated = forecast.check(forecast.problem.default)
    reason = violated[0].message.rstrip(".") if violated else ", ".join(forecast.grid.removed_by())
    setup = setup_of_default(forecast)
    fixes = [fix.text for fix in nearest_fixes(setup, setup.answer()) if fix.makes_it_start]
    way_out = f"what would start: {fixes[0]}" if fixes else "planner estimate says what each setting needs"
    return f"no combination can start: {reason}; {way_out}"


def nothing_words(forecast: Forecast, trials: Sequence[Trial]) -> str | None:
    """Why a study ends with nothing to deploy, and a way out; None if there is a trial to deploy."""
    problem = forecast.problem
    if chosen_trial(problem, trials) is not None:
        return None
    measured = [trial for trial in searched(trials) if trial.outcome == "measured"]
    if not measured:
        if (words := infeasible_words(forecast)) is not None:
            return words
        reasons = [outcome_text(problem, trial) for trial in searched(trials)][:1]
        return f"no trial could be measured{': ' + reasons[0] if reasons else ''}; planner log explains an engine's log"
    nearest = min(measured, key=lambda trial: sum(max(0.0, one.excess) for one in trial.constraints))
    broken = ", ".join(one.message for one in nearest.constraints if one.excess > 0) or "not in the finals"
    return (
        f"no trial kept every limit; the nearest is trial {nearest.number}: {broken}; "
        "loosen that limit, or lower the load"
    )

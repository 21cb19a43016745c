"""What a study deploys when its search has ended: `deployed(forecast, trials, measure)` runs the finals that follow.

In: a search's trials and the measure that gave them. Out: the candidate that the product would deploy. A search says
which launches look best, by one noisy number each; the finals launch the best again, so an early end is judged by what
they make of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.study import Candidate, Forecast
from planner.trials import Trial, heats
from planner.trials.finals import chosen_trial
from planner.tuning.evaluation import evaluate, provenance_of
from planner.tuning.measure import Measure
from planner.tuning.replay import BACKEND

FIRST_NUMBER = 1000
"""Number of the first launch of the finals, beyond those of the search: noise goes by the number."""


def deployed(forecast: Forecast, trials: Sequence[Trial], measure: Measure) -> Candidate | None:
    """The candidate to deploy after a search of these trials and the finals; None where no launch kept every limit."""
    problem, every = forecast.problem, list(trials)
    provenance = provenance_of(problem, BACKEND)
    while to_do := heats(problem, every):
        for heat in to_do:
            number = FIRST_NUMBER + len(every)
            candidate, repeats, rerun = heat.trial.candidate, heat.repeats, heat.rerun
            every.append(evaluate(forecast, candidate, number, measure, lambda *_: None, provenance, repeats, rerun))
    chosen = chosen_trial(problem, every)
    return None if chosen is None else chosen.candidate

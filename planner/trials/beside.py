"""What belongs beside the trial to deploy: its price in other metrics, its risk, and what is as good within the noise.

In: a problem and its trials. Out: sentences, None where there is nothing to say. Terminal, page and scripts show them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

from planner.benchmark import Metric
from planner.estimate import Calibrations, dangers
from planner.statistics import CONFIDENCE
from planner.study import Problem
from planner.trials.finals import measured_again
from planner.trials.noise import launch_noise
from planner.trials.ranking import standings
from planner.trials.trial import Trial, as_on_one_host, default_trial, searched

LEAST_LOSS = 0.05
"""Smallest loss against the default that is called a price, as a share; a guess, above the noise of most launches."""
PRICED = {
    "TTFT": ("ttft_p50", "ttft_p95"),
    "TPOT": ("tpot_p50", "tpot_p95"),
    "E2EL": ("e2el_p50", "e2el_p95"),
    "output": ("output_throughput",),
}
"""Metrics that may get worse; of each row the one that loses most is named."""
MOST_NAMED = 6
"""Most trials that one line names."""


def price_words(problem: Problem, trials: Sequence[Trial], trial: Trial) -> str | None:
    """`price: TTFT p50 112 s -> 184 s (+64 %)`: what gets worse against the default; None without a default."""
    default = default_trial(problem, trials)
    if default is None or default.number == trial.number or default.outcome != "measured":
        return None
    return price_between(problem, *(measured_again(problem, trials, each) for each in (default, trial)))


def price_between(problem: Problem, default: Trial, trial: Trial) -> str:
    """The same of two measured trials, by their own metrics."""
    before, after = (as_on_one_host(problem, each).metrics for each in (default, trial))
    found = [
        words
        for names in PRICED.values()
        if (words := _worst(tuple(problem.objective.powers), names, before, after)) is not None
    ]
    if found:
        return f"price: {', '.join(found)}"
    return f"price: none of {', '.join(PRICED)} gets worse by {LEAST_LOSS:.0%} or more"


def other_loads_words(problem: Problem, trials: Sequence[Trial], trial: Trial) -> str | None:
    """`at other loads: 1: TTFT p95 90 ms -> 160 ms (+78%); 64: nothing gets worse`; None where none was measured."""
    default = default_trial(problem, trials)
    if default is None or default.number == trial.number:
        return None
    before = {at.load: at.metrics for at in default.at_loads}
    found = []
    for at in trial.at_loads:
        if at.load in before:
            lost = [words for names in PRICED.values() if (words := _worst((), names, before[at.load], at.metrics))]
            found.append(f"{at.load:g}: {', '.join(lost) or 'nothing gets worse'}")
    return f"at other loads: {'; '.join(found)}" if found else None


def _worst(
    wanted: Sequence[str], names: Sequence[str], before: Mapping[str, float], after: Mapping[str, float]
) -> str | None:
    """The metric of a row that loses most, in words, but for those that are `wanted`; None if none loses enough."""
    known = [n for n in names if before.get(n, 0.0) > 0 and after.get(n, 0.0) > 0 and n not in wanted]
    losses = {name: -Metric.parse(name).sign * math.log(after[name] / before[name]) for name in known}
    name = max(losses, key=lambda each: losses[each], default=None)
    if name is None or losses[name] < math.log1p(LEAST_LOSS):
        return None
    metric, change = Metric.parse(name), after[name] / before[name] - 1
    label = f"{metric.family.upper()} {metric.statistic}" if metric.is_latency else name
    return f"{label} {metric.format(before[name])} -> {metric.format(after[name])} ({change:+.0%})"


def risk_words(problem: Problem, trial: Trial, calibrations: Calibrations | None = None) -> str | None:
    """Why the estimate calls the trial's settings at risk, though they served here; None if it does not."""
    found = dangers(problem.deployment(trial.candidate, calibrations))
    if not found:
        return None
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return f"at risk by the estimate, though it served here: {found[0]}{more}"


def alike_words(problem: Problem, trials: Sequence[Trial], trial: Trial) -> str | None:
    """The trials whose value in the search is within the noise of this one's; None without any.

    Two launches differ by less than this in 95 of 100 cases where their settings are equally good.
    """
    if problem.objective.is_known:
        return None
    good = {standing.trial.number: standing.log for standing in standings(problem, trials)}
    if trial.number not in good:
        return None
    noise = launch_noise([as_on_one_host(problem, each) for each in searched(trials)], problem.spec.repeats)
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(2) * noise
    near = [number for number, log in good.items() if number != trial.number and abs(log - good[trial.number]) <= reach]
    if not near:
        return None
    more = f" and {len(near) - MOST_NAMED} more" if len(near) > MOST_NAMED else ""
    named = f"{', '.join(map(str, near[:MOST_NAMED]))}{more}"
    return f"within the noise of it (+-{math.expm1(reach):.1%} in the search): trial{'s' * (len(near) > 1)} {named}"

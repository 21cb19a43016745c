"""When a candidate needs no more load: `race(...)`, a sequential test against the best trial so far, its `Bar`.

In: the trials so far. Out: a `Race`, asked between the repeats of a candidate and, with a `LoadWatch`, while one runs.
A candidate loses when it is surely worse than the best, or when a limit is broken whatever is still to come
(`latency_bounds.py`, exact). The noise of repeats, and of the pace within one, is learned from the trials themselves.

Source: Maron & Moore 1994, "Hoeffding Races", with normal bounds instead of Hoeffding's; Pocock 1977,
10.1093/biomet/64.2.191, for one bound over many looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from planner.benchmark import RATES, STOPPED, BenchmarkResult, LoadWatch, Moment, Pace, Projection, RequestRecord
from planner.study import Candidate, Problem, judge
from planner.trials.latency_bounds import Bounds, has_bound
from planner.trials.noise import LAUNCH_NOISE, PRIOR_NOISE, PRIOR_WEIGHT, noise_std, pooled
from planner.trials.quality import RULE, numerics
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial, searched
from planner.workload import RequestPlan, Workload

PRIOR_PACE_NOISE = 0.04
"""Standard deviation of the log of a load's pace from one part to another (`progress.Projection.doubt`); 0.01 to 0.08
were simulated.
"""
SURE = 3.0
"""Gap between a candidate and the best, in standard deviations, that decides a look. It is Pocock's bound for 20 looks,
with a chance of one in 100 that a candidate as good as the best is given up.
"""
BEATEN = 0.04
"""Loss at the upper end of a capacity's 95 % interval, as a logarithm, at which its launch is given up: two standard
deviations of what launches differ by."""
LOOKS = 20
"""Number of looks during one repeat, at equal steps of work done."""
LEAST_GAIN = 0.1
"""Smallest cut in the standard deviation of a trial's value, as a fraction, that is worth further repeats."""


class Race(Protocol):
    """The questions asked about a candidate while it is measured."""

    def is_lost(self, results: Sequence[BenchmarkResult]) -> bool:
        """Whether its repeats so far say that it will not be the best."""

    def is_enough(self, results: Sequence[BenchmarkResult], count: int) -> bool:
        """Whether it is lost, or the rest of `count` repeats would hardly make its value surer."""

    def watch(self, results: Sequence[BenchmarkResult], plans: Sequence[RequestPlan]) -> LoadWatch | None:
        """The watch of the next repeat, which follows these results."""

    def is_beaten(self, most: float) -> bool:
        """Whether a candidate whose value is at most this is surely worse than the best."""


class _NoRace:
    """Every repeat runs to its end."""

    def is_lost(self, results: Sequence[BenchmarkResult]) -> bool:  # noqa: ARG002
        return False

    def is_enough(self, results: Sequence[BenchmarkResult], count: int) -> bool:  # noqa: ARG002
        return False

    def watch(self, results: Sequence[BenchmarkResult], plans: Sequence[RequestPlan]) -> LoadWatch | None:  # noqa: ARG002
        return None

    def is_beaten(self, most: float) -> bool:  # noqa: ARG002
        return False


NO_RACE: Race = _NoRace()


def race(problem: Problem, candidate: Candidate, bar: Bar | None) -> Race:
    """The race of a candidate. The default runs to its end whatever it shows: everything is measured against it."""
    if not problem.spec.racing or candidate == problem.default:
        return NO_RACE
    return _Race(problem, candidate, bar)


@dataclass(frozen=True, slots=True)
class Bar:
    """The best trial so far, as the bar that a candidate has to reach."""

    sign: float
    """1 if more is better, else -1."""
    values: tuple[float, ...]
    """Objective of each repeat of the best trial."""
    noise: float
    """Standard deviation of the logarithm of a candidate's value over the best's of the same repeat."""
    pace_noise: float

    def times(self, factor: float) -> Bar:
        """The same bar with every value multiplied, as on a host faster by this factor."""
        return self if factor == 1 else replace(self, values=tuple(value * factor for value in self.values))

    def loss(self, repeat: int, value: float) -> float:
        """How much worse a candidate's repeat is than the best's with the same prompts, as a logarithm."""
        best = self.values[repeat] if repeat < len(self.values) else fmean(self.values)
        return self.sign * math.log(best / value)

    def is_missed(self, losses: Sequence[float], share: float = 1.0, doubt: float = 0.0) -> bool:
        """Whether the candidate is surely worse. `share`: part of the last repeat that is done; `doubt` as in
        `progress.Projection`.
        """
        weights = [1.0] * (len(losses) - 1) + [share]
        total = sum(weights)
        mean = sum(weight * loss for weight, loss in zip(weights, losses, strict=True)) / total
        repeats = self.noise**2 * sum((weight / total) ** 2 for weight in weights)
        rest = (share / total * doubt * self.pace_noise) ** 2
        launches = max(2 * LAUNCH_NOISE**2, self.noise**2)  # at least the noise between repeats of one launch
        return mean > SURE * math.sqrt(repeats + rest + launches)

    def is_sure(self, done: int, count: int) -> bool:
        """Whether the mean of `done` repeats is about as sure as that of `count`.

        Repeats cannot average out what differs between launches. Source: Cochran 1977, Sampling Techniques, ch. 10, on
        subsamples within units.
        """
        deviations = [math.sqrt(LAUNCH_NOISE**2 + self.noise**2 / 2 / num) for num in (done, count)]
        return deviations[0] <= (1 + LEAST_GAIN) * deviations[1]


def bar_of(problem: Problem, trials: Sequence[Trial], candidate: Candidate) -> Bar | None:
    """The bar for a candidate; None while there is no best trial, or if the objective is known before a launch."""
    objective = problem.objective
    if objective.is_known:  # a value that is known needs no repeats; they are for the limits
        return None
    best = best_trial(problem, [trial for trial in trials if _stays(problem, trial, candidate)])
    if best is None or not best.repeat_values or min(best.repeat_values) <= 0:
        return None
    errors = [error for trial in searched(trials) for error in trial.pace_errors]
    squares = PRIOR_WEIGHT * PRIOR_PACE_NOISE**2 + sum(error**2 for error in errors)
    return Bar(
        sign=objective.sign,
        values=tuple(objective.at_speed(value, 1 / best.host_speed) for value in best.repeat_values),
        noise=_noise_of_differences(trials, best),
        pace_noise=math.sqrt(squares / (PRIOR_WEIGHT + len(errors))),
    )


def _stays(problem: Problem, trial: Trial, candidate: Candidate) -> bool:
    """Whether a trial can set the bar: the quality gate cannot remove it, or would remove the candidate with it."""
    if problem.spec.quality is None or any(c.name == RULE and c.excess <= 0 for c in trial.constraints):
        return True
    key = numerics(problem, trial.candidate)
    return key in {numerics(problem, problem.default), numerics(problem, candidate)}


def _noise_of_differences(trials: Sequence[Trial], best: Trial) -> float:
    """Standard deviation of the log of one repeat over the best's with the same prompts, whose effect cancels."""
    pairs = [(trial.repeat_values, best.repeat_values) for trial in searched(trials) if trial is not best]
    ratios = [[a / b for a, b in zip(values, bests, strict=False)] for values, bests in pairs]
    prior = PRIOR_NOISE if any(len(group) > 1 for group in ratios) else noise_std([best])
    return pooled(math.sqrt(2) * prior, ratios)


class _Race:
    def __init__(self, problem: Problem, candidate: Candidate, bar: Bar | None) -> None:
        self._objective, self._workload, self._bar = problem.objective, problem.workload, bar
        self._known = problem.known(candidate)

    def is_lost(self, results: Sequence[BenchmarkResult]) -> bool:
        if any(constraint.excess > 0 for result in results for constraint in judge(self._objective, result)[1]):
            return True
        losses = self._losses(results)
        return bool(losses) and self._bar is not None and self._bar.is_missed(losses)

    def is_enough(self, results: Sequence[BenchmarkResult], count: int) -> bool:
        return self.is_lost(results) or (self._bar is not None and self._bar.is_sure(len(results), count))

    def watch(self, results: Sequence[BenchmarkResult], plans: Sequence[RequestPlan]) -> LoadWatch | None:
        limits = {name: limit for name, limit in self._objective.limits.items() if has_bound(name)}
        return _Watch(self._workload, plans, self._objective.metric, limits, self._bar, self._losses(results))

    def is_beaten(self, most: float) -> bool:
        return self._bar is not None and 0 < most < math.inf and self._bar.loss(0, most) > BEATEN

    def _losses(self, results: Sequence[BenchmarkResult]) -> list[float]:
        """Loss of each repeat that has a value."""
        bar = self._bar
        if bar is None:
            return []
        values = [self._objective.value({**result.metrics, **self._known}) for result in results]
        return [bar.loss(repeat, value) for repeat, value in enumerate(values) if value is not None and value > 0]


class _Watch:
    """One repeat while it runs."""

    def __init__(
        self,
        workload: Workload,
        plans: Sequence[RequestPlan],
        metric: str | None,
        limits: Mapping[str, float],
        bar: Bar | None,
        losses: Sequence[float],
    ) -> None:
        """`metric`: the objective, if it is a single metric."""
        self._limits, self._bar, self._losses = limits, bar, losses
        self._rate = metric if bar is not None and metric in RATES else None
        self._latency = metric if bar is not None and metric is not None and has_bound(metric) else None
        self._bounds = Bounds(plans, [*limits, *filter(None, [self._latency])])
        self._has_news = False
        self._pace = Pace(workload, plans)
        self._projection: Projection | None = None
        self._looks = 0
        self._share = self._elapsed_s = 0.0

    def on_record(self, record: RequestRecord) -> None:
        self._bounds.see(record)
        self._has_news = True

    def stop_reason(self, moment: Moment) -> str | None:
        self._share, self._elapsed_s = self._pace.share(moment), moment.elapsed_s
        self._projection = self._pace.project(moment)
        has_news, self._has_news = self._has_news, False
        is_lost = (has_news and self._is_out_of_bounds()) or self._is_behind()
        return STOPPED if is_lost else None

    def _is_out_of_bounds(self) -> bool:
        """Whether a limit, or the best trial's latency, is missed whatever is still to come."""
        if self._bounds.fails or any(self._bounds.least(name) > limit for name, limit in self._limits.items()):
            return True
        least = 0.0 if self._latency is None else self._bounds.least(self._latency)
        return least > 0 and self._is_missed(least)

    def _is_behind(self) -> bool:
        """Whether the pace is too slow, judged once per look."""
        projection = self._projection
        if projection is None or self._rate is None:
            return False
        look = int(projection.share * LOOKS)
        if look <= self._looks or projection.share >= 1:
            return False
        self._looks = look
        return self._is_missed(self._rates(projection.duration_s)[self._rate], projection.share, projection.doubt)

    def _is_missed(self, value: float, share: float = 1.0, doubt: float = 0.0) -> bool:
        assert self._bar is not None
        return self._bar.is_missed([*self._losses, self._bar.loss(len(self._losses), value)], share, doubt)

    def _rates(self, duration_s: float) -> dict[str, float]:
        """Rates of the whole load if it took this long."""
        requests, inputs, outputs = self._pace.num_requests, self._pace.num_input_tokens, self._pace.num_output_tokens
        counts = (requests, inputs, outputs, inputs + outputs)
        return {name: count / duration_s for name, count in zip(RATES, counts, strict=True)}

    def estimate(self, result: BenchmarkResult) -> BenchmarkResult:
        """The result with the whole load's rates at its mean pace, if it is steady; latencies are of ended requests."""
        rates = self._rates(self._elapsed_s / self._share) if self._pace.is_steady and self._share > 0 else {}
        return replace(result, metrics={**result.metrics, **rates}, share=self._share)


@dataclass(frozen=True, slots=True)
class Repeats:
    """The repeats of the workload to measure. Each has its own prompts, the same for every candidate."""

    first: int
    count: int
    race: Race = NO_RACE
    """Decides whether the rest can be spared."""
    start: float | None = None
    """Load at which a search for the most load begins; None: where the speed model expects the limit."""
    live: tuple[Candidate, ...] = ()
    """Other settings to measure in the same launch, after its own, by turning the scheduler's limits."""


def share_of(repeats: Repeats, results: Sequence[BenchmarkResult]) -> float | None:
    """Share of all repeats measured before the candidate was given up; None if it was not given up."""
    share = sum(result.share for result in results) / repeats.count
    is_given_up = results[-1].share < 1 or repeats.race.is_lost(results)
    return share if is_given_up and share < 1 else None

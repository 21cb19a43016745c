"""`Trial`: all that is needed to report or replay a candidate's judgement. Stored as JSON beside Optuna's fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import Annotated, Literal

import msgspec

from planner.benchmark import Metric
from planner.constraints import Constraint
from planner.estimate import MemoryFigures
from planner.hardware import UNKNOWN_MACHINE, Machine
from planner.study import Candidate, Problem
from planner.trials.noise import launch_noise

Outcome = Literal["measured", "infeasible", "failed"]
MODEL_ERROR, MODEL_WEIGHT = 0.1, 4
"""Error of the speed model from one candidate to another, as a standard deviation of the log, before any launch, and
the weight of this guess, in candidates."""
LEAST_MODEL_ERROR = 0.02
"""Least error of the speed model that is believed, in the same unit."""
ALONE, TOGETHER = "alone", "together"
"""Series of the default's launches that compare hosts (`host_speeds.py`): one alone on its host, or several at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    kind: str
    """Name of the EngineError."""
    message: str
    log_tail: str = ""
    exit_code: int | None = None
    """Exit code of an engine that ended, if known."""
    oom_killed: bool = False
    """Whether the kernel killed it for exceeding its container's memory limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What the numbers depend on besides the candidate."""

    planner_version: str
    backend: str
    simulated: bool
    vllm_version: str
    image: str | None
    gpu: str
    workload_seed: int
    finished_at: str
    """End of the trial in UTC, as ISO 8601."""
    machine: Machine = UNKNOWN_MACHINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """Marks a trial that measures an earlier one again, on fresh prompts."""

    of: int
    """Number of the earlier trial."""
    series: str
    """Numbers of all finalists, so that those measured in turn are compared; or the check that it is part of."""
    round: int

    @property
    def is_final(self) -> bool:
        return not self.series.startswith((ALONE, TOGETHER))


@dataclass(frozen=True, slots=True)
class AtLoad:
    """Metrics of a candidate at a load other than the one it is judged by."""

    load: float
    """Requests in flight, or requests per second if the workload has a rate."""
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    number: int
    candidate: Candidate
    outcome: Outcome
    value: float | None
    """Value of the objective; None unless measured."""
    constraints: tuple[Constraint, ...]
    """Violated rules of an infeasible trial; limits of a measured one, kept or not."""
    predicted_value: float | None
    predicted_memory: MemoryFigures
    real_memory: MemoryFigures | None
    metrics: dict[str, float] = field(default_factory=dict)
    """Means over the repeats, by the names of metrics.METRICS."""
    repeat_values: tuple[float, ...] = ()
    """Value of the objective for each repeat that ran to its end."""
    stopped_at: float | None = None
    """Share of all repeats at which it was given up as surely not the best; its numbers are then estimates."""
    pace_errors: tuple[float, ...] = ()
    """How unsteady each repeat was, for `racing.py`."""
    at_loads: tuple[AtLoad, ...] = ()
    """Metrics at the study's `also_at` loads; empty for a trial that was given up."""
    preemptions: int | None = None
    failed_requests: int = 0
    start_s: float = 0.0
    benchmark_s: float = 0.0
    """Seconds from the engine's readiness to the end of the load, the warm-up included."""
    warmup_s: float = 0.0
    """Seconds of the warm-up; 0 in trials of older versions."""
    failure: Failure | None = None
    disturbances: tuple[str, ...] = ()
    """Outside causes that ended earlier launches of this trial, after which it was launched again."""
    rerun: Rerun | None = None
    """Set in the finals and where hosts are compared; the search does not count such a trial."""
    host_speed: Annotated[float, msgspec.Meta(ge=1e-3, le=1e3)] = 1.0
    """Speed of the trial's host, the default's being 1. Never stored: `host_speeds.py` sets it on reading."""
    provenance: Provenance

    @property
    def was_launched(self) -> bool:
        return self.outcome != "infeasible"

    @property
    def is_acceptable(self) -> bool:
        """Whether it was measured and kept every limit, as far as measured."""
        return self.outcome == "measured" and all(constraint.excess <= 0 for constraint in self.constraints)


def best_trial(problem: Problem, trials: Sequence[Trial]) -> Trial | None:
    """The search's best acceptable trial, by `standings`; of equals the earlier, which is nearer the default."""
    return next((standing.trial for standing in standings(problem, trials)), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """A candidate of the search and what all its launches say of it."""

    trial: Trial
    """Its first trial that was measured to the end."""
    log: float
    """Logarithm of the value believed, on the level of the default's host."""


def standings(problem: Problem, trials: Sequence[Trial]) -> list[Standing]:
    """The candidates that kept every limit in each of their launches, best first.

    The largest of many noisy values is too large. So the mean of a candidate's launches is drawn towards what the speed
    model predicted, at the level of all, by the share of noise in it: hardly where launches differ by little, or where
    the model is far off anyway. What was launched several times is drawn less. A value that is known is not drawn.

    Source: Efron & Morris 1975, Data Analysis Using Stein's Estimator and its Generalizations.
    """
    launches: dict[str, list[Trial]] = {}
    for trial in searched(trials):
        if trial.was_launched:
            launches.setdefault(trial.candidate.key, []).append(trial)
    able = [
        each
        for each in launches.values()
        if all(t.is_acceptable for t in each) and any(t.stopped_at is None for t in each)
    ]
    logs = [fmean(_log(leveled(problem, t)) for t in each) for each in able]
    if able and not problem.objective.is_known:
        logs = _drawn(logs, able, launch_noise([as_on_one_host(problem, t) for t in trials], problem.spec.repeats))
    order = sorted(range(len(able)), key=lambda i: -problem.objective.sign * logs[i])
    return [Standing(next(t for t in able[i] if t.stopped_at is None), logs[i]) for i in order]


def _drawn(logs: Sequence[float], launches: Sequence[Sequence[Trial]], noise: float) -> list[float]:
    """The logarithms, each drawn towards its prediction by the share of noise in it."""
    predicted = [_log(each[0].predicted_value) for each in launches]
    level = median(log - expected for log, expected in zip(logs, predicted, strict=True))
    errors = [log - expected - level for log, expected in zip(logs, predicted, strict=True)]
    squares = MODEL_WEIGHT * MODEL_ERROR**2 + sum(error**2 for error in errors)
    wrong = max(squares / (MODEL_WEIGHT + len(errors) - 1) - noise**2, LEAST_MODEL_ERROR**2)
    shares = [wrong / (wrong + noise**2 / len(each)) for each in launches]
    return [log - (1 - share) * error for log, share, error in zip(logs, shares, errors, strict=True)]


def _log(value: float | None) -> float:
    return math.log(max(value or 0.0, 1e-9))


def as_measured(problem: Problem, trial: Trial) -> Problem:
    """The study with the exact image that the trial was measured in, if a registry has it."""
    image, container = trial.provenance.machine.lasting_image, problem.spec.container
    if image is None or container is None:
        return problem
    return problem.with_spec(
        msgspec.structs.replace(problem.spec, container=msgspec.structs.replace(container, image=image))
    )


def leveled(problem: Problem, trial: Trial) -> float | None:
    """The trial's value as the default's host would show it."""
    return None if trial.value is None else problem.objective.at_speed(trial.value, 1 / trial.host_speed)


def as_on_one_host(problem: Problem, trial: Trial) -> Trial:
    """The trial with the numbers that the default's host would have shown; its record still names its own host."""
    if trial.host_speed == 1:
        return trial
    back = 1 / trial.host_speed
    return replace(
        trial,
        value=leveled(problem, trial),
        metrics={name: value * back ** Metric.parse(name).sign for name, value in trial.metrics.items()},
        repeat_values=tuple(problem.objective.at_speed(value, back) for value in trial.repeat_values),
    )


def gain(problem: Problem, trial: Trial, default: Trial) -> float:
    """Gain over the default as a share, on one host's level; both must have a value."""
    return (leveled(problem, trial) or 0.0) / (leveled(problem, default) or 1.0) - 1


def all_metrics(problem: Problem, trial: Trial) -> dict[str, float]:
    """Measured metrics, and those known before a launch."""
    return {**trial.metrics, **problem.known(trial.candidate)}


def default_trial(problem: Problem, trials: Sequence[Trial]) -> Trial | None:
    return next((trial for trial in searched(trials) if trial.candidate == problem.default), None)


def num_launched(trials: Sequence[Trial]) -> int:
    return sum(trial.was_launched for trial in trials)


def searched(trials: Sequence[Trial]) -> list[Trial]:
    """The trials of the search: without those of the finals and those that compare hosts."""
    return [trial for trial in trials if trial.rerun is None]

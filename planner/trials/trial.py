"""`Trial`: all that is needed to report or replay a candidate's judgement. Stored as JSON beside Optuna's fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import msgspec

from planner.benchmark import Level, Metric
from planner.constraints import Constraint
from planner.estimate import MemoryFigures
from planner.hardware import UNKNOWN_MACHINE, Machine
from planner.study import Candidate, Problem
from planner.trials.live_run import NOT_LIVE, LiveRun

Outcome = Literal["measured", "infeasible", "failed"]
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
    repeat_metrics: tuple[dict[str, float], ...] = ()
    """The same of each repeat, for judging it under other limits; empty in trials of older versions."""
    asked: str = ""
    """The objective and limits that it was measured for (`Objective.asked`); empty in trials of older versions."""
    repeat_values: tuple[float, ...] = ()
    """Value of the objective for each repeat that ran to its end."""
    stopped_at: float | None = None
    """Share of all repeats at which it was given up as surely not the best; its numbers are then estimates."""
    pace_errors: tuple[float, ...] = ()
    """How unsteady each repeat was, for `racing.py`."""
    at_loads: tuple[AtLoad, ...] = ()
    """Metrics at the study's `also_at` loads; empty for a trial that was given up."""
    live: LiveRun = NOT_LIVE
    """Other settings that were measured in the same launch; evidence for the search, no results."""
    levels: tuple[Level, ...] = ()
    """Loads of the search for the most load, in the order they were tried; empty where one load was sent."""
    interval: tuple[float, float | None] | None = None
    """95 % interval of that load within this launch; its upper end is None where no level broke a limit."""
    preemptions: int | None = None
    draft_acceptance: float | None = None
    """Share of the drafted tokens that the model took while it was measured; None without drafts."""
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


def as_measured(problem: Problem, trial: Trial) -> Problem:
    """The study with the exact image that the trial was measured in, if a registry has it."""
    image, container = trial.provenance.machine.lasting_image, problem.spec.container
    if image is None or container is None:
        return problem
    container = msgspec.structs.replace(container, image=image)
    return problem.with_spec(msgspec.structs.replace(problem.spec, container=container))


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

"""`evaluate`: one candidate estimated, checked, measured and judged. Knows nothing of docker or optuna."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from planner.benchmark import OnStage
from planner.errors import BackendError, BenchmarkError, Disturbed, EngineError
from planner.estimate import predicted_figures, real_figures
from planner.hardware import Machine
from planner.study import Candidate, Forecast, Problem, judge
from planner.trials import Failure, Provenance, Repeats, Rerun, Trial
from planner.tuning.measure import Measure, Measurement
from planner.version import __version__

LAUNCHES_OF_A_TRIAL = 3
"""Most launches of a trial that other programs keep ending; after that the machine is unfit to measure on."""


def utc_now() -> datetime:
    return datetime.now(UTC)


def provenance_of(problem: Problem, backend: str, machine: Machine = Machine()) -> Provenance:  # noqa: B008  (a frozen value)
    return Provenance(
        planner_version=__version__,
        backend=backend,
        simulated=backend == "simulated",
        vllm_version=str(problem.version),
        image=problem.spec.container.image if problem.spec.container else None,
        gpu=problem.gpu.name,
        workload_seed=problem.workload.seed,
        finished_at="",
        machine=machine,
    )


def finished(trial: Trial, now: Callable[[], datetime]) -> Trial:
    return replace(trial, provenance=replace(trial.provenance, finished_at=now().isoformat(timespec="seconds")))


def evaluate(
    forecast: Forecast,
    candidate: Candidate,
    number: int,
    measure: Measure,
    on_stage: OnStage,
    provenance: Provenance,
    repeats: Repeats | None = None,
    rerun: Rerun | None = None,
) -> Trial:
    """Estimate, check, measure and judge a candidate. An engine that does not serve is an outcome, not an exception.

    A launch ended by another program is repeated. Raises BackendError if this happens to every launch.
    """
    problem, deployment = forecast.problem, forecast.deployment(candidate)
    trial = Trial(
        number=number,
        candidate=candidate,
        outcome="infeasible",
        value=None,
        constraints=forecast.check(candidate),
        predicted_value=problem.objective.value(forecast.predicted(candidate)),
        predicted_memory=predicted_figures(deployment.memory),
        real_memory=None,
        rerun=rerun,
        provenance=provenance,
    )
    if trial.constraints:
        return trial
    repeats = repeats or Repeats(0, problem.spec.repeats)
    repeats = repeats if repeats.start else replace(repeats, start=trial.predicted_value)
    while True:
        began = time.monotonic()
        try:
            return _measured(problem, trial, measure(candidate, number, on_stage, repeats))
        except Disturbed as error:
            trial = replace(trial, disturbances=(*trial.disturbances, str(error)))
            if len(trial.disturbances) == LAUNCHES_OF_A_TRIAL:
                raise BackendError(f"trial {number} was launched {LAUNCHES_OF_A_TRIAL} times: {error}") from None
            on_stage(f"again, {error}", 0, 0)
        except EngineError as error:
            failure = Failure(
                kind=type(error).__name__,
                message=str(error),
                log_tail=error.log_tail,
                exit_code=error.ended_with,
                oom_killed=error.oom_killed,
            )
            return replace(trial, outcome="failed", failure=failure, start_s=error.start_s or time.monotonic() - began)
        except BenchmarkError as error:
            return replace(trial, outcome="failed", failure=Failure(kind=type(error).__name__, message=str(error)))


def _measured(problem: Problem, trial: Trial, measurement: Measurement) -> Trial:
    known = problem.known(trial.candidate)
    results = [replace(result, metrics={**result.metrics, **known}) for result in measurement.results]
    verdicts = [judge(problem.objective, result) for result in results]
    values = [value for value, _ in verdicts if value is not None]
    pairs = zip(verdicts, measurement.results, strict=True)
    whole = [value for (value, _), run in pairs if value is not None and run.share == 1]
    limits = sorted((c for _, constraints in verdicts for c in constraints), key=lambda constraint: constraint.excess)
    worst = {constraint.name: constraint for constraint in limits}  # for each limit the worst repeat
    return replace(
        trial,
        outcome="measured",
        value=sum(values) / len(values) if values else None,
        constraints=tuple(worst.values()),
        real_memory=real_figures(measurement.facts),
        metrics=measurement.metrics(),
        repeat_metrics=tuple(measurement.only_metrics(result) for result in measurement.results),
        asked=problem.objective.asked,
        repeat_values=tuple(whole),
        stopped_at=measurement.stopped_at,
        pace_errors=measurement.pace_errors,
        at_loads=measurement.at_loads,
        live=measurement.live,
        levels=measurement.levels,
        interval=measurement.interval,
        preemptions=measurement.preemptions,
        draft_acceptance=measurement.draft_acceptance,
        failed_requests=sum(result.failed for result in measurement.results),
        start_s=measurement.start_s,
        benchmark_s=measurement.benchmark_s,
        warmup_s=measurement.warmup_s,
        provenance=replace(trial.provenance, simulated=measurement.simulated),
    )

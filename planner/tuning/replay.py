"""A landscape: measured candidates of a study, read from JSONL and replayed instead of launching engines.

In: a table of `RecordedLine`s, or the trials that `planner report --jsonl` wrote. Out: `Record`s, and `replayed`, a
`Measure` like the live one: failures are raised, and of several repeats one is drawn, so that the noise is real.
docs/formats.md describes the file. Launches nothing, knows nothing of optuna.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from planner.benchmark import MAX_FAILED_FRACTION, MEASURING, BenchmarkResult, Level, OnStage, read_metrics
from planner.engine import FIELDS, read_flags, settings
from planner.errors import EngineCrashed, EngineError, EngineOutOfMemory, EngineRejected, EngineStartTimeout, InputError
from planner.files import convert, parse_json, read_text
from planner.study import COMPLETE, ENV_PREFIX, LAYOUT, MODEL, Candidate, Forecast, Objective, Problem, Value
from planner.trials import TOGETHER, AtLoad, Failure, Repeats, Trial, as_on_one_host, capacity_of
from planner.tuning.load_levels import result_of
from planner.tuning.measure import STARTING, Measure, Measurement

EXTRA_ARGS = "extra_args"
BACKEND = "replay"
"""Backend named in the provenance of a replayed trial."""
MOST = 1e12
"""Largest figure taken as a measurement, in whatever unit; a larger one is damage."""
_ERRORS: dict[str, type[EngineError]] = {
    kind.__name__: kind for kind in (EngineCrashed, EngineOutOfMemory, EngineRejected, EngineStartTimeout)
}


NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class RecordedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One repeat of one candidate. `metrics` has the keys of `vllm bench serve`, so milliseconds."""

    config: dict[str, str | int | float | bool | list[str] | None]
    """Settings that vary, named as in a search space; `extra_args` holds further ones as vLLM flags."""
    outcome: Literal["measured", "failed"]
    start_s: NotNegative
    benchmark_s: NotNegative | None = None
    """Seconds that the benchmark took; by default the duration of the load."""
    metrics: dict[str, float] = {}
    preemptions: float | None = None
    repeat: int = 1
    workload: str | None = None
    """Name of the workload; lines with another name than the study's workload are left out."""
    machine: int | str | None = None
    """Machine that measured it; for readers only."""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Results of one launch of a candidate."""

    candidate: Candidate
    start_s: float
    benchmark_s: float
    results: tuple[BenchmarkResult, ...] = ()
    """One for each repeat that the record holds; empty if the launch failed."""
    failure: Failure | None = None
    preemptions: int | None = None
    simulated: bool = False
    stopped_at: float | None = None
    at_loads: tuple[AtLoad, ...] = ()
    levels: tuple[Level, ...] = ()
    interval: tuple[float, float | None] | None = None


def read_records(path: Path, problem: Problem) -> list[Record]:
    """All launches in the file with this study's workload. Raises InputError with file and line."""
    records = []
    for number, text in enumerate(read_text(path).splitlines(), 1):
        if text.strip():
            records += _read_line(text, problem, f"{path}:{number}")
    if not records:
        raise InputError(f"{path}: no launch of workload {problem.workload.name!r}")
    return records


def _read_line(text: str, problem: Problem, where: str) -> list[Record]:
    data = parse_json(text, where)
    if not isinstance(data, dict):
        raise InputError(f"{where}: is no mapping")
    if "candidate" in data:
        trial = convert(data, Trial, where)
        _refuse_impossible({"start_s": trial.start_s, "benchmark_s": trial.benchmark_s, **trial.metrics}, where)
        if trial.levels and Objective.read(trial.asked).metric != problem.objective.metric:
            raise InputError(
                f"{where}: levels: of a search for the most load, which the study's objective does not ask"
            )
        record = _of_levels(problem, trial) if trial.levels else _of_trial(as_on_one_host(problem, trial))
    else:
        line = convert(data, RecordedLine, where)
        figures = {"start_s": line.start_s, "benchmark_s": line.benchmark_s, "preemptions": line.preemptions}
        _refuse_impossible({**figures, **{f"metrics.{key}": value for key, value in line.metrics.items()}}, where)
        if line.outcome == "measured" and line.metrics.get("duration") == 0:
            raise InputError(f"{where}: metrics.duration: 0 s, in which nothing was measured; allowed is more than 0")
        record = _of_line(line, problem, where)
    if record is not None and record.results and not record.levels:
        known = {*record.results[0].metrics, *problem.known(record.candidate)}
        if missing := [name for name in problem.objective.powers if name not in known]:
            raise InputError(f"{where}: metrics: has no {missing[0]}, which the study's objective needs")
    return [] if record is None else [record]


def _refuse_impossible(figures: dict[str, float | None], where: str) -> None:
    """Raise InputError for a figure that no measurement can have: negative, infinite, not a number, beyond MOST."""
    for name, value in figures.items():
        if value is not None and not 0 <= value <= MOST:
            raise InputError(f"{where}: {name}: {value:g} cannot be; allowed is 0 to {MOST:g}")


def _of_trial(trial: Trial) -> Record | None:
    """Record of a trial; None if it was not launched, or had neighbours on purpose."""
    is_crowded = trial.rerun is not None and trial.rerun.series.startswith(TOGETHER)
    if not trial.was_launched or is_crowded:
        return None
    return Record(
        candidate=trial.candidate,
        start_s=trial.start_s,
        benchmark_s=trial.benchmark_s,
        results=_repeats(trial) if trial.metrics else (),
        failure=trial.failure,
        preemptions=trial.preemptions,
        simulated=trial.provenance.simulated,
        stopped_at=trial.stopped_at,
        at_loads=trial.at_loads,
    )


def _of_levels(problem: Problem, trial: Trial) -> Record | None:
    """Record of a trial that searched for its most load, as its levels answer the problem's limits."""
    record, found = _of_trial(trial), capacity_of(problem, trial.levels)
    if record is None:
        return None
    interval = None if found is None else found.interval
    return replace(record, results=(result_of(problem, trial.levels),), levels=trial.levels, interval=interval)


def _repeats(trial: Trial) -> tuple[BenchmarkResult, ...]:
    """The trial's repeats, or one of its means where an older version kept no more.

    Its failed requests are those of the first repeat, with the share of the worst, as only this share is kept.
    """
    runs = trial.repeat_metrics or (trial.metrics,)
    share = next((c.excess + MAX_FAILED_FRACTION for c in trial.constraints if c.name == COMPLETE), 0.0)
    failed = [trial.failed_requests, *[0] * (len(runs) - 1)]
    served = round(failed[0] * (1 - share) / share) if share > 0 else 0
    whole = len(trial.repeat_values) if trial.repeat_metrics and trial.stopped_at is not None else len(runs)
    return tuple(
        replace(
            _result(run, trial.benchmark_s / len(runs), served if number == 0 else 0, failed[number]),
            share=1.0 if number < whole else float(trial.stopped_at or 0.0),
        )
        for number, run in enumerate(runs)
    )


def _of_line(line: RecordedLine, problem: Problem, where: str) -> Record | None:
    """Record of a line; None if it is of another workload."""
    if line.workload not in {None, problem.workload.name}:
        return None
    candidate = _candidate(line.config, problem, where)
    duration_s = line.metrics.get("duration", 0.0)
    benchmark_s = duration_s if line.benchmark_s is None else line.benchmark_s
    if line.outcome == "failed":
        failure = line.failure or Failure(kind=EngineCrashed.__name__, message="failed when it was recorded")
        return Record(candidate=candidate, start_s=line.start_s, benchmark_s=benchmark_s, failure=failure)
    counts = [int(line.metrics.get(key, 0)) for key in ("completed", "failed")]
    return Record(
        candidate=candidate,
        start_s=line.start_s,
        benchmark_s=benchmark_s,
        results=(_result(read_metrics(line.metrics), duration_s, *counts),),
        preemptions=None if line.preemptions is None else int(line.preemptions),
    )


def _candidate(config: dict[str, Any], problem: Problem, where: str) -> Candidate:
    values = {name: value for name, value in config.items() if name != EXTRA_ARGS}
    for name in values:
        if name not in FIELDS and name not in {LAYOUT, MODEL} and not name.startswith(ENV_PREFIX):
            raise InputError(f"{where}: config.{name}: is no setting; allowed are the names of a search space")
    extra_args = config.get(EXTRA_ARGS, [])
    if not isinstance(extra_args, list):
        raise InputError(f"{where}: config.{EXTRA_ARGS}: is no list")
    try:
        given = read_flags(map(str, extra_args), problem.version, EXTRA_ARGS)
        if given.extra_args:  # what it measured may differ by them, and no candidate of a grid has them
            raise InputError(f"{EXTRA_ARGS}: {given.extra_args[0]} is no setting of a search space")
        return problem.choices.candidate({**values, **settings(given.settings)})
    except (InputError, ValueError, KeyError) as error:
        raise InputError(f"{where}: config: {error}") from None


def _result(metrics: dict[str, float], duration_s: float, completed: int, failed: int) -> BenchmarkResult:
    return BenchmarkResult(
        duration_s=duration_s,
        completed=max(completed, 1),
        failed=failed,
        total_input_tokens=round(metrics.get("input_throughput", 0.0) * duration_s),
        total_output_tokens=round(metrics.get("output_throughput", 0.0) * duration_s),
        metrics=metrics,
        errors={},
    )


# --- replay -----------------------------------------------------------------------------------------------------------


def limited_to(problem: Problem, records: Sequence[Record]) -> Forecast:
    """The problem limited to recorded candidates; trial 0 is the engine's default or the candidate nearest to it."""
    candidates = {record.candidate.key: record.candidate for record in records}
    limited = Forecast(problem.only(candidates.values(), problem.default))
    if problem.default.key in candidates:
        return limited
    rows = limited.grid.feasible_rows
    if rows.size == 0:
        raise InputError(f"{problem.spec.name}: no recorded candidate is feasible")
    row = rows[np.argmin(_distances(limited, rows))]
    nearest = problem.choices.candidate(problem.choices.params(limited.grid.indices[row]))
    return Forecast(problem.only(candidates.values(), nearest))


def _distances(forecast: Forecast, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance of each row from the engine's defaults: doublings of a number, 1 for another word.  # (len(rows),)"""
    problem = forecast.problem
    engine = problem.deployment(problem.default).engine
    distances = np.zeros(len(rows))
    for position, (name, values) in enumerate(problem.choices.searched.items()):
        default = problem.choices.value_of(problem.default, name)
        if default is None:
            default = getattr(engine, name, default)
        costs = np.array([_distance(value, default) for value in values])
        distances += costs[forecast.grid.indices[rows, position]]
    return distances


def _distance(value: Value, default: Any) -> float:
    if value is None or value == default:
        return 0.0
    numbers = isinstance(value, (int, float)) and isinstance(default, (int, float))
    return abs(math.log2(value / default)) if numbers and value > 0 and default > 0 else 1.0  # type: ignore[operator]


def replayed(problem: Problem, records: Sequence[Record]) -> Measure:
    """Measure by reading the records. Each launch draws one repeat by the sampler's seed and the trial's number."""
    table: dict[str, list[Record]] = {}
    for record in records:
        table.setdefault(record.candidate.key, []).append(record)
    seed = problem.spec.sampler.seed

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:  # noqa: ARG001
        on_stage(STARTING, 0, 0)
        known = table[candidate.key]
        drawn = np.random.default_rng([seed, number, zlib.crc32(candidate.key.encode())]).integers(len(known))
        record = known[int(drawn)]
        if not record.results:
            failure = record.failure
            assert failure is not None
            kind = _ERRORS.get(failure.kind, EngineCrashed)
            raise kind(failure.message, failure.log_tail, record.start_s)
        on_stage(MEASURING, record.results[0].completed, record.results[0].completed)
        return Measurement(
            results=record.results,
            telemetry=(),
            facts=None,
            start_s=record.start_s,
            benchmark_s=record.benchmark_s,
            preemptions=record.preemptions,
            simulated=record.simulated,
            stopped_at=record.stopped_at,
            at_loads=record.at_loads,
            levels=record.levels,
            interval=record.interval,
        )

    return measure

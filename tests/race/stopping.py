"""What stopping early saves, replayed on recorded loads of the real vLLM-CPU: `replay(file, sampler, ...) -> Saving`.

The file says when each request of three whole repeats was sent, answered and ended (`tests/benchmarks/early_stop.py
record` writes it). Stopping is decided on these times as `live` decides it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np

from planner.benchmark.records import RequestRecord
from planner.benchmark.session import OnStage
from planner.study.candidate import Candidate
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.study.spec import SamplerSpec, StudySpec
from planner.trials.racing import Repeats, share_of
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import EndedEarly, Measurement, race_through
from planner.tuning.search.search import Search
from planner.workload.workload import RequestPlan, Workload
from tests.forecasts import forecast_of
from tests.race.runs import QUIET

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests/golden/early-stop/loads.jsonl.gz"
REPEATS = 3


ONE_THREAD = {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
"""Two threads of an engine wait for each other at every layer: beside other work they hardly move."""


def study(num_requests: int, **changes: object) -> StudySpec:
    """The CPU study with repeats of another length, one thread, and float32: bfloat16 crawls without AVX-512."""
    spec = load_study(ROOT / "studies/tiny-qwen3-cpu")
    assert isinstance(spec.workload, Workload)
    workload = msgspec.structs.replace(spec.workload, num_requests=num_requests)
    settings = msgspec.structs.replace(spec.engine.settings, dtype="float32")
    engine = msgspec.structs.replace(spec.engine, env={**spec.engine.env, **ONE_THREAD}, settings=settings)
    return msgspec.structs.replace(spec, workload=workload, engine=engine, repeats=REPEATS, **changes)


@dataclass(frozen=True)
class Launch:
    start_s: float
    warmup_s: float
    """And everything else of the benchmark that is not one of the loads."""
    loads: tuple[EndedEarly, ...]

    @property
    def value(self) -> float:
        return fmean(sum(r.output_tokens for r in load.records) / load.duration_s for load in self.loads)


def read(path: Path) -> tuple[Problem, dict[str, tuple[Candidate, list[Launch]]]]:
    """The study, and the launches of each candidate."""
    table: dict[str, tuple[Candidate, list[Launch]]] = {}
    num_requests = 0
    with gzip.open(path, "rt") as file:
        for line in file:
            data = json.loads(line)
            candidate = msgspec.convert(data["candidate"], Candidate)
            loads = tuple(_load(times, repeat) for repeat, times in enumerate(data["repeats"]))
            table.setdefault(candidate.key, (candidate, []))[1].append(Launch(data["start_s"], data["warmup_s"], loads))
            num_requests = data["requests"]
    problem = Problem.of(study(num_requests, name="early-stop-replay"))
    return problem.only([candidate for candidate, _ in table.values()], problem.default), table


def _load(times: Sequence[Sequence[int]], repeat: int) -> EndedEarly:
    """Tokens between the first and the last are taken to be evenly apart."""
    plans = [RequestPlan(repeat * len(times) + i, row[3], row[4], 0) for i, row in enumerate(times)]
    records = [
        RequestRecord(
            index=plan.index,
            started_s=sent / 1000,
            chunk_s=tuple(np.linspace(first / 1000, end / 1000, num_out).tolist()),
            finished_s=end / 1000,
            input_tokens=num_in,
            output_tokens=num_out,
        )
        for plan, (sent, first, end, num_in, num_out) in zip(plans, times, strict=True)
    ]
    return EndedEarly(plans, records)


Table = dict[str, tuple[Candidate, list[Launch]]]


def run_replay(problem: Problem, table: Table, seed: int, trials: int, sampler: str, racing: bool) -> list[Trial]:
    """One study; each trial draws one of its candidate's launches, the same with and without racing."""
    chosen = SamplerSpec(name=sampler, seed=seed)  # type: ignore[arg-type]
    problem = problem.with_spec(msgspec.structs.replace(problem.spec, sampler=chosen))
    problem = problem.with_spec(msgspec.structs.replace(problem.spec, racing=racing))
    drawn = {key: launches[i % len(launches)] for i, (key, (_, launches)) in enumerate(table.items(), seed)}

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:  # noqa: ARG001
        launch = drawn[candidate.key]
        results, seconds, errors = race_through(problem.workload, repeats, lambda repeat: launch.loads[repeat])
        return Measurement(
            results=results,
            telemetry=(),
            facts=None,
            start_s=launch.start_s,
            benchmark_s=launch.warmup_s + seconds,
            preemptions=None,
            stopped_at=share_of(repeats, results),
            pace_errors=errors,
        )

    return run_study(
        problem,
        Search.open(forecast_of(problem), None),
        LocalExecutor(problem, measure, QUIET.stage, "replay"),
        trials,
        QUIET,
    )


@dataclass(frozen=True, slots=True)
class Saving:
    """Of one sampler, over many orders of the launches."""

    sampler: str
    seconds: list[float]
    """Share of the engine seconds saved, starts included; one an order."""
    bench_seconds: list[float]
    """The same of the benchmarks alone."""
    same_winner: int
    regrets: tuple[float, float]
    """Mean regret of the winner without and with stopping: 1 - true value / best."""


def replay(path: Path, sampler: str, num_seeds: int, trials: int) -> Saving:
    problem, table = read(path)
    true = {key: fmean(launch.value for launch in launches) for key, (_, launches) in table.items()}
    top = max(true.values())
    seconds, bench_seconds, same, regrets = [], [], 0, []
    for seed in range(num_seeds):
        full = run_replay(problem, table, seed, trials, sampler, racing=False)
        raced = run_replay(problem, table, seed, trials, sampler, racing=True)
        seconds.append(1 - engine_seconds(raced) / engine_seconds(full))
        bench_seconds.append(1 - sum(t.benchmark_s for t in raced) / sum(t.benchmark_s for t in full))
        winners = [best_trial(problem, one) for one in (full, raced)]
        keys = [winner.candidate.key for winner in winners if winner is not None]
        same += keys[0] == keys[1]
        regrets.append([1 - true[key] / top for key in keys])
    without, with_ = (fmean(column) for column in zip(*regrets, strict=True))
    return Saving(sampler, seconds, bench_seconds, same, (without, with_))


def engine_seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.start_s + trial.benchmark_s for trial in trials)

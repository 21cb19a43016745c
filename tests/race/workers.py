"""How much faster a study is with many workers: simulated hosts in virtual time, the real search and loop.

The search takes the cards for others than the simulated engine has, so that its speed model is wrong and there is
something to find. `python -m tests.race.workers --write docs/hosts.md` makes the table and the plot, in minutes.
"""

from __future__ import annotations

import argparse
import heapq
import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import pygal
from pygal.style import DefaultStyle

from planner.study.candidate import Candidate
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.trials.racing import Repeats
from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor, Work
from planner.tuning.loop import run_study
from planner.tuning.measure import Measure, simulated
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of
from tests.made import write_made
from tests.race.runs import QUIET


class VirtualExecutor:
    """Workers whose launches take the seconds that the simulated engine says; no wall time passes but the driver's."""

    def __init__(self, problem: Problem, measure: Measure, workers: int) -> None:
        self._here = LocalExecutor(problem, measure, QUIET.stage, "simulated")
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
models: {bf16: {path: Qwen/Qwen3-8B}}
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
workload: {concurrency: 256, num_requests: 512, warmup_requests: 0, input_tokens: 128, output_tokens: 128}
"""
CARD, TRUTHS = "RTX 4090", ("RTX 3090", "A10", "L4")
"""What the search takes the cards for, and what the engine has: also 24 GB, at other speeds."""
WORKERS = (1, 4, 16, 64)
TRIALS = 96
CLOSE = 0.01
"""Of the best that any run on the same cards deployed."""
AGAIN, MANY = 1_000_000, 4
"""Launches that tell what a candidate is worth: their numbers, and how many, so that noise plays no part."""


@dataclass(frozen=True, slots=True)
class Run:
    truth: str
    workers: int
    best: list[tuple[float, float]]
    """Hours since the start, and what the best so far is really worth, at each end of a trial."""

    def reaches(self, value: float) -> float:
        """Hours until the best is so good; infinite where it never is."""
        return next((hours for hours, best in self.best if best >= value), float("inf"))


def problem_on(card: str, folder: Path) -> Problem:
    path = folder / "study.yaml"
    path.write_text(STUDY.replace(CARD, card), "utf-8")
    return Problem.of(load_study(path))


def run(problem: Problem, truth: str, measure: Measure, workers: int) -> Run:
    executor = VirtualExecutor(problem, measure, workers)
    run_study(problem, Search.open(forecast_of(problem), None), executor, TRIALS, QUIET)

    @cache
    def worth(candidate: Candidate) -> float:
        numbers = range(AGAIN, AGAIN + MANY)
        results = [measure(candidate, number, QUIET.stage, Repeats(0, 1)).results[0] for number in numbers]
        return fmean(result.metrics["output_throughput"] for result in results)

    so_far: list[tuple[float, float]] = []
    best = 0.0
    for end_s, trial in executor.ended:
        if trial.value is not None and trial.stopped_at is None and trial.value > best:
            best, found = trial.value, worth(trial.candidate)
        so_far.append((end_s / 3600, found))
    return Run(truth, workers, so_far)


def table(runs: Sequence[Run]) -> str:
    """Medians over the cards."""
    lines = [
        "| workers | hours for all trials | speed-up | hours to within 1 % | speed-up | behind the best at the end |",
        "|---|---|---|---|---|---|",
    ]
    tops = {truth: max(one.best[-1][1] for one in runs if one.truth == truth) for truth in TRUTHS}

    def typical(count: int) -> tuple[float, float, float]:
        group = [one for one in runs if one.workers == count]
        return (
            median(one.best[-1][0] for one in group),
            median(one.reaches((1 - CLOSE) * tops[one.truth]) for one in group),
            median(1 - one.best[-1][1] / tops[one.truth] for one in group),
        )

    whole_1, close_1, _ = typical(WORKERS[0])
    for count in WORKERS:
        whole, close, behind = typical(count)
        words = [f"{close:.2f}", f"{close_1 / close:.1f}"] if math.isfinite(close) else ["not reached", ""]
        lines.append(f"| {count} | {whole:.2f} | {whole_1 / whole:.1f} | {' | '.join(words)} | {behind:.1%} |")
    return "\n".join(lines)


def plot(runs: Sequence[Run], path: Path) -> None:
    """Best so far against time, one line for each count of workers."""
    chart = pygal.XY(
        style=DefaultStyle, width=800, height=400, x_title="hours", y_title="best output tokens/s so far",
        show_dots=False, logarithmic=False, js=(), disable_xml_declaration=True,
    )  # fmt: skip
    for count in WORKERS:
        one = next(one for one in runs if one.workers == count and one.truth == TRUTHS[0])
        points = [point for a, b in pairwise(one.best) for point in ((a[0], a[1]), (b[0], a[1]))]
        chart.add(f"{count} workers", [*points, one.best[-1]])
    chart.render_to_file(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        problem = problem_on(CARD, Path(name))
        runs = []
        for truth in TRUTHS:
            measure = simulated(forecast_of(problem_on(truth, Path(name))))
            for count in WORKERS:
                runs.append(run(problem, truth, measure, count))
                print(truth, count, runs[-1].best[-1], flush=True)
    print(table(runs), flush=True)
    plot(runs, args.write.parent / "hosts.svg")
    write_made(args.write, "workers", table(runs))


if __name__ == "__main__":
    main()

"""What one more trial costs the driver of a study that has very many.

`python -m tests.race.driver --write docs/hosts.md` makes the table; 10 000 trials are written first, in minutes. Ask,
tell and the loop are real, on SQLite; engines are simulated in virtual time, and what that costs is taken off.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np
import optuna
import psutil

from planner.study.problem import Problem
from planner.trials.trial import Trial
from planner.tuning.evaluation import evaluate, provenance_of
from planner.tuning.loop import run_study
from planner.tuning.measure import simulated
from planner.tuning.search.dashboard_attributes import trial_attributes
from planner.tuning.search.samplers import distributions
from planner.tuning.search.search import Search
from planner.tuning.search.store import CANDIDATE, RECORD, StudyStore
from planner.units import MIB
from tests.forecasts import forecast_of, grid_of
from tests.made import write_made
from tests.race.runs import QUIET
from tests.race.workers import CARD, VirtualExecutor, problem_on

SIZES = (10, 100, 1000, 10_000)
WORKERS, TRIALS = 16, 48
"""Of the trials that are timed."""


def fill(problem: Problem, model: Trial, storage: str, size: int) -> None:
    """Trials as a study of so many has them, without the work of asking: distinct candidates, values as predicted."""
    StudyStore(problem, storage)  # makes the study
    study = optuna.load_study(study_name=problem.spec.name, storage=storage)
    default = problem.row_of(problem.default)
    others = grid_of(problem).feasible_rows[grid_of(problem).feasible_rows != default]
    rows = np.random.default_rng(0).permutation(others)[: size - 1]
    space = distributions(problem)
    chosen = [problem.choices.params(grid_of(problem).indices[row]) for row in rows]
    for number, params in enumerate([{}, *chosen]):
        candidate = problem.choices.candidate(params) if params else problem.default
        value = forecast_of(problem).predicted(candidate)["output_throughput"]
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


def table(folder: Path, sizes: Sequence[int]) -> str:
    """What one more trial costs the driver in a study that has so many: ask, tell and the loop, on SQLite."""
    lines = ["| trials in the study | opened in, s | one more costs, s | memory, MiB |", "|---|---|---|---|"]
    problem = problem_on(CARD, folder)
    measure, provenance = simulated(forecast_of(problem)), provenance_of(problem, "simulated")
    model = evaluate(forecast_of(problem), problem.default, 0, measure, QUIET.stage, provenance)
    for size in sizes:
        storage = f"sqlite:///{folder / f'driver-{size}.db'}"
        fill(problem, model, storage, size)
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # so that memory is this study's only
            opened_s, cost_s, resident_bytes = alone.submit(cost, folder, storage, size).result()
        lines.append(f"| {size} | {opened_s:.1f} | {cost_s:.2f} | {resident_bytes / MIB:.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def cost(folder: Path, storage: str, size: int) -> tuple[float, float, int]:
    """Seconds to open the study, seconds of the driver for each further trial, and its resident memory."""
    problem = problem_on(CARD, folder)
    executor = VirtualExecutor(problem, simulated(forecast_of(problem)), WORKERS)
    began = time.monotonic()
    search = Search.open(forecast_of(problem), storage)
    search.trials()
    opened_s = time.monotonic() - began
    run_study(problem, search, executor, size + WORKERS, QUIET)  # the grid is made, all workers are busy
    began, simulated_s = time.process_time(), executor.simulated_s
    run_study(problem, search, executor, size + WORKERS + TRIALS, QUIET)
    cost_s = (time.process_time() - began - (executor.simulated_s - simulated_s)) / TRIALS
    return opened_s, cost_s, psutil.Process().memory_info().rss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        text = table(Path(name), args.sizes)
    write_made(args.write, "driver", text)


if __name__ == "__main__":
    main()

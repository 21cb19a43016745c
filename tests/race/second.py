"""What a second study gains from an earlier one on the same cards, SIMULATED: `python -m tests.race.second`.

The speed model is wrong about the cards: its coefficients by a draw of their doubt, what chunked prefill does by 20 %,
and everything by a smooth error of 10 %. A first study with another load is searched on them, then a second one, with
and without `--learn-from` the first. Each has a smooth error of 5 % of its own too. `misleading`: the model is wrong
the other way about the first one's cards.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

import msgspec
import numpy as np

from planner.estimate import default_coefficients
from planner.study import Forecast, Problem
from planner.study.loading import load_study
from planner.trials.ranking import best_trial
from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.search.earlier import taught_of
from planner.tuning.search.lessons import Taught
from planner.tuning.search.search import Search
from planner.tuning.search.speed_doubts import FACTORS, scaled
from planner.workload import load_workload
from tests.made import write_made
from tests.race.runs import QUIET
from tests.race.world_page import Difference
from tests.race.worlds import LARGE_STUDY, LAUNCH_NOISE, MODEL_ERROR, World, is_chunked, smooth

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "studies.md"
FIRST, SECOND = 9, 12
"""Launches of the first study, and of the second."""
BUDGETS = (2, 3, 6, 12)
SWITCH = 0.2
"""Standard deviation of the error about chunked prefill, as a logarithm."""
KINDS = {"as the second": 1.0, "misleading": -1.0}
"""First studies, by the sign of their cards' difference from the priors."""
FIRST_SEEDS, SECOND_SEEDS = 1000, 2000
"""First seeds of what is each study's own."""
FIRST_LOAD = "chat"


@cache
def forecasts() -> tuple[Forecast, Forecast]:
    """The first study's, of another load, and the second's."""
    spec = load_study(LARGE_STUDY)
    first = msgspec.structs.replace(spec, name="worlds-first", workload=load_workload(FIRST_LOAD, LARGE_STUDY))
    return Forecast(Problem.of(first)), Forecast(Problem.of(spec))


def truth(forecast: Forecast, cards: int, sign: float, seed: int) -> World:
    """A world on the cards of this number, which differ from the model as drawn, or by the opposite."""
    draw = np.random.default_rng([cards, 7])
    factors, switch = sign * draw.normal(size=len(FACTORS)), sign * draw.normal(0, SWITCH)
    engine = forecast.problem.deployment(forecast.problem.default).engine
    prior = default_coefficients(engine, forecast.problem.gpu)
    widths = np.array([width for _, width in FACTORS])
    coefficients = scaled(prior, widths * factors)
    grid, classes = forecast.grid, forecast.classes
    values = np.log(np.maximum(grid.predicted(coefficients)["output_throughput"], 1e-9))
    values = values + sign * smooth(grid.indices, cards, 2 * MODEL_ERROR) + smooth(grid.indices, seed, MODEL_ERROR)
    values = values + switch * is_chunked(forecast.problem, grid.indices)
    values[np.setdiff1d(np.arange(len(values)), grid.feasible_rows)] = np.nan
    nearest = {classes.of_row(int(row)): row for row in classes.nearest(grid.feasible_rows)}
    values[classes.rows] = values[[nearest[number] for number in classes.numbers]]
    default = float(np.log(forecast.predicted(forecast.problem.default, coefficients)["output_throughput"]))
    if classes.default is not None:
        default = float(values[classes.rows[classes.numbers == classes.default][0]])
    return World(forecast, values, default, LAUNCH_NOISE)


def search(made: World, seed: int, launches: int, taught: Taught | None) -> list[Trial]:
    """Launches of the product's own search."""
    found = Search.open(made.forecast, None)
    found.start_from(taught)
    executor = LocalExecutor(made.problem, made.measure(seed), QUIET.stage, "replay")
    return run_study(made.problem, found, executor, launches, QUIET)


def regrets(made: World, trials: Sequence[Trial]) -> list[float]:
    """Regret of the best so far after each of BUDGETS."""
    best = [best_trial(made.problem, trials[:count]) for count in BUDGETS]
    return [1.0 if one is None else made.regret(one.candidate) for one in best]


def race(seed: int) -> dict[str, list[float]]:
    """Regrets of the second study without a first, and after each kind of first."""
    first, second = forecasts()
    made = truth(second, seed, 1.0, seed + SECOND_SEEDS)
    found = {"none": regrets(made, search(made, seed, SECOND, None))}
    for kind, sign in KINDS.items():
        before = search(truth(first, seed, sign, seed + FIRST_SEEDS), seed + FIRST_SEEDS, FIRST, None)
        found[kind] = regrets(made, search(made, seed, SECOND, taught_of(second, first, before)))
    return found


def table(runs: Mapping[int, Mapping[str, Sequence[float]]]) -> str:
    """Mean regret, and the paired difference from a second study without a first with two standard errors."""
    head = ["first study", *(f"regret at {count}" for count in BUDGETS)]
    lines = [head, ["---", *["---:"] * len(BUDGETS)]]
    for kind in ("none", *KINDS):
        cells = []
        for i in range(len(BUDGETS)):
            ours, theirs = ({seed: run[one][i] for seed, run in runs.items()} for one in (kind, "none"))
            apart = Difference.of(ours, theirs)
            beside = "" if kind == "none" else f" ({100 * apart.mean:+.1f} ± {200 * apart.error:.1f})"
            cells.append(f"{100 * fmean(ours.values()):.1f} %{beside}")
        lines.append([kind, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"page that gets the table, such as {PAGE.name}")
    args = parser.parse_args()
    runs: dict[int, dict[str, list[float]]] = {}
    for seed in range(args.seeds):
        runs[seed] = race(seed)
        print(seed, runs[seed], flush=True)
    text = table(runs)
    print(text)
    if args.write is not None:
        write_made(args.write, "second", f"Seeds: {len(runs)}.\n\n{text}")


if __name__ == "__main__":
    main()

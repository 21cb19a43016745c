"""Made worlds to race in, SIMULATED: the speed model is right, wrong about one switch, upside down, failing or flat.

In: a name and a seed. Out: a `World`: the true value of every feasible combination, and a measure with launch noise. A
world's truth is the cold speed model times a smooth random field, drawn anew for each seed, times the change that its
name says. Combinations that run alike under the load (`planner.study.classes`) are alike in truth.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.benchmark import RATES
from planner.benchmark.metrics import BenchmarkResult
from planner.errors import EngineCrashed
from planner.study import Forecast
from planner.study.candidate import Candidate
from planner.study.loading import load_study
from planner.study.problem import Problem
from planner.trials.racing import Repeats
from planner.tuning.measure import Measure, Measurement

STUDY = Path(__file__).parents[1] / "golden" / "worlds"
LARGE_STUDY = Path(__file__).parents[2] / "studies" / "qwen3-32b-awq-4x2080ti"
"""The first user's whole search space, more than 10 000 feasible combinations: worlds whose name starts with LARGE."""
LARGE = "large"
MODEL_ERROR = 0.05
"""Standard deviation of the smooth field by which the model is wrong everywhere, as a logarithm."""
LAUNCH_NOISE = 0.02
START_S = 90.0
CHUNKED = "enable_chunked_prefill"
SEQS, TOKENS, MEMORY = "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization"
WORLDS = (
    "right",
    "switch-mild",
    "switch-sign",
    "noisy",
    "upside-down",
    "failing",
    "failing-anywhere",
    "flat",
    "flat-top",
    "needle",
    "large",
    "large-switch-mild",
)
"""`right`: but for MODEL_ERROR. `switch-mild`: chunked prefill gives 8 % where the model says that it costs 22 %.
`switch-sign`: its effect turned round. `noisy`: launches differ by 10 %, with heavy tails. `upside-down`: what the
model likes least is best. `failing`: the 30 % with the most sequences, tokens and memory do not start;
`failing-anywhere`: any 30 %. `flat`: nothing matters; `flat-top`: nothing above the middle does. `needle`: a narrow
hill, 25 % above all else, where the model expects least. `large`: twice MODEL_ERROR on LARGE_STUDY;
`large-switch-mild`: `switch-mild` there."""


@dataclass(frozen=True)
class World:
    forecast: Forecast
    values: NDArray[np.float64]
    """Logarithm of each grid row's true value; NaN where it does not start.  # (num_candidates,)"""
    default: float
    """Logarithm of the default's true value."""
    noise: float
    has_heavy_tails: bool = False

    @property
    def problem(self) -> Problem:
        return self.forecast.problem

    @property
    def best(self) -> float:
        return max(float(np.nanmax(self.values)), self.default)

    def value(self, candidate: Candidate) -> float:
        """Logarithm of the true value; NaN where the candidate does not start."""
        row = self.problem.row_of(candidate)
        return self.default if row is None or candidate == self.problem.default else float(self.values[row])

    def regret(self, candidate: Candidate) -> float:
        value = self.value(candidate)
        return 1.0 if math.isnan(value) else 1 - math.exp(value - self.best)

    def measure(self, seed: int) -> Measure:
        """A measure whose noise depends on seed, trial number and candidate: the same for all searchers."""
        forecast, workload = self.forecast, self.problem.workload
        tokens = workload.num_requests * workload.mean_output_tokens

        def measure(candidate: Candidate, number: int, on_stage: object, repeats: Repeats) -> Measurement:  # noqa: ARG001
            value = self.value(candidate)
            if math.isnan(value):
                raise EngineCrashed("did not start", "", START_S)
            draw = np.random.default_rng([seed, number, zlib.crc32(candidate.key.encode())])
            value += float(draw.standard_t(3) / math.sqrt(3) if self.has_heavy_tails else draw.normal()) * self.noise
            predicted = forecast.predicted(candidate)
            off = value - math.log(predicted["output_throughput"])
            metrics = {k: v * math.exp(off if k in RATES else -off) for k, v in predicted.items()}
            result = BenchmarkResult(
                duration_s=tokens / math.exp(value),
                completed=workload.num_requests,
                failed=0,
                total_input_tokens=0,
                total_output_tokens=int(tokens),
                metrics=metrics,
                errors={},
            )
            return Measurement(
                results=(result,) * repeats.count,
                telemetry=(),
                facts=None,
                start_s=START_S,
                benchmark_s=result.duration_s * repeats.count,
                preemptions=0,
            )

        return measure


@cache
def _forecast(study: Path) -> Forecast:
    return Forecast(Problem.of(load_study(study)))


def world(name: str, seed: int) -> World:
    """The world of this name. Raises KeyError for a name that is not in WORLDS."""
    forecast = _forecast(LARGE_STUDY if name.startswith(LARGE) else STUDY)
    problem, grid, rows = forecast.problem, forecast.grid, forecast.grid.feasible_rows
    believed = np.log(np.maximum(grid.predicted()["output_throughput"], 1e-9))
    values = believed + smooth(grid.indices, seed, MODEL_ERROR)
    place = problem.choices.names.index(CHUNKED)
    chunked = is_chunked(problem, grid.indices)
    draw = np.random.default_rng([seed, 3])
    noise, has_heavy_tails = LAUNCH_NOISE, False
    match name:
        case "right":
            pass
        case "switch-mild" | "large-switch-mild":
            values = values + 0.30 * chunked
        case "switch-sign":
            effect = believed - believed[_other_side(grid.indices, place)]
            values = values - effect - np.where(chunked, 0.05, -0.05) * np.sign(np.median(effect[rows][chunked[rows]]))
        case "noisy":
            noise, has_heavy_tails = 0.10, True
        case "upside-down":
            values = 2 * believed[rows].mean() - believed + smooth(grid.indices, seed, MODEL_ERROR)
        case "failing":
            sizes = {key: _column(problem, key, grid.indices) for key in (SEQS, TOKENS, MEMORY)}
            score = np.log(sizes[SEQS]) / 3 + np.log(sizes[TOKENS]) / 4 + (sizes[MEMORY] > 0.92) * 0.6
            score += smooth(grid.indices, seed, 0.15)
            values[score >= np.quantile(score[forecast.classes.nearest(rows)], 0.7)] = np.nan
        case "failing-anywhere":
            values[draw.random(len(values)) < 0.3] = np.nan
        case "flat":
            values = believed[rows].max() + draw.normal(0, 0.003, len(values))
        case "flat-top":
            values = np.minimum(believed, np.quantile(believed[rows], 0.6)) + draw.normal(0, 0.003, len(values))
        case "needle":
            least = rows[np.argmin(believed[rows])]
            points = grid.indices / np.maximum(grid.indices.max(axis=0), 1)
            hill = np.exp(-((points - points[least]) ** 2).sum(axis=1) / (2 * 0.25**2))
            values = values + hill * (values[rows].max() + math.log(1.25) - values[least])
        case "large":
            values = believed + smooth(grid.indices, seed, 2 * MODEL_ERROR)
        case _:
            raise KeyError(name)
    values[np.setdiff1d(np.arange(len(values)), rows)] = np.nan
    classes = forecast.classes
    nearest = {classes.of_row(int(row)): row for row in classes.nearest(rows)}
    values[classes.rows] = values[[nearest[number] for number in classes.numbers]]
    default = float(np.log(forecast.predicted(problem.default)["output_throughput"]))
    if name.startswith("flat"):
        default = float(np.nanmax(values)) - 0.004
    if classes.default is not None:
        alike = classes.rows[classes.numbers == classes.default]
        default = default if math.isnan(values[alike[0]]) else float(values[alike[0]])
        values[alike] = default
    return World(forecast, values, default, noise, has_heavy_tails)


def is_chunked(problem: Problem, indices: NDArray[np.int32]) -> NDArray[Any]:
    """Whether chunked prefill is on in each row."""
    return _column(problem, CHUNKED, indices)


def _column(problem: Problem, name: str, indices: NDArray[np.int32]) -> NDArray[Any]:
    """The value of a setting in each row."""
    return np.array(problem.choices.searched[name])[indices[:, problem.choices.names.index(name)]]


def _other_side(indices: NDArray[np.int32], place: int) -> NDArray[np.int64]:
    """The row that differs from each row in one switch only."""
    row_of = {tuple(row): i for i, row in enumerate(indices.tolist())}
    flipped = indices.copy()
    flipped[:, place] = 1 - flipped[:, place]
    return np.array([row_of[tuple(row)] for row in flipped.tolist()])


def smooth(indices: NDArray[np.int32], seed: int, std: float) -> NDArray[np.float64]:
    """A smooth random field over the grid, by 200 random Fourier features (Rahimi & Recht 2007)."""
    points = indices / np.maximum(indices.max(axis=0), 1)
    draw = np.random.default_rng([seed, 5])
    waves = np.cos(points @ draw.normal(0, 2.0, (200, points.shape[1])).T + draw.uniform(0, 2 * np.pi, 200))
    field = waves.sum(axis=1)
    return np.asarray(std * (field - field.mean()) / field.std())

"""The landscapes under tests/golden/landscapes: a folder each, with study.yaml and launches.jsonl."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from planner.benchmark.metric import METRICS, Metric
from planner.benchmark.metrics import BenchmarkResult
from planner.benchmark.session import OnStage
from planner.study.candidate import Candidate
from planner.study.loading import load_study
from planner.study.objective import judge
from planner.study.problem import Problem
from planner.trials.noise import LAUNCH_NOISE, pooled
from planner.trials.racing import Repeats
from planner.tuning.measure import Measure, Measurement
from planner.tuning.replay import Record, limited_to, read_records, replayed
from tests.forecasts import forecast_of

FOLDER = Path(__file__).parents[1] / "golden" / "landscapes"
LAUNCHES_FILE = "launches.jsonl"
NOISY = 0.10
"""Standard deviation of the logarithm between two launches of a candidate, above which regrets mean little."""


@dataclass(frozen=True)
class Landscape:
    problem: Problem
    """Limited to what was measured."""
    records: Sequence[Record]

    @property
    def name(self) -> str:
        return self.problem.spec.name

    @cached_property
    def by_candidate(self) -> dict[str, list[Record]]:
        table: dict[str, list[Record]] = {}
        for record in self.records:
            table.setdefault(record.candidate.key, []).append(record)
        return table

    @cached_property
    def true_values(self) -> dict[str, float]:
        """By candidate: the mean over its repeats; without those that failed or, on average, broke a limit."""
        values = {key: self._true_value(records) for key, records in self.by_candidate.items()}
        return {key: value for key, value in values.items() if value is not None}

    def _true_value(self, records: Sequence[Record]) -> float | None:
        results = [mean_of(record.results) for record in records if record.results]
        if len(results) < len(records):
            return None
        value, constraints = judge(self.problem.spec.objective, mean_of(results))
        return None if any(constraint.excess > 0 for constraint in constraints) else value

    @cached_property
    def pairs(self) -> NDArray[np.float64]:
        """The objective in the first two launches of each candidate that has two.  # (candidates, 2)"""
        metric = self.problem.spec.objective.metric
        results = [
            [r.results[0].metrics[metric] for r in several if r.results] for several in self.by_candidate.values()
        ]
        return np.array([values[:2] for values in results if len(values) > 1]).reshape(-1, 2)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the logarithm between two launches of a candidate: the table's own, pooled with the
        product's prior, which is all there is where no candidate has two.
        """
        return pooled(LAUNCH_NOISE, self.pairs.tolist())

    def measure(self, problem: Problem) -> Measure:
        """Measure by reading the table, for a problem with the seed of the sampler. Noise is in every launch: of
        several repeats one is drawn, and to the only repeat of a candidate a draw of the table's noise is added.
        """
        measure, noise, seed = replayed(problem, self.records), self.noise, problem.spec.sampler.seed

        def noisy(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
            found = measure(candidate, number, on_stage, repeats)
            if len(self.by_candidate[candidate.key]) > 1:
                return found
            draw = np.random.default_rng([seed, number, zlib.crc32(candidate.key.encode()), 1])
            off = float(draw.normal()) * noise
            results = tuple(_moved(result, off) for result in found.results)
            return replace(found, results=results, benchmark_s=found.benchmark_s * math.exp(-off))

        return noisy

    @property
    def is_noisy(self) -> bool:
        """Judged where five candidates or more were launched twice."""
        if len(self.pairs) < 5:
            return False
        return float(np.sqrt((np.log(self.pairs[:, 0] / self.pairs[:, 1]) ** 2 / 2).mean())) > NOISY

    @cached_property
    def searched(self) -> dict[str, Candidate]:
        """The recorded candidates of the search space."""
        known = {record.candidate.key: record.candidate for record in self.records}
        default = self.problem.default
        return {key: one for key, one in known.items() if one == default or self.problem.row_of(one) is not None}

    @cached_property
    def best(self) -> float:
        """The best true value in the search space, whether or not our rules call it feasible."""
        values = [value for key, value in self.true_values.items() if key in self.searched]
        return max(values) if self.problem.spec.objective.direction == "maximize" else min(values)

    def regret(self, candidate: Candidate) -> float:
        """How far this choice is from the best, as a share of it; 1 where it failed or breaks a limit."""
        value = self.true_values.get(candidate.key)
        if value is None:
            return 1.0
        return 1 - (value / self.best if self.problem.spec.objective.direction == "maximize" else self.best / value)

    @cached_property
    def predicted_and_true(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of every candidate that was measured, also outside the search space, before any launch."""
        candidates = {record.candidate.key: record.candidate for record in self.records}
        keys = list(self.true_values)
        metric = self.problem.spec.objective.metric
        predicted = [forecast_of(self.problem).predicted(candidates[key])[metric] for key in keys]
        return np.array(predicted), np.array([self.true_values[key] for key in keys])


def _moved(result: BenchmarkResult, off: float) -> BenchmarkResult:
    """The result of a launch that is faster by this logarithm: rates grow, latencies shrink."""
    metrics = {
        name: value * math.exp(off * Metric.parse(name).sign) if name in METRICS else value
        for name, value in result.metrics.items()
    }
    return replace(result, metrics=metrics, duration_s=result.duration_s * math.exp(-off))


def mean_of(results: Sequence[BenchmarkResult]) -> BenchmarkResult:
    first = results[0]
    names = [name for name in first.metrics if all(name in result.metrics for result in results)]
    return BenchmarkResult(
        duration_s=fmean(result.duration_s for result in results),
        completed=sum(result.completed for result in results),
        failed=sum(result.failed for result in results),
        total_input_tokens=first.total_input_tokens,
        total_output_tokens=first.total_output_tokens,
        metrics={name: fmean(result.metrics[name] for result in results) for name in names},
        errors={},
    )


def load(folder: Path) -> Landscape:
    problem = Problem.of(load_study(folder))
    records = read_records(folder / LAUNCHES_FILE, problem)
    problem = limited_to(problem, records).problem
    return Landscape(problem, records)


def load_all() -> list[Landscape]:
    return [load(path.parent) for path in sorted(FOLDER.glob(f"*/{LAUNCHES_FILE}"))]

"""What a study optimises: metrics to improve and limits to keep. Result -> value and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from planner.arrays import maximum
from planner.benchmark import (
    CAPACITIES,
    CAPACITY_RATE,
    GOALS,
    MAX_FAILED_FRACTION,
    MAX_MODEL_LEN,
    BenchmarkResult,
    Metric,
    WrittenLimit,
    limits_of,
    parse_limits,
)
from planner.constraints import Constraint
from planner.files import convert, parse_json

SCORE = "score"
"""Name of the value of a weighted set of metrics."""
COMPLETE = "requests complete"
"""Name of the constraint on the share of requests that fail, which every objective has."""
ADD = "--slo ttft_p95=2s,tpot_p95=50ms (objective.slo in a study.yaml)"
"""What to add where a capacity has no limits."""
LEAST = 1e-9
"""Stands in for a metric of 0, which has no logarithm."""

Weight = Annotated[float, msgspec.Meta(extra_json_schema={"exclusiveMinimum": 0})]


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One metric, or several with weights; rates, max_model_len and capacities are maximised, latencies minimised.

    A capacity is the most load that keeps the limits: `capacity` in requests in flight, `capacity_rate` in requests per
    second. Each launch searches for its own, so the workload's load says only how its requests look.

    The value of a weighted set is the weighted geometric mean of its metrics, latencies as 1/latency: 1 % of one metric
    weighs as much as 1 % of another of the same weight, so that no units have to be traded. More is better.
    """

    metric: Annotated[str, msgspec.Meta(description="Null: output_throughput, or the weights")] | None = None
    weights: dict[str, Weight] = {}
    """Importance of each metric, given instead of `metric`; only the ratios count."""
    slo: dict[str, WrittenLimit] = {}
    """Upper limits on latencies, in seconds, and lower limits on rates, per second; kept as numbers."""

    @classmethod
    def read(cls, text: str) -> Objective:
        """The objective that `asked` wrote. Raises InputError."""
        return convert(parse_json(text, "objective"), cls, "objective")

    def __post_init__(self) -> None:
        if self.metric is not None and self.weights:
            raise ValueError("metric and weights: allowed is one of them")
        if self.metric is None and not self.weights:
            msgspec.structs.force_setattr(self, "metric", "output_throughput")
        if self.metric is not None and self.metric not in GOALS:
            raise ValueError(f"metric {self.metric!r}: allowed: {', '.join(GOALS)}")
        for name, weight in self.weights.items():
            if name not in GOALS:
                raise ValueError(f"weights.{name}: is no metric; allowed: {', '.join(GOALS)}")
            if not 0 < weight <= 1e6:
                raise ValueError(
                    f"weights.{name}: {weight:g} is not a number above 0, at most 1e6 (latencies are minimised anyway)"
                )
        msgspec.structs.force_setattr(self, "slo", parse_limits(self.slo))
        self._refuse_without_limits()

    def _refuse_without_limits(self) -> None:
        """Raise ValueError for a capacity that no limit bounds, or that is one of several metrics."""
        if asked := [name for name in self.weights if name in CAPACITIES]:
            raise ValueError(f"weights.{asked[0]}: is found at a load of its own; allowed as the only metric")
        if self.metric not in CAPACITIES:
            return
        if not self.slo:
            raise ValueError(f"metric {self.metric}: is the most load that keeps limits, and there are none: add {ADD}")
        if rates := [name for name in self.slo if not Metric.parse(name).is_latency]:
            raise ValueError(f"slo.{rates[0]}: a capacity is the most load within limits of latencies; allowed: those")

    @property
    def asked(self) -> str:
        """The objective and its limits as JSON, the same text for the same question; `read` reads it back."""
        return msgspec.json.encode(msgspec.to_builtins(self, enc_hook=float), order="sorted").decode()

    @property
    def limits(self) -> dict[str, float]:
        """Bounds by metric: seconds for latencies, per second for rates."""
        return {name: float(limit) for name, limit in self.slo.items()}

    @property
    def seeks_load(self) -> bool:
        """Whether each launch searches for the most load that keeps the limits, instead of being sent one load."""
        return self.metric in CAPACITIES

    @property
    def by_rate(self) -> bool:
        """Whether the load that is sought is a rate in requests per second, and not a number in flight."""
        return self.metric == CAPACITY_RATE

    @property
    def capacity_limits(self) -> dict[str, float] | None:
        """Limits of the load that is sought, in seconds; None where none is."""
        return self.limits if self.seeks_load else None

    @property
    def limits_at_load(self) -> dict[str, float]:
        """Limits that must be kept at the study's own load; none where the load is sought that keeps them."""
        return {} if self.seeks_load else self.limits

    @property
    def powers(self) -> dict[str, float]:
        """Power of each metric; the value is the product of the metrics, each raised to its power."""
        if self.metric is not None:
            return {self.metric: 1.0}
        total = sum(self.weights.values())
        return {name: Metric.parse(name).sign * weight / total for name, weight in self.weights.items()}

    @property
    def is_known(self) -> bool:
        """Whether a candidate's value is known before its launch, so that only the limits have to be measured."""
        return set(self.powers) == {MAX_MODEL_LEN}

    @property
    def sign(self) -> int:
        """1 if a larger value is better, else -1."""
        return 1 if self.metric is None else Metric.parse(self.metric).sign

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.sign > 0 else "minimize"

    def better(self, a: float, b: float) -> bool:
        return self.sign * a > self.sign * b

    def value(self, metrics: Mapping[str, Any]) -> Any:
        """The value from a run's metrics, which are numbers or arrays; None if a metric is missing."""
        if any(name not in metrics for name in self.powers):
            return None
        if self.metric is not None:
            return metrics[self.metric]
        return math.prod(maximum(metrics[name], LEAST) ** power for name, power in self.powers.items())

    def at_speed(self, value: float, factor: float) -> float:
        """The value on a host `factor` times as fast: rates grow, latencies shrink, the context length stays."""
        return value if factor == 1 else float(value * factor**self.speed_power)

    @property
    def speed_power(self) -> float:
        """Power of a host's speed by which the value grows."""
        return math.fsum(
            power * Metric.parse(name).sign for name, power in self.powers.items() if name != MAX_MODEL_LEN
        )

    # --- in words ---

    @property
    def name(self) -> str:
        return SCORE if self.metric is None else self.metric

    @property
    def words(self) -> str:
        """What the objective optimises: `output_throughput`, or `score (output_throughput 1, ttft_p95 0.3)`."""
        weights = ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())
        return f"{self.name} ({weights})" if weights else self.name

    @property
    def limits_words(self) -> str:
        """The limits: `output_throughput at least 500.0 tok/s, ttft_p95 at most 2 s`; empty without limits."""
        return ", ".join(limit.words for limit in limits_of(self.limits))

    @property
    def question(self) -> str:
        """The objective with its limits: `output_throughput; ttft_p95 at most 2 s`."""
        return "; ".join(filter(None, (self.words, self.limits_words)))

    def format(self, value: float) -> str:
        return f"{value:.4g} points" if self.metric is None else Metric.parse(self.metric).format(value)

    @property
    def beside(self) -> list[str]:
        """Metrics to show beside a value: a score's parts; the limited metrics if the value needs no launch; the output
        at the most load."""
        if self.seeks_load:
            return ["output_throughput"]
        return list(self.weights) or (list(self.limits) if self.is_known else [])

    def figures(self, value: float, metrics: Mapping[str, float]) -> str:
        """The value and the metrics beside it: `max_model_len 24 576 tokens (output_throughput 507.1 tok/s)`."""
        beside = ", ".join(
            f"{name} {Metric.parse(name).format(metrics[name])}" for name in self.beside if name in metrics
        )
        return f"{self.name} {self.format(value)}{f' ({beside})' if beside else ''}"


def judge(objective: Objective, result: BenchmarkResult) -> tuple[float | None, tuple[Constraint, ...]]:
    """The objective's value (None if the run lacks a metric of it) and all constraints, kept or not."""
    failed = result.failed / (result.completed + result.failed)
    complete = Constraint(COMPLETE, failed - MAX_FAILED_FRACTION, f"{failed:.0%} of the requests failed")
    return objective.value(result.metrics), (*judge_limits(objective, result.metrics), complete)


def judge_limits(objective: Objective, metrics: Mapping[str, float]) -> list[Constraint]:
    """The limits on the metrics that a run has, kept or not."""
    limits = [limit for limit in limits_of(objective.limits) if limit.metric.name in metrics]
    return [limit.judge(metrics[limit.metric.name]) for limit in limits]

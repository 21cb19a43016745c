"""What a study is after: a metric to push and limits to keep. Result -> value and constraints."""

from __future__ import annotations

from typing import Literal

import msgspec

from planner.feasibility import Constraint
from planner.metrics import METRICS, RATES, BenchmarkResult
from planner.units import Seconds, format_ms

MAX_FAILED_FRACTION = 0.05


class Objective(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`metric` is maximised if it is a rate and minimised if it is a latency; `slo` holds upper limits of latencies."""

    metric: str = "output_throughput"
    slo: dict[str, Seconds] = {}

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"metric {self.metric!r}: allowed: {', '.join(METRICS)}")
        for name in self.slo:
            if name not in METRICS or name in RATES:
                latencies = [metric for metric in METRICS if metric not in RATES]
                raise ValueError(f"slo.{name}: is not a latency; allowed: {', '.join(latencies)}")

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "maximize" if self.metric in RATES else "minimize"

    def better(self, a: float, b: float) -> bool:
        return a > b if self.direction == "maximize" else a < b


def judge(objective: Objective, result: BenchmarkResult) -> tuple[float | None, tuple[Constraint, ...]]:
    """The objective's value (None where the run does not have that metric) and every constraint, kept or not."""
    constraints = [
        Constraint(
            f"slo {name}",
            result.metrics[name] - limit,
            f"{name} is {format_ms(result.metrics[name])}, the limit is {format_ms(limit)}",
        )
        for name, limit in objective.slo.items()
        if name in result.metrics
    ]
    failed = result.failed / (result.completed + result.failed)
    constraints.append(
        Constraint("requests complete", failed - MAX_FAILED_FRACTION, f"{failed:.0%} of the requests failed")
    )
    return result.metrics.get(objective.metric), tuple(constraints)


def format_metric(name: str, value: float) -> str:
    return (
        f"{value:,.1f} tok/s".replace(",", " ")
        if name.endswith("token_throughput") or name == "output_throughput"
        else f"{value:.3f} req/s"
        if name == "request_throughput"
        else format_ms(value)
    )

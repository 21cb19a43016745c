"""Parse and judge limits on metrics such as `ttft_p95=2s`. In: text or values. Out: `Limit`s and `Constraint`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec

from planner.benchmark.metric import METRICS, Metric
from planner.constraints import Constraint
from planner.errors import InputError
from planner.files import convert, did_you_mean
from planner.units import parse_rate, parse_seconds

MAX_FAILED_FRACTION = 0.05
WrittenLimit = Annotated[
    str | float, msgspec.Meta(description="Of a latency: 200ms, 2s or seconds; of a rate: a number")
]
"""Bound of a limit as a person writes it."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Lower bound on a rate, or upper bound on a latency."""

    metric: Metric
    bound: float
    """Seconds for a latency, per second for a rate."""

    @property
    def words(self) -> str:
        """The limit in words, such as `ttft_p95 at most 2 s`."""
        side = "at least" if self.metric.sign > 0 else "at most"
        return f"{self.metric.name} {side} {self.metric.format(self.bound)}"

    def keeps(self, value: float) -> bool:
        return value >= self.bound if self.metric.sign > 0 else value <= self.bound

    def judge(self, value: float) -> Constraint:
        """The limit as a constraint; its excess is a fraction of the bound."""
        metric, kind = self.metric, "least allowed" if self.metric.sign > 0 else "limit"
        message = f"{metric.name} is {metric.format(value)}, the {kind} is {metric.format(self.bound)}"
        return Constraint(f"slo {metric.name}", metric.sign * (self.bound - value) / self.bound, message)


def limits_of(slo: Mapping[str, float]) -> list[Limit]:
    """Limits of a parsed `slo:`, which maps metric names to bounds."""
    return [Limit(Metric.parse(name), bound) for name, bound in slo.items()]


# --- as people write them ---------------------------------------------------------------------------------------------


def parse_slo(text: str | None) -> dict[str, float]:
    """Parse `ttft_p95=10s,output_throughput=500` into bounds in seconds and per second. Raises InputError."""
    data = {"slo": split_slo(text or "", "ttft_p95=10s or output_throughput=500")}
    return {name: float(limit) for name, limit in convert(data, _Limits, "--slo").slo.items()}


def split_slo(text: str, example: str) -> dict[str, str]:
    """Split `ttft_p95=10s,e2el_p95=30s` into names and written bounds. Raises InputError, which shows `example`."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise InputError(f"--slo: {name!r} is not NAME=LIMIT, for example {example}")
    return {name.strip(): limit.strip() for name, _, limit in pairs}


class _Limits(msgspec.Struct, frozen=True):
    slo: dict[str, WrittenLimit] = {}

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "slo", parse_limits(self.slo))


def parse_limits(written: Mapping[str, str | float], allowed: Sequence[str] = METRICS) -> dict[str, float]:
    """Written limits as bounds in seconds and per second. Raises ValueError with the key and what is `allowed`."""
    return {name: _bound(name, limit, allowed) for name, limit in written.items()}


def _bound(name: str, written: str | float, allowed: Sequence[str]) -> float:
    if name not in allowed:
        near = f"; did you mean {name}_p95?" if f"{name}_p95" in allowed else did_you_mean(name, allowed)
        listed = f"; allowed: {', '.join(allowed)}"
        raise ValueError(f"slo.{name}: is no metric with a limit{near or listed}")
    try:
        parse = parse_rate if Metric.parse(name).is_rate else parse_seconds
        bound = parse(written) if isinstance(written, str) else float(written)
    except ValueError as error:
        raise ValueError(f"slo.{name}: {error}") from None
    if not 0 < bound <= 1e12:
        raise ValueError(f"slo.{name}: {bound:g} is not above 0, and at most 1e12")
    return bound

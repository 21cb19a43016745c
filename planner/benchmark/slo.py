"""Limits on metrics, as `ttft_p95=2s`: parsed, judged with their noise, printed. In: text or values. Out: `Limit`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from planner.benchmark.metrics import MAX_MODEL_LEN, METRICS, RATES, sign
from planner.constraints import Constraint
from planner.errors import InputError
from planner.files import convert
from planner.units import format_count, format_ms, parse_rate, parse_seconds


def parse_slo(text: str | None) -> dict[str, float]:
    """`ttft_p95=10s,output_throughput=500` into limits, seconds and per second. Raises InputError."""
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    for name, equals, _ in pairs:
        if not equals:
            raise InputError(f"--slo: {name!r} is not NAME=LIMIT, for example ttft_p95=10s or output_throughput=500")
    data = {"slo": {name.strip(): limit.strip() for name, _, limit in pairs}}
    return {name: float(limit) for name, limit in convert(data, _Limits, "--slo").slo.items()}


class _Limits(msgspec.Struct, frozen=True):
    slo: dict[str, Limit] = {}

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "slo", parse_limits(self.slo))


MAX_FAILED_FRACTION = 0.05
Limit = Annotated[str | float, msgspec.Meta(description="Of a latency: 200ms, 2s or seconds; of a rate: a number")]


def parse_limits(written: Mapping[str, str | float]) -> dict[str, float]:
    """Limits as people write them, in seconds and per second. Raises ValueError with the key and what is allowed."""
    return {name: _limit(name, limit) for name, limit in written.items()}


def _limit(name: str, written: str | float) -> float:
    """Raises ValueError with the key and what is allowed."""
    if name not in METRICS:
        raise ValueError(f"slo.{name}: is no metric with a limit; allowed: {', '.join(METRICS)}")
    try:
        parse = parse_rate if name in RATES else parse_seconds
        limit = parse(written) if isinstance(written, str) else float(written)
    except ValueError as error:
        raise ValueError(f"slo.{name}: {error}") from None
    if not 0 < limit <= 1e12:
        raise ValueError(f"slo.{name}: {limit:g} is not above 0, and at most 1e12")
    return limit


def judge_limit(name: str, value: float, limit: float) -> Constraint:
    """A lower limit of a rate, an upper one of a latency; the excess is a share of the limit."""
    kind = "least allowed" if sign(name) > 0 else "limit"
    message = f"{name} is {format_metric(name, value)}, the {kind} is {format_metric(name, limit)}"
    return Constraint(f"slo {name}", sign(name) * (limit - value) / limit, message)


def format_metric(name: str, value: float) -> str:
    if name == MAX_MODEL_LEN:
        return f"{format_count(value)} tokens"
    if name == "request_throughput":
        return f"{value:.3f} req/s"
    return f"{value:,.1f} tok/s".replace(",", " ") if name in RATES else format_ms(value)

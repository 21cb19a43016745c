"""`FleetSpec`: what a fleet.yaml may say; docs/fleet.md explains each key.

Light: schemas and completion load it.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec

from planner.benchmark import parse_limits
from planner.units import Seconds

FAMILIES = ("queue", "ttft", "tpot", "e2el")
"""Latencies that a limit may be of; `queue` is the wait for a place in an instance."""
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
LIMITS = tuple(f"{family}_{statistic}" for family in FAMILIES for statistic in STATISTICS)

MAX_IN_FLIGHT = 65_536
"""Most requests in flight in one instance; far above what any engine runs at once."""
InFlight = Annotated[int, msgspec.Meta(ge=1, le=MAX_IN_FLIGHT)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Rate = Annotated[float, msgspec.Meta(gt=0)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
AtLeastOne = Annotated[float, msgspec.Meta(ge=1, le=1e12)]
Latency = Annotated[str | float, msgspec.Meta(description="200ms, 2s or seconds")]


class DemandSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rate with its peak, or a trace."""

    rate: Rate | None = None
    """Requests per second, mean over the day."""
    peak: AtLeastOne = 1.0
    """Rate of the busiest time over the mean rate; the limits are kept there."""
    burstiness: Annotated[float, msgspec.Meta(ge=0.01)] = 1.0
    """Burstiness of arrivals at the peak: 1 is Poisson, below 1 in bursts, infinite constant gaps (vLLM's word)."""
    trace: str | None = None
    """A JSONL file with `arrival_s`, as `planner bench` reads it; beside the fleet's file if relative."""
    trace_speed: Rate = 1.0
    """Speed of the replay relative to the recording."""
    peak_window: Seconds = msgspec.field(default_factory=lambda: Seconds(300.0))
    """Length of the busiest stretch of the trace, which is its peak."""

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.trace is None):
            raise ValueError("rate or trace: exactly one of them says what is asked of the fleet")
        if self.trace is not None and (self.peak != 1 or self.burstiness != 1):
            raise ValueError("peak and burstiness are of a rate; a trace has its own")
        if self.trace is None and self.trace_speed != 1:
            raise ValueError("trace_speed is of a trace; a rate has its own pace")
        if self.peak_window <= 0:
            raise ValueError("peak_window must be above 0")
        for name in ("rate", "peak", "trace_speed"):
            if not math.isfinite(getattr(self, name) or 1):
                raise ValueError(f"{name} must be a finite number")


class HostSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is bought or rented as one, and lost as one. Prices and watts are yours: planner knows none."""

    cards: Positive = 1
    cost_per_hour: Amount | None = None
    """Cost of one host, in any currency."""
    idle_watts: Amount | None = None
    busy_watts: Amount | None = None
    """Power of the whole host at its capacity; between idle and busy by utilisation."""
    pue: AtLeastOne = 1.0
    """Power of the site over that of its hosts."""

    def __post_init__(self) -> None:
        if self.pue != 1 and self.idle_watts is None:
            raise ValueError("pue is a factor on idle_watts and busy_watts, which are missing")
        if (self.idle_watts is None) != (self.busy_watts is None):
            raise ValueError("idle_watts and busy_watts go together")
        if self.idle_watts is not None and self.busy_watts is not None and self.busy_watts < self.idle_watts:
            raise ValueError(f"busy_watts {self.busy_watts:g} is below idle_watts {self.idle_watts:g}")


class LevelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one instance showed with so many requests in flight."""

    in_flight: Annotated[float, msgspec.Meta(gt=0, le=MAX_IN_FLIGHT)]
    e2el: Seconds
    """Mean end-to-end latency."""
    ttft: Seconds | None = None
    """Median time to first token."""
    tpot: Seconds | None = None

    def __post_init__(self) -> None:
        if min(value for value in (self.e2el, self.ttft, self.tpot) if value is not None) <= 0:
            raise ValueError("e2el, ttft and tpot must be above 0")


SOURCES = ("study", "bench", "levels", "capacity")


class LayoutSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way to run an instance, and where its figures are from: exactly one of SOURCES."""

    name: str | None = None
    """Name of the layout; by default the study's layout, as `1xtp4`, or the bench's model."""
    cards: Positive = 1
    """Cards of one instance; a study has its own figure."""
    study: str | None = None
    """A study's file or folder; gives each layout that its trials measured."""
    simulated: bool = False
    """Whether to read the study's simulated trials."""
    bench: str | None = None
    """JSON of `planner bench --json`, best of a `--sweep`."""
    levels: list[LevelSpec] = []
    capacity: Rate | None = None
    """Most requests per second."""
    service_time: Seconds | None = None
    """End-to-end latency of a request that is alone; goes with `capacity`."""
    ttft: Seconds | None = None
    """Time to first token of a request that is alone; goes with `capacity`."""
    max_num_seqs: InFlight | None = None
    """Most requests in flight in an instance; the rest wait. By default the study's, else the highest level, else what
    the capacity needs.
    """
    max_queue: Count | None = None
    """Most requests waiting; further ones are refused. By default there is no limit."""
    variation: Annotated[float, msgspec.Meta(ge=0, le=10)] | None = None
    """Standard deviation of a request's work over its mean; by default that of the measured E2EL, else 1."""
    output_tokens: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """Mean output tokens of a request, for cost and energy per token; a study and a bench say their own."""
    host: HostSpec | None = None
    """Hosts of this layout, if they differ from the rest."""

    def __post_init__(self) -> None:
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"exactly one of {', '.join(SOURCES)} says how fast an instance is")
        if (self.capacity is None) != (self.service_time is None):
            raise ValueError("capacity and service_time go together")
        if self.ttft is not None and self.capacity is None:
            raise ValueError("ttft goes with capacity; levels have their own")
        if self.service_time is not None and self.service_time <= 0:
            raise ValueError("service_time must be above 0")
        if (self.capacity or 0.0) * (self.service_time or 0.0) > MAX_IN_FLIGHT:
            raise ValueError(f"capacity times service_time is above {MAX_IN_FLIGHT}, the most in flight in an instance")
        if self.ttft is not None and self.service_time is not None and not 0 < self.ttft <= self.service_time:
            raise ValueError("ttft must be above 0 and at most service_time")
        if self.simulated and self.study is None:
            raise ValueError("simulated is about a study's trials, and there is no study")


class FleetSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str = "fleet"
    demand: DemandSpec
    slo: dict[str, Latency]
    """Upper limits, kept as seconds: ttft_p95, e2el_p95, tpot_p95, queue_p95 and so on."""
    layouts: Annotated[list[LayoutSpec], msgspec.Meta(min_length=1)]
    host: HostSpec = HostSpec()
    lost: Count = 1
    """Hosts that may be lost at the peak with the limits still kept."""
    router: Literal["least-loaded", "round-robin", "random"] = "least-loaded"
    """How requests are spread over instances; least-loaded is what the front door of `planner guard` does."""
    seed: Count = 0

    def __post_init__(self) -> None:
        if not self.slo:
            raise ValueError("slo: a fleet needs a limit to keep, for example ttft_p95: 2s")
        msgspec.structs.force_setattr(self, "slo", parse_limits(self.slo, LIMITS))

    @property
    def limits(self) -> dict[str, float]:
        """Limits in seconds, by name."""
        return {name: float(limit) for name, limit in self.slo.items()}

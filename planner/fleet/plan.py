"""The answer of `planner fleet`: each layout sized, its cost and power, the cheapest, and what to doubt.

In: a `FleetSpec` and the folder it is in. Out: a `FleetPlan`, as values; `view.py` shows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.errors import InputError
from planner.fleet.demand import Demand, Steady, Trace, demand_of
from planner.fleet.measurements import MeasuredLayout, layouts_of
from planner.fleet.sizing import MAX_HOSTS, PRECISION, Observed, Sizing, size_fleet
from planner.fleet.spec import FleetSpec
from planner.statistics import Interval
from planner.units import format_count
from planner.workload import GivenPrompt, read_traffic

HOUR_S = 3600.0
MILLION = 1_000_000
MUCH_BEYOND = 0.01
"""Share of requests outside the measured loads above which a warning is given."""
CANNOT = 3
"""Exit code if no layout keeps the limits."""

OnTry = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Sized:
    """One layout with the fleet it needs."""

    layout: MeasuredLayout
    sizing: Sizing
    demand: Demand

    @property
    def num_hosts(self) -> int:
        """Number of hosts. Only for a layout that can keep the limits."""
        assert self.sizing.num_hosts is not None
        return self.sizing.num_hosts

    @property
    def instances_per_host(self) -> int:
        return self.layout.host.cards // self.layout.cards

    @property
    def num_instances(self) -> int:
        return self.num_hosts * self.instances_per_host

    @property
    def capacity(self) -> float:
        """Requests per second of all instances together."""
        return self.num_instances * self.layout.instance.capacity

    def utilisation(self, rate_per_s: float, num_hosts: int | None = None) -> float:
        """Utilisation at this rate, as a fraction of the capacity of the fleet, or of `num_hosts` of its hosts."""
        hosts = self.num_hosts if num_hosts is None else num_hosts
        return rate_per_s / (hosts * self.instances_per_host * self.layout.instance.capacity)

    @property
    def output_tokens(self) -> float | None:
        """Mean output tokens of a request: the trace's own, else as measured."""
        if isinstance(self.demand, Trace) and self.demand.mean_output_tokens is not None:
            return self.demand.mean_output_tokens
        return self.layout.instance.output_tokens

    @property
    def millions_per_hour(self) -> float | None:
        """Millions of output tokens per hour at the mean rate."""
        tokens = self.output_tokens
        return None if tokens is None else self.demand.mean_rate_per_s * HOUR_S * tokens / MILLION

    @property
    def cost_per_hour(self) -> float | None:
        cost = self.layout.host.cost_per_hour
        return None if cost is None else cost * self.num_hosts

    @property
    def cost_per_million(self) -> float | None:
        """Cost of a million output tokens at the mean rate, with all hosts running all the time."""
        cost, millions = self.cost_per_hour, self.millions_per_hour
        return None if cost is None or millions is None else cost / millions

    @property
    def kilowatts(self) -> float | None:
        """Power of the site at the mean rate. It grows from idle to busy in proportion to the utilisation, after
        Barroso and Hölzle (10.1109/MC.2007.443).
        """
        host = self.layout.host
        if host.idle_watts is None or host.busy_watts is None:
            return None
        busy = min(1.0, self.utilisation(self.demand.mean_rate_per_s))
        return self.num_hosts * (host.idle_watts + (host.busy_watts - host.idle_watts) * busy) * host.pue / 1000

    @property
    def kwh_per_million(self) -> float | None:
        power, millions = self.kilowatts, self.millions_per_hour
        return None if power is None or millions is None else power / millions

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        layout, instance, seen = self.layout, self.layout.instance, self.sizing.after_loss
        if layout.cards * self.instances_per_host < layout.host.cards:
            idle = layout.host.cards - layout.cards * self.instances_per_host
            found.append(f"{idle} of the {layout.host.cards} cards of each host are left over")
        if instance.measured is not None and seen is not None and seen.beyond_measured > MUCH_BEYOND:
            low, high = instance.measured
            others = f"fewer than {low:g} or more than {high:g}" if low < high else f"another number than {low:g}"
            found.append(
                f"extrapolated: {seen.beyond_measured:.0%} of the requests met {others} in flight, never measured"
            )
        if not self.sizing.is_reachable and instance.measured is not None and instance.measured[0] > 1:
            found.append(f"the lowest load measured is {instance.measured[0]:g} in flight: measure 1")
        if self.sizing.num_hosts is not None and self.num_hosts > PRECISION:
            found.append(f"the number of hosts is exact to one part in {PRECISION}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class FleetPlan:
    spec: FleetSpec
    demand: Demand
    sized: tuple[Sized, ...]
    """The sized layouts, in the order of the spec."""

    @property
    def cheapest(self) -> Sized | None:
        """The cheapest layout, by cost if every host has one, else by cards; None if no layout keeps the limits."""
        able = [one for one in self.sized if one.sizing.num_hosts is not None]
        return min(able, key=self._price, default=None)

    @property
    def is_by_cost(self) -> bool:
        return all(one.layout.host.cost_per_hour is not None for one in self.sized)

    def _price(self, one: Sized) -> float:
        return (one.cost_per_hour or 0.0) if self.is_by_cost else one.num_hosts * one.layout.host.cards

    @property
    def is_simulated(self) -> bool:
        return any(one.layout.is_simulated for one in self.sized)

    @property
    def exit_code(self) -> int:
        return CANNOT if self.cheapest is None else 0

    @property
    def sentence(self) -> str:
        best = self.cheapest
        if best is None:
            if all(not one.sizing.is_reachable for one in self.sized):
                return "no number of hosts keeps the limits: a request that is alone in its instance breaks them"
            return f"up to {MAX_HOSTS} hosts do not keep the limits"
        hosts = f"{format_count(best.num_hosts)} host{'s' if best.num_hosts > 1 else ''}"
        which = f" of {len(self.sized)} layouts" if len(self.sized) > 1 else ""
        price = f"cheapest{which}" if self.is_by_cost else f"fewest cards{which}"
        lost = f", {self.spec.lost} of which may be lost" if self.spec.lost else ""
        return f"{best.layout.name} on {hosts}{lost}: {price}; it keeps the limits at {_rate(self.demand)}"

    def document(self) -> dict[str, Any]:
        best = self.cheapest
        return {
            "name": self.spec.name,
            "simulated": self.is_simulated,
            "mean_rate": self.demand.mean_rate_per_s,
            "peak_rate": self.demand.peak_rate_per_s,
            "slo": self.spec.limits,
            "lost": self.spec.lost,
            "router": self.spec.router,
            "verdict": self.sentence,
            "cheapest": None if best is None else best.layout.name,
            "layouts": [_document(one) for one in self.sized],
        }


def _rate(demand: Demand) -> str:
    kind = f"{demand.peak_rate_per_s:.4g} requests/s"
    return kind if isinstance(demand, Steady) else f"the trace's busiest stretch, {kind}"


def _document(one: Sized) -> dict[str, Any]:
    layout, sizing, instance = one.layout, one.sizing, one.layout.instance
    found: dict[str, Any] = {
        "layout": layout.name,
        "source": layout.source,
        "simulated": layout.is_simulated,
        "cards": layout.cards,
        "instance_capacity": instance.capacity,
        "knee": instance.knee,
        "hosts": sizing.num_hosts,
        "limited_by": sizing.why,
        "warnings": list(one.warnings),
    }
    if sizing.num_hosts is None or sizing.all_up is None or sizing.after_loss is None:
        return found
    return {
        **found,
        "instances": one.num_instances,
        "utilisation_mean": one.utilisation(one.demand.mean_rate_per_s),
        "utilisation_peak": one.utilisation(one.demand.peak_rate_per_s),
        "utilisation_peak_after_loss": one.utilisation(one.demand.peak_rate_per_s, sizing.after_loss.num_hosts),
        "cost_per_hour": one.cost_per_hour,
        "cost_per_million_output_tokens": one.cost_per_million,
        "kilowatts": one.kilowatts,
        "kwh_per_million_output_tokens": one.kwh_per_million,
        "peak": _observed(sizing.all_up),
        "peak_after_loss": _observed(sizing.after_loss),
    }


def _observed(seen: Observed) -> dict[str, Any]:
    return {
        "hosts": seen.num_hosts,
        "refused_fraction": seen.refused,
        "extrapolated_fraction": seen.beyond_measured,
        **{f"{name}_s": _figures(interval) for name, interval in seen.metrics.items()},
    }


def _figures(interval: Interval) -> dict[str, float | None]:
    values = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


# --- asked ------------------------------------------------------------------------------------------------------------


def plan_fleet(spec: FleetSpec, folder: Path, storage: str | None = None, on_try: OnTry = lambda *_: None) -> FleetPlan:
    """Size every layout for the demand. Raises InputError if the files lack something."""
    if storage is not None and not any(layout.study for layout in spec.layouts):
        raise InputError("--storage is about a study's trials, and there is no study")
    demand = demand_of(spec.demand, *_prompts(spec, folder))
    sized = []
    for layout in layouts_of(spec.layouts, spec.host, spec.limits, folder, storage):
        per_host = layout.host.cards // layout.cards
        sizing = size_fleet(
            layout.instance,
            per_host,
            demand,
            spec.limits,
            spec.lost,
            spec.router,
            spec.seed,
            lambda hosts, name=layout.name: on_try(name, hosts),  # type: ignore[misc]
        )
        sized.append(Sized(layout, sizing, demand))
    return FleetPlan(spec, demand, tuple(sized))


def _prompts(spec: FleetSpec, folder: Path) -> tuple[Sequence[GivenPrompt], str]:
    if spec.demand.trace is None:
        return [], ""
    path = folder / spec.demand.trace
    return read_traffic(path).requests, str(path)

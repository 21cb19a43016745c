"""A fleet's plan as a person reads it: a table of layouts, on a narrow terminal one block per layout; a sentence."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from planner.benchmark import Metric
from planner.fleet.demand import Steady
from planner.fleet.plan import FleetPlan, Sized
from planner.fleet.sizing import Observed
from planner.statistics import Interval
from planner.terminal import NARROW
from planner.units import format_count, format_ms

SHOWN = ("ttft_p50", "ttft_p95", "e2el_p50", "e2el_p95")
NAMES = {"ttft": "TTFT", "e2el": "E2E", "tpot": "TPOT", "queue": "queue"}


def print_plan(console: Console, plan: FleetPlan) -> None:
    console.print(_blocks(plan) if console.width < NARROW else _tables(plan))


def _tables(plan: FleetPlan) -> RenderableType:
    best = plan.cheapest
    table = Table(title=Text(_title(plan), "italic"), title_justify="left")
    for name in ("layout", *(label for label, _ in _facts(plan, plan.sized[0]))):
        table.add_column(name, justify="left" if name == "layout" else "right", no_wrap=True)
    for one in plan.sized:
        cells = (_marked(plan, one), *(cell for _, cell in _facts(plan, one)))
        table.add_row(*map(Text, cells), style="bold green" if one is best else "")
    parts: list[RenderableType] = [table]
    if best is not None:
        latencies = Table(title="At the peak, with the interval of 95 %", title_justify="left")
        names = _latency_names(plan)
        for name in ("layout", "hosts up", "utilisation", *map(_label, names)):
            latencies.add_column(name, justify="left" if name == "layout" else "right", no_wrap=True)
        for one in plan.sized:
            for seen in _seen(plan, one):
                peak = one.utilisation(one.demand.peak_rate_per_s, seen.num_hosts)
                shown = (_interval(seen.metrics.get(name)) for name in names)
                cells = (_marked(plan, one), format_count(seen.num_hosts), f"{peak:.0%}", *shown)
                latencies.add_row(*map(Text, cells))
        parts.append(latencies)
    return Group(*parts, *_lines(plan))


def _blocks(plan: FleetPlan) -> RenderableType:
    lines = [Text(_title(plan), "bold")]
    for one in plan.sized:
        lines.append(Text(_marked(plan, one), "bold"))
        lines += [Text(f"  {label} {cell}") for label, cell in _facts(plan, one) if cell]
        for seen in _seen(plan, one):
            lines.append(Text(f"  at the peak, {format_count(seen.num_hosts)} hosts up"))
            names = [name for name in _latency_names(plan) if name in seen.metrics]
            lines += [Text(f"    {_label(name)} {_interval(seen.metrics[name])}") for name in names]
    return Group(*lines, *_lines(plan))


def _title(plan: FleetPlan) -> str:
    demand = plan.demand
    limits = ", ".join(f"{name} at most {format_ms(limit)}" for name, limit in plan.spec.limits.items())
    words = f"{demand.mean_rate_per_s:.4g} requests/s, {demand.peak_rate_per_s:.4g} at the peak"
    if not isinstance(demand, Steady):
        words += " of the trace"
    return f"{plan.spec.name}: {words}; {limits}"


def _marked(plan: FleetPlan, one: Sized) -> str:
    return f"{one.layout.name}{'*' if one is plan.cheapest else ''}"


def _facts(plan: FleetPlan, one: Sized) -> list[tuple[str, str]]:
    """The columns as (label, cell). Those of cost and energy appear only if a host has the figures."""
    hosts = [each.layout.host for each in plan.sized]
    is_able = one.sizing.num_hosts is not None
    found = [
        ("cards each", str(one.layout.cards)),
        ("req/s each", f"{one.layout.instance.capacity:.3g}"),
        ("full", str(one.layout.instance.knee)),
        ("instances", format_count(one.num_instances) if is_able else ""),
        ("hosts", format_count(one.num_hosts) if is_able else "none"),
        ("at mean", f"{one.utilisation(one.demand.mean_rate_per_s):.0%}" if is_able else ""),
        ("at peak", f"{one.utilisation(one.demand.peak_rate_per_s):.0%}" if is_able else ""),
    ]
    if any(host.cost_per_hour is not None for host in hosts):
        found.append(("cost/h", _number(one.cost_per_hour) if is_able else ""))
        found.append(("cost/M tokens", _number(one.cost_per_million) if is_able else ""))
    if any(host.idle_watts is not None for host in hosts):
        found.append(("kW", _number(one.kilowatts) if is_able else ""))
        found.append(("kWh/M tokens", _number(one.kwh_per_million) if is_able else ""))
    return found


def _number(value: float | None) -> str:
    if value is None:
        return "not known"
    return format_count(value) if value >= 1000 else f"{value:.3g}"


def _seen(plan: FleetPlan, one: Sized) -> list[Observed]:
    both = [one.sizing.all_up, one.sizing.after_loss] if plan.spec.lost else [one.sizing.all_up]
    return [seen for seen in both if seen is not None]


def _latency_names(plan: FleetPlan) -> list[str]:
    """The names of SHOWN that were measured, and those of the limits."""
    seen = [seen for one in plan.sized for seen in _seen(plan, one)]
    return [name for name in dict.fromkeys((*SHOWN, *plan.spec.limits)) if any(name in one.metrics for one in seen)]


def _label(name: str) -> str:
    metric = Metric.parse(name)
    return f"{NAMES[metric.family]} {metric.statistic}"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return ""
    share = interval.half_width / interval.value if interval.value else 0.0
    return f"{format_ms(interval.value)} ±{share:.0%}"


def _lines(plan: FleetPlan) -> list[Text]:
    best = plan.cheapest
    lines = [Text(f"verdict  {plan.sentence}", "bold red" if best is None else "bold green")]
    lines += [Text(f"limit    {one.layout.name}: {one.sizing.why}") for one in plan.sized]
    lines += [Text(f"from     {one.layout.name}: {one.layout.source}") for one in plan.sized]
    lines += [Text(f"warning  {one.layout.name}: {words}", "yellow") for one in plan.sized for words in one.warnings]
    if plan.is_simulated:
        lines.append(Text("SIMULATED trials: not a measurement", "bold yellow"))
    return lines

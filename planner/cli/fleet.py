"""`planner fleet`: how many hosts a demand needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from planner.cli.completion import metrics, one_of, studies
from planner.cli.options import HOST, INSTANCE, LIMITS, LOAD, JsonOption, QuietOption, SimulatedOption, StorageOption


def fleet(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="fleet.yaml, or a study whose measured layouts are compared.", metavar="PLAN", autocompletion=studies
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Requests per second, mean over the day.", rich_help_panel=LOAD)
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option("--peak", help="Rate at the busiest time, as a multiple of the mean.", rich_help_panel=LOAD),
    ] = None,
    burstiness: Annotated[
        float | None,
        typer.Option(
            "--burstiness",
            help="Shape of arrivals: 1 Poisson, below 1 bursts, inf constant gaps.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            "--trace",
            help="JSONL file with arrival_s, as bench reads it, in place of --rate.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    trace_speed: Annotated[
        float | None,
        typer.Option(
            "--trace-speed",
            help="Factor on the pace of the trace: 2 replays it in half the time.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    slo: Annotated[
        str | None,
        typer.Option(
            "--slo",
            help="Limits to keep: ttft_p95=2s,e2el_p95=30s,queue_p99=1s.",
            autocompletion=metrics("="),
            rich_help_panel=LIMITS,
        ),
    ] = None,
    lost: Annotated[
        int | None,
        typer.Option("--lost", help="Number of hosts that may be lost at the peak; 1.", min=0, rich_help_panel=LIMITS),
    ] = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            "--bench",
            help="File with measurements of one instance, from planner bench --sweep --json.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    capacity: Annotated[
        float | None,
        typer.Option("--capacity", help="Requests per second that one instance can serve.", rich_help_panel=INSTANCE),
    ] = None,
    service_time: Annotated[
        str | None,
        typer.Option(
            "--service-time",
            help="Time from sending to the last token of a request that is alone; with --capacity.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    ttft: Annotated[
        str | None,
        typer.Option(
            "--ttft", help="Time to the first token of that request; with --capacity.", rich_help_panel=INSTANCE
        ),
    ] = None,
    in_flight: Annotated[
        int | None,
        typer.Option(
            "--in-flight",
            help="Most requests at once in an instance (--max-num-seqs).",
            min=1,
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    variation: Annotated[
        float | None,
        typer.Option(
            "--variation",
            help="Spread of the work per request: standard deviation over mean.",
            rich_help_panel=INSTANCE,
        ),
    ] = None,
    output_tokens: Annotated[
        float | None,
        typer.Option(
            "--output-tokens", help="Mean output tokens per request, for cost and energy.", rich_help_panel=INSTANCE
        ),
    ] = None,
    cards: Annotated[
        int | None, typer.Option("--cards", help="Number of GPUs of one instance.", min=1, rich_help_panel=INSTANCE)
    ] = None,
    host_cards: Annotated[
        int | None, typer.Option("--host-cards", help="Number of GPUs of one host.", min=1, rich_help_panel=HOST)
    ] = None,
    cost: Annotated[
        float | None,
        typer.Option("--cost", help="Cost of one host per hour, in any currency.", rich_help_panel=HOST),
    ] = None,
    idle_watts: Annotated[
        float | None,
        typer.Option("--idle-watts", help="Power of one host without load, in watts.", rich_help_panel=HOST),
    ] = None,
    busy_watts: Annotated[
        float | None,
        typer.Option("--busy-watts", help="Power of one host at its capacity, in watts.", rich_help_panel=HOST),
    ] = None,
    pue: Annotated[
        float | None,
        typer.Option("--pue", help="Power of the site over that of its hosts.", rich_help_panel=HOST),
    ] = None,
    router: Annotated[
        str | None,
        typer.Option(
            "--router",
            help="Router of the requests: least-loaded (the front door's), round-robin or random.",
            autocompletion=one_of("least-loaded", "round-robin", "random"),
            rich_help_panel=HOST,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of arrivals and sizes in the simulation.", min=0, rich_help_panel=LOAD),
    ] = None,
    simulated: SimulatedOption = False,
    storage: StorageOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find by simulation how many hosts a demand needs under limits, what they cost, and which layout is cheapest."""
    from planner.files import pretty_json
    from planner.fleet import asked_fleet, plan_fleet, print_plan
    from planner.terminal import make_console, progress

    options: dict[str, dict[str, Any]] = {
        "demand": {
            "rate": rate, "peak": peak, "burstiness": burstiness, "trace_speed": trace_speed,
            "trace": None if trace is None else str(trace.absolute()),
        },
        "host": {
            "cards": host_cards, "cost_per_hour": cost, "idle_watts": idle_watts, "busy_watts": busy_watts, "pue": pue,
        },
        "layout": {
            "bench": None if bench is None else str(bench.absolute()), "capacity": capacity,
            "service_time": service_time, "ttft": ttft, "max_num_seqs": in_flight, "variation": variation,
            "output_tokens": output_tokens, "cards": cards, "simulated": simulated or None,
        },
        "fleet": {"slo": slo, "lost": lost, "router": router, "seed": seed},
    }  # fmt: skip
    spec, folder = asked_fleet(path, options)
    with progress("fleets simulated", quiet) as on_progress:
        plan = plan_fleet(spec, folder, storage, lambda name, hosts: on_progress(f"{name}: {hosts} hosts", 0, 0))
    if as_json:
        typer.echo(pretty_json(plan.document()))
    else:
        print_plan(make_console(), plan)
    if plan.exit_code:
        raise typer.Exit(plan.exit_code)

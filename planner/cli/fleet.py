"""`planner fleet`: how many hosts a demand needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from planner.cli.options import JsonOption, QuietOption, one_of


def fleet(
    path: Annotated[
        Path | None, typer.Argument(help="fleet.yaml, or a study whose measured layouts are compared.", metavar="PLAN")
    ] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests a second, mean over the day.")] = None,
    peak: Annotated[
        float | None, typer.Option("--peak", help="Rate at the busiest time, as a multiple of the mean.")
    ] = None,
    burstiness: Annotated[
        float | None,
        typer.Option("--burstiness", help="Shape of arrivals: 1 Poisson, below 1 bursts, inf constant gaps."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="JSONL with arrival_s, as bench reads it, in place of --rate.")
    ] = None,
    trace_speed: Annotated[
        float | None,
        typer.Option("--trace-speed", help="Factor on the pace of the trace: 2 replays it in half the time."),
    ] = None,
    slo: Annotated[str | None, typer.Option("--slo", help="Limits: ttft_p95=2s,e2el_p95=30s,queue_p99=1s.")] = None,
    bench: Annotated[
        Path | None,
        typer.Option("--bench", help="Measurements of one instance: a file of planner bench --sweep --json."),
    ] = None,
    capacity: Annotated[
        float | None, typer.Option("--capacity", help="Requests a second that one instance can serve.")
    ] = None,
    service_time: Annotated[
        str | None, typer.Option("--service-time", help="Time for a request that is alone, with --capacity.")
    ] = None,
    ttft: Annotated[
        str | None, typer.Option("--ttft", help="Time to that request's first token, with --capacity.")
    ] = None,
    in_flight: Annotated[
        int | None, typer.Option("--in-flight", help="Most requests at once in an instance (max_num_seqs).", min=1)
    ] = None,
    variation: Annotated[
        float | None, typer.Option("--variation", help="Spread of the work per request: standard deviation over mean.")
    ] = None,
    output_tokens: Annotated[
        float | None, typer.Option("--output-tokens", help="Mean output tokens per request, for cost and energy.")
    ] = None,
    cards: Annotated[int | None, typer.Option("--cards", help="GPUs of one instance.", min=1)] = None,
    host_cards: Annotated[int | None, typer.Option("--host-cards", help="GPUs of one host.", min=1)] = None,
    cost: Annotated[float | None, typer.Option("--cost", help="Cost of one host per hour, in any currency.")] = None,
    idle_watts: Annotated[
        float | None, typer.Option("--idle-watts", help="Power of one host without load, in watts.")
    ] = None,
    busy_watts: Annotated[
        float | None, typer.Option("--busy-watts", help="Power of one host at its capacity, in watts.")
    ] = None,
    pue: Annotated[float | None, typer.Option("--pue", help="Power of the site over that of its hosts.")] = None,
    lost: Annotated[int | None, typer.Option("--lost", help="Hosts that may be lost at the peak; 1.", min=0)] = None,
    router: Annotated[
        str | None,
        typer.Option(
            "--router",
            help="least-loaded (the front door's), round-robin or random.",
            autocompletion=one_of("least-loaded", "round-robin", "random"),
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of arrivals and sizes.", min=0)] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="The study's simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL of the study.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """How many instances and hosts a demand needs under limits, at which cost; the cheapest layout. By simulation."""
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

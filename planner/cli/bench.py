"""`planner bench`: measure an OpenAI-compatible server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import QuietOption
from planner.errors import InputError


def bench(
    url: Annotated[str | None, typer.Argument(help="Server, for example http://localhost:8000.")] = None,
    workload: Annotated[
        str, typer.Option("--workload", help="Shipped name, YAML file, or JSONL or ShareGPT file of prompts.")
    ] = "chat",
    concurrency: Annotated[int | None, typer.Option("--concurrency", help="Requests in flight.", min=1)] = None,
    request_rate: Annotated[
        float | None, typer.Option("--request-rate", help="Requests a second, whether or not others have ended.")
    ] = None,
    start_rate: Annotated[
        float | None,
        typer.Option(
            "--start-rate", help="Requests a second at the start; the rate rises from here to --request-rate."
        ),
    ] = None,
    burstiness: Annotated[
        float | None,
        typer.Option("--burstiness", help="Shape of arrivals: 1 Poisson, below 1 bursts, inf constant gaps."),
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option("--max-concurrency", help="Most requests in flight at a rate or in a trace.", min=1)
    ] = None,
    ramp: Annotated[
        str | None,
        typer.Option("--ramp", help="Time in which the requests of --concurrency join one by one, for example 30s."),
    ] = None,
    trace_speed: Annotated[
        float | None, typer.Option("--trace-speed", help="Factor on the pace of a trace: 2 sends it in half the time.")
    ] = None,
    num_requests: Annotated[int | None, typer.Option("--num-requests", help="Requests in one repeat.", min=1)] = None,
    repeats: Annotated[int, typer.Option("--repeats", help="Measured runs, each with new prompts.", min=1)] = 3,
    input_tokens: Annotated[int | None, typer.Option("--input-tokens", help="Tokens in each prompt.", min=1)] = None,
    output_tokens: Annotated[
        int | None, typer.Option("--output-tokens", help="Tokens of each answer (max_tokens).", min=1)
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of lengths, prompts and arrivals.", min=0)] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Longest time for one request, for example 10min.")
    ] = None,
    slo: Annotated[str | None, typer.Option("--slo", help="Limits: ttft_p95=10s,output_throughput=500.")] = None,
    sweep: Annotated[
        str | None, typer.Option("--sweep", help="Load levels to measure one after another: 1,2,4,8.")
    ] = None,
    find_capacity: Annotated[
        bool, typer.Option("--find-capacity", help="Search for the highest load inside the limits.")
    ] = False,
    preset: Annotated[str | None, typer.Option("--preset", help="stress-32k: ten prompts of 32 000 at once.")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", help="completions or chat.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Served name; by default the first.")] = None,
    model_dir: Annotated[
        str | None, typer.Option("--model-dir", help="Model directory, for the size of the vocabulary.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option("--api-key-env", help="Environment variable that has the API key.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option("--ca-file", help="PEM file of the authority that signed the server's certificate.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Accept any certificate.")] = False,
    client_processes: Annotated[
        int | None,
        typer.Option("--client-processes", help="Processes that send requests; by default as many as needed.", min=1),
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Name of this run, written into the JSON.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result, vLLM's keys and ours.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write one row per repeat.")] = None,
    save_detailed: Annotated[
        bool, typer.Option("--save-detailed", help="Write each request into the JSON too.")
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", help="Two result files; measures nothing.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Measure any OpenAI-compatible server: throughput and latency with intervals, capacity, a stress test."""
    from datetime import datetime

    from planner.benchmark import BenchAsk, compare_files, run_bench, write_outcome
    from planner.terminal import make_console, print_table, progress

    console = make_console()
    if compare is not None:
        tables, exit_code = compare_files(*compare), 0
    elif url is None:
        raise InputError("bench: name a server, for example http://localhost:8000, or two files with --compare")
    else:
        asked = BenchAsk(
            url=url, workload=workload, model=model, model_dir=model_dir, endpoint=endpoint, concurrency=concurrency,
            max_concurrency=max_concurrency, request_rate=request_rate, start_rate=start_rate, burstiness=burstiness,
            ramp=ramp, trace_speed=trace_speed, num_requests=num_requests, repeats=repeats,
            input_tokens=input_tokens, output_tokens=output_tokens, seed=seed, timeout=timeout, slo=slo, sweep=sweep,
            finds_capacity=find_capacity, preset=preset, api_key_env=api_key_env, ca_file=ca_file, insecure=insecure,
            client_processes=client_processes, label=label, detailed=save_detailed,
        )  # fmt: skip
        asides = make_console(quiet=quiet)
        with progress("asking the server", quiet) as stage:
            outcome = run_bench(asked, stage, asides.print, datetime.now())
        write_outcome(outcome, json_file, csv_file)
        tables, exit_code = outcome.tables, outcome.exit_code
    for one in tables:
        print_table(console, one)
    if exit_code:
        raise typer.Exit(exit_code)

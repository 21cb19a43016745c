"""`planner bench`: measure an OpenAI-compatible server, or compare two results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import compared_metrics, one_of
from planner.cli.options import (
    COMPARE,
    LIMITS,
    LOAD,
    OUTPUT,
    SERVER,
    JsonOption,
    QuietOption,
    SloOption,
    WorkloadOption,
    given_options,
)
from planner.cli.output import is_kept
from planner.errors import InputError


def bench(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Argument(help="Server, for example http://localhost:8000 or localhost:8000.")
    ] = None,
    workload: WorkloadOption = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", help="Requests in flight.", min=1, rich_help_panel=LOAD)
    ] = None,
    request_rate: Annotated[
        float | None,
        typer.Option(
            "--request-rate", help="Requests per second, sent whether or not others have ended.", rich_help_panel=LOAD
        ),
    ] = None,
    start_rate: Annotated[
        float | None,
        typer.Option(
            "--start-rate",
            help="Requests per second at the start; the rate rises from here to --request-rate.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    burstiness: Annotated[
        float | None,
        typer.Option(
            "--burstiness",
            help="Shape of arrivals: 1 Poisson, below 1 bursts, inf constant gaps.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency", help="Most requests in flight at a rate or in a trace.", min=1, rich_help_panel=LOAD
        ),
    ] = None,
    ramp: Annotated[
        str | None,
        typer.Option(
            "--ramp",
            help="Time in which the requests of --concurrency join one by one, for example 30s.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    trace_speed: Annotated[
        float | None,
        typer.Option(
            "--trace-speed",
            help="Factor on the pace of a trace: 2 sends it in half the time.",
            rich_help_panel=LOAD,
        ),
    ] = None,
    num_requests: Annotated[
        int | None, typer.Option("--num-requests", help="Requests in one repeat.", min=1, rich_help_panel=LOAD)
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option("--repeats", help="Measured runs, each with new prompts; 3.", min=1, rich_help_panel=LOAD),
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option("--input-tokens", help="Length of each prompt in tokens.", min=1, rich_help_panel=LOAD)
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option(
            "--output-tokens", help="Length of each answer in tokens (max_tokens).", min=1, rich_help_panel=LOAD
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of lengths, prompts and arrivals.", min=0, rich_help_panel=LOAD)
    ] = None,
    timeout: Annotated[
        str | None,
        typer.Option("--timeout", help="Longest time for one request, for example 10min.", rich_help_panel=LOAD),
    ] = None,
    client_processes: Annotated[
        int | None,
        typer.Option(
            "--client-processes",
            help="Number of processes that send the requests; by default as many as the load needs.",
            min=1,
            rich_help_panel=LOAD,
        ),
    ] = None,
    slo: SloOption = None,
    sweep: Annotated[
        str | None,
        typer.Option("--sweep", help="Load levels to measure one after another: 1,2,4,8.", rich_help_panel=LIMITS),
    ] = None,
    find_capacity: Annotated[
        bool,
        typer.Option(
            "--find-capacity", help="Search for the highest load inside the limits of --slo.", rich_help_panel=LIMITS
        ),
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Stress test: stress-32k sends ten prompts of 32 000 tokens at once.",
            autocompletion=one_of("stress-32k"),
            rich_help_panel=LIMITS,
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            help="API that requests go to: completions or chat.",
            autocompletion=one_of("completions", "chat"),
            rich_help_panel=SERVER,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Name under which the server serves the model; by default its first.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    model_dir: Annotated[
        str | None,
        typer.Option("--model-dir", help="Model directory, for the size of the vocabulary.", rich_help_panel=SERVER),
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option("--api-key-env", help="Environment variable that has the API key.", rich_help_panel=SERVER),
    ] = None,
    ca_file: Annotated[
        str | None,
        typer.Option(
            "--ca-file",
            help="PEM file of the authority that signed the server's certificate.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any certificate.", rich_help_panel=SERVER)
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--compare", help="Compare two result files; nothing is measured.", rich_help_panel=COMPARE),
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="Metric and percent, as ttft_p95:5%: exit code 3 if --compare finds it surely worse by more; "
            "may be given again.",
            metavar="METRIC:PERCENT",
            autocompletion=compared_metrics,
            rich_help_panel=COMPARE,
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="Name of this run, written into the JSON document.", rich_help_panel=OUTPUT),
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="CSV file to write, with one row per repeat.", rich_help_panel=OUTPUT)
    ] = None,
    save_detailed: Annotated[
        bool,
        typer.Option("--save-detailed", help="Write each request into the JSON document too.", rich_help_panel=OUTPUT),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure any OpenAI-compatible server: throughput and latency with intervals, capacity, a stress test."""
    from datetime import datetime

    from planner.benchmark import BenchAsk, bench_json, compare_files, refuse_contradictions, run_bench, write_csv
    from planner.terminal import make_console, print_table, progress

    if compare is not None:
        _refuse_beside_compare(context)
        outcome = compare_files(*compare, fail_on or ())
    elif fail_on:
        raise InputError("--fail-on judges two results: add --compare BEFORE AFTER")
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
        refuse_contradictions(asked, as_json, csv_file is not None)
        asides = make_console(stderr=as_json or is_kept(), quiet=quiet)
        with progress("asking the server", quiet) as stage:
            outcome = run_bench(asked, stage, lambda line: asides.print(line, markup=False), datetime.now())
        if csv_file is not None:
            write_csv(outcome, csv_file)
    if as_json:
        typer.echo(bench_json(outcome))
    else:
        console = make_console()
        for one in outcome.tables:
            print_table(console, one)
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _refuse_beside_compare(context: typer.Context) -> None:
    """Raise InputError for an option of a measurement: --compare measures nothing."""
    allowed = {"compare", "fail_on", "as_json", "output", "quiet"}
    if others := [words for name, words in given_options(context).items() if name not in allowed]:
        raise InputError(f"--compare measures nothing: leave out {', '.join(others)}")

"""The commands around a running service; `cli.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.errors import InputError
from planner.options import JsonOption, QuietOption


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
        float | None, typer.Option("--start-rate", help="From here the rate rises to --request-rate.")
    ] = None,
    burstiness: Annotated[
        float | None, typer.Option("--burstiness", help="Of arrivals: 1 Poisson, less in bursts, inf constant gaps.")
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option("--max-concurrency", help="Most in flight at a rate or in a trace.", min=1)
    ] = None,
    ramp: Annotated[
        str | None, typer.Option("--ramp", help="Until all of --concurrency have joined, for example 30s.")
    ] = None,
    trace_speed: Annotated[
        float | None, typer.Option("--trace-speed", help="How many times as fast a trace is sent.")
    ] = None,
    num_requests: Annotated[int | None, typer.Option("--num-requests", help="Of one repeat.", min=1)] = None,
    repeats: Annotated[int, typer.Option("--repeats", help="Measured runs, each of new prompts.", min=1)] = 3,
    input_tokens: Annotated[int | None, typer.Option("--input-tokens", help="Of each prompt.", min=1)] = None,
    output_tokens: Annotated[int | None, typer.Option("--output-tokens", help="max_tokens of each.", min=1)] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of lengths, prompts and arrivals.", min=0)] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", help="Of one request, for example 10min.")] = None,
    slo: Annotated[str | None, typer.Option("--slo", help="Limits: ttft_p95=10s,output_throughput=500.")] = None,
    sweep: Annotated[str | None, typer.Option("--sweep", help="Levels of the load: 1,2,4,8.")] = None,
    find_capacity: Annotated[
        bool, typer.Option("--find-capacity", help="Search the highest load that keeps the limits.")
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
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    client_processes: Annotated[
        int | None, typer.Option("--client-processes", help="That send requests; by default as many as needed.", min=1)
    ] = None,
    label: Annotated[str | None, typer.Option("--label", help="Written into the JSON.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result, vLLM's keys and ours.")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a row each repeat.")] = None,
    save_detailed: Annotated[bool, typer.Option("--save-detailed", help="Each request in the JSON too.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", help="Two result files; measures nothing.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Measure any OpenAI-compatible server: throughput and latency with intervals, capacity, a stress test."""
    from datetime import datetime

    from planner.bench_command import BenchAsk, compare_files, run_bench, write_outcome
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


def guard(
    ladder: Annotated[Path | None, typer.Argument(help="ladder.yaml, or the study it is beside.")] = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="Of Prometheus metrics on the loopback; 0: none.", min=0, max=65535)
    ] = 9477,
    webhook: Annotated[
        str | None,
        typer.Option(
            "--webhook",
            envvar="PLANNER_WEBHOOK",
            help="URL to which each event is posted; in PLANNER_WEBHOOK no list of processes shows it.",
        ),
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the service too when the guard is told to end.")] = False,
    proxy: Annotated[
        int | None,
        typer.Option("--proxy", help="Front door for requests on this loopback port.", min=1, max=65535),
    ] = None,
    trim: Annotated[
        str | None,
        typer.Option("--trim", help="oldest: of chats that are too long the oldest turns are left out."),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No events on stdout; the events file and the webhook get them.")
    ] = False,
) -> None:
    """Keep the exported service up: restarts with back-off, one rung down the ladder after memory failures, back up."""
    from planner.files import load_ladder
    from planner.service.guard_loop import Door, run_guard
    from planner.workspace import LADDER_FILE, find_study

    if ladder is None and Path(LADDER_FILE).exists():
        ladder = Path(LADDER_FILE)
    found, folder = load_ladder(find_study(ladder))
    if trim not in (None, "oldest") or (trim and proxy is None):
        raise InputError(f"--trim {trim}: allowed is oldest, with --proxy")
    door = None if proxy is None else Door(port=proxy, trim="oldest" if trim else None)
    run_guard(found, folder, metrics_port, webhook, stop, door, quiet)


def log(
    target: Annotated[str, typer.Argument(help="Log file (plain or gzip), - for stdin, or a container's name.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print events as they come; Ctrl-C sums up.")] = False,
    study: Annotated[
        Path | None, typer.Option("--study", help="Set it beside what this study predicts and asks.")
    ] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="Of the study; by default its default settings.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="One of the simulated trials.")] = False,
    as_json: JsonOption = False,
) -> None:
    """What a vLLM log says: settings, memory, warnings and failures with what to change, throughput."""
    from planner.log_command import run_log

    if code := run_log(target, follow, study, trial, simulated, as_json, typer.echo):
        raise typer.Exit(code)


def verify(
    script: Annotated[Path, typer.Argument(help="The exported run.sh.")],
    study: Annotated[
        Path | None, typer.Option("--study", help="Its study; by default the one whose folder it is in.")
    ] = None,
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Measured runs; by default the study's, at least 2.", min=1)
    ] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Share that counts as no difference, besides the noise.", min=0.0)
    ] = 0.0,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start an exported script, benchmark it, say whether it reproduces its trial, and stop it."""
    from planner.estimate.answer import pretty_json
    from planner.service.verify import EXIT_DIFFERS, verify_script
    from planner.terminal import make_console, print_table, progress

    with progress("starting", quiet) as stage:
        try:
            found = verify_script(script, study, repeats, tolerance, storage, stage)
        except KeyboardInterrupt:
            typer.echo("stopped; what the script had started is removed", err=True)
            raise SystemExit(130) from None
    if as_json:
        typer.echo(pretty_json(found.document()))
    else:
        print_table(make_console(), found.table())
    if not found.reproduced:
        raise typer.Exit(EXIT_DIFFERS)

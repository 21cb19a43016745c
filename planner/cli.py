"""The command line: thin commands over the library. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from planner import service_cli
from planner.errors import InputError, PlannerError
from planner.options import (
    GpuOption,
    InterconnectOption,
    JsonOption,
    LeversOption,
    ModelOption,
    NumGpusOption,
    StudyArgument,
    VersionOption,
)

app = typer.Typer(
    help="Which vLLM settings fit and are fastest on the GPUs you have, and the proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FLAGS_EPILOG = "Further flags are vLLM's own, by vLLM's names: --max-num-seqs 64 --tensor-parallel-size 4 ..."


@app.command(epilog=FLAGS_EPILOG)
def estimate(
    context: typer.Context,
    study: StudyArgument = None,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
    as_json: JsonOption = False,
    requests: Annotated[
        typer.FileBinaryRead | None, typer.Option("--requests", help="Answer a JSONL file of requests; - is stdin.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", help="Largest feasible value of a setting: max_model_len.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", help="Table of FIELD=LOW..HIGH (doubling) or FIELD=a,b,c; twice: a heat map."),
    ] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Side by side: the study's variants or models, as awq,fp16.")
    ] = None,
    layouts: Annotated[
        bool, typer.Option("--layouts", help="Side by side: one instance on all cards, two on half each, ...")
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--calibrate", help="Learn from the log of a start with these settings, and keep it.")
    ] = None,
) -> None:
    """Memory per GPU before anything is launched, and whether the engine will start and why."""
    if requests is not None:
        if fit or sweep or compare or layouts:
            raise InputError("--requests answers its file only; leave out --fit, --sweep, --compare and --layouts")
        from planner.requests import answer_lines

        for line in answer_lines(requests):
            typer.echo(line)
        return
    from planner.advice import nearest_fixes
    from planner.estimate import calibrated, pretty_json, setup_of
    from planner.explore import explore
    from planner.sources import spec_of

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    found = explore(spec, context.obj, fit, sweep or [], compare, layouts)
    if found is None:
        setup = calibrated(setup_of(spec, context.obj), folder, log)
        answer = setup.answer()
        fixes = nearest_fixes(setup, answer)
    if as_json and found is not None:
        typer.echo(pretty_json(found.document(spec.name)))
    elif as_json:
        typer.echo(pretty_json({**answer.document(spec.name), "fixes": [fix.document() for fix in fixes]}))
    else:
        from planner.estimate_view import estimate_view, view
        from planner.report import make_console

        make_console().print(estimate_view(answer, setup.interconnect, fixes) if found is None else view(found))
    code = (3 if answer.violated else 0) if found is None else found.exit_code
    if code:
        raise typer.Exit(code)


@app.command(epilog=FLAGS_EPILOG)
def tune(
    context: typer.Context,
    study: StudyArgument = None,
    trials: Annotated[int, typer.Option("--trials", help="Launches in all, earlier runs counted in.", min=1)] = 30,
    backend: Annotated[str | None, typer.Option("--backend", help="docker, process or simulated.")] = None,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the first launch, then stop.")] = False,
    levers: LeversOption = None,
    sampler: Annotated[str | None, typer.Option("--sampler", help="planner, tpe, gp, random or grid.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the sampler.", min=0)] = None,
    quality_prompts: Annotated[
        Path | None, typer.Option("--quality-prompts", help="JSONL of prompts on which answers are compared.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Answer from a JSONL file of launches; launch nothing.")
    ] = None,
    finals: Annotated[
        bool, typer.Option("--finals/--no-finals", help="Measure the best trials and the default again at the end.")
    ] = True,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
) -> None:
    """Prune what cannot work, launch the rest for real, benchmark it, search, and write the best run.sh."""
    from planner.sources import spec_of, with_levers, with_prompts, with_settings
    from planner.tune_command import replay_study, tune_study

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    spec = with_levers(with_settings(spec, context.obj, sampler, seed), levers)
    spec = with_prompts(spec, quality_prompts)
    if replay is None:
        tune_study(spec, folder, trials, backend, storage, dry_run, finals)
    elif backend is None:
        replay_study(spec, trials, replay, storage, dry_run, finals)
    else:
        raise InputError("--replay launches nothing: leave out --backend")


@app.command(epilog=FLAGS_EPILOG)
def doctor(
    context: typer.Context,
    study: StudyArgument = None,
    backend: Annotated[str, typer.Option("--backend", help="docker or process.")] = "docker",
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
    as_json: JsonOption = False,
) -> None:
    """Everything that must be true before the first launch, each line with its fix; without a study, the machine."""
    from planner.estimate import pretty_json
    from planner.report import make_console
    from planner.service.doctor import document, examine, exit_code, parse_backend, read_case
    from planner.service.doctor_view import doctor_view
    from planner.sources import spec_of, with_settings
    from planner.workspace import is_study_near

    spec, folder = None, Path()
    if model is not None or gpu is not None or is_study_near(study):
        spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
        spec = with_settings(spec, context.obj, None, None)
    case = read_case(spec, folder, parse_backend(backend))
    checks = examine(case, lambda text: typer.echo(text, err=True))
    if as_json:
        typer.echo(pretty_json(document(case, checks)))
    else:
        make_console().print(doctor_view(case, checks))
    if code := exit_code(checks):
        raise typer.Exit(code)


@app.command()
def candidates(study: StudyArgument = None, levers: LeversOption = None) -> None:
    """How many combinations of the search space are feasible, and which rule removes the rest."""
    from planner.problem import Problem
    from planner.report import make_console, plan_view
    from planner.sources import load, with_levers

    spec, folder = load(study)
    spec = with_levers(spec, levers)
    make_console().print(plan_view(Problem(spec), str(folder)))


@app.command()
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
) -> None:
    """Measure any OpenAI-compatible server: throughput and latency with intervals, capacity, a stress test."""
    from datetime import datetime

    from rich.progress import Progress

    from planner.bench_command import BenchAsk, compare_files, run_bench, write_outcome
    from planner.report import make_console, print_table

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
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("asking the server", total=None)
            outcome = run_bench(
                asked,
                lambda stage, done, total: progress.update(
                    task, description=stage, completed=done, total=total or None
                ),
                progress.console.print,
                datetime.now(),
            )
        write_outcome(outcome, json_file, csv_file)
        tables, exit_code = outcome.tables, outcome.exit_code
    for one in tables:
        print_table(console, one)
    if exit_code:
        raise typer.Exit(exit_code)


@app.command()
def report(
    study: StudyArgument = None,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", help="Write the trials there, a line of JSON each.")] = None,
    pareto: Annotated[
        str | None, typer.Option("--pareto", help="Only trials that none beats in all of these, as ttft_p95,tpot_p95.")
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Write a page that needs nothing else: report.html in the study's folder.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where --html writes instead.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="The simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
) -> None:
    """The trials of a study so far and what they say; as a page with --html; as JSONL, --replay reads them back."""
    from planner.pareto import parse_metrics
    from planner.sources import load
    from planner.tune_command import report_trials, write_page

    if output is not None and not html:
        raise InputError("--output: says where --html writes; add --html")
    if html and jsonl is not None:
        raise InputError("--html and --jsonl: one at a time")
    spec, folder = load(study)
    metrics = parse_metrics(pareto) if pareto else ()
    if html:
        typer.echo(f"wrote {write_page(spec, folder, simulated, storage, output, metrics)}")
    else:
        report_trials(spec, folder, simulated, storage, jsonl, metrics)


@app.command()
def export(
    study: StudyArgument = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="A trial's number; by default the best.")] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="script, ladder, compose, systemd, kubernetes, serve or config.")
    ] = "script",
    simulated: Annotated[bool, typer.Option("--simulated", help="From the simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
) -> None:
    """The best trial (or another) as text that runs it: for Docker, Kubernetes, planner guard or vLLM itself."""
    from planner.export.kinds import parse_kind
    from planner.sources import load
    from planner.tune_command import export_trial

    chosen = parse_kind(kind)
    spec, folder = load(study)
    typer.echo(f"wrote {export_trial(spec, folder, chosen, output, trial, simulated, storage)}")


for served in (service_cli.guard, service_cli.log, service_cli.verify):
    app.command()(served)


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="study, search-space, workload, hardware or ladder.")]) -> None:
    """The JSON Schema of a YAML file, for editors."""
    import json

    from planner.files import json_schema

    typer.echo(json.dumps(json_schema(kind), indent=2))


@app.command()
def gpus() -> None:
    """The cards planner knows, and those it sees here."""
    from rich.table import Table

    from planner.hardware import GPUS
    from planner.nvml import detect_gpus
    from planner.report import make_console
    from planner.units import format_gib

    table = Table("card", "memory", "compute capability", "source")
    for card in GPUS:
        major, minor = card.compute_capability
        table.add_row(card.name, format_gib(card.memory_bytes), f"{major}.{minor}", card.source)
    make_console().print(table)
    seen = detect_gpus()
    typer.echo(f"visible here: {', '.join(card.name for card in seen) or 'none'}")


@app.command()
def models() -> None:
    """The model architectures shipped with planner."""
    from planner.model import shipped_names

    typer.echo("\n".join(shipped_names()))


def main(argv: list[str] | None = None) -> None:
    """Run the command line; a PlannerError is one line and its exit code, anything else keeps its traceback.

    vLLM's own flags are taken out first, by the names of EngineConfig's fields, and reach the command as context.obj.
    """
    from planner.engine import parse_flags, settings

    try:
        given, rest = parse_flags(sys.argv[1:] if argv is None else argv)
        if settings(given) and not {"estimate", "tune", "doctor"} & set(rest[:1]):
            raise InputError(
                f"command line: {', '.join(settings(given))}: only estimate, tune and doctor take vLLM's flags"
            )
        app(rest, obj=given)
    except PlannerError as error:
        typer.echo(f"planner: {error}", err=True)
        sys.exit(error.exit_code)

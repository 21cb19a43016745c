"""The command line: thin commands over the library. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import InputError, PlannerError

app = typer.Typer(
    help="Which vLLM settings fit and are fastest on the GPUs you have, and the proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FLAGS_EPILOG = "Further flags are vLLM's own, by vLLM's names: --max-num-seqs 64 --tensor-parallel-size 4 ..."

StudyArgument = Annotated[Path | None, typer.Argument(help="study.yaml or its folder; by default the one here.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Model directory, config.json or name (no YAML).")]
GpuOption = Annotated[str | None, typer.Option("--gpu", help="Card, for example 'RTX 2080 Ti 22GB' (planner gpus).")]
NumGpusOption = Annotated[int, typer.Option("--num-gpus", help="How many cards.", min=1)]
InterconnectOption = Annotated[str, typer.Option("--interconnect", help="pcie, nvlink, nvlink-pairs or none.")]
VersionOption = Annotated[str, typer.Option("--vllm-version", help="Version of vLLM.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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
) -> None:
    """Memory per GPU before anything is launched, and whether the engine will start and why."""
    if requests is not None:
        from planner.requests import answer_lines

        for line in answer_lines(requests):
            typer.echo(line)
        return
    from planner.estimate import estimate_deployment
    from planner.sources import spec_of

    spec, _ = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    answer = estimate_deployment(spec, context.obj)
    if as_json:
        typer.echo(answer.to_json(spec.name))
    else:
        from planner.estimate_view import estimate_view
        from planner.report import make_console

        make_console().print(estimate_view(answer))
    if answer.violated:
        raise typer.Exit(3)


@app.command(epilog=FLAGS_EPILOG)
def tune(
    context: typer.Context,
    study: StudyArgument = None,
    trials: Annotated[int, typer.Option("--trials", help="Launches in all, earlier runs counted in.", min=1)] = 30,
    backend: Annotated[str | None, typer.Option("--backend", help="docker, process or simulated.")] = None,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the first launch, then stop.")] = False,
    sampler: Annotated[str | None, typer.Option("--sampler", help="planner, tpe, random or grid.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the sampler.")] = None,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
) -> None:
    """Prune what cannot work, launch the rest for real, benchmark it, search, and write the best run.sh."""
    from planner.sources import spec_of, with_settings
    from planner.tune import tune_study

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    spec = with_settings(spec, context.obj, sampler, seed)
    tune_study(spec, folder, trials, backend, storage, dry_run)


@app.command()
def candidates(study: StudyArgument = None) -> None:
    """How many combinations of the search space are feasible, and which rule removes the rest."""
    from planner.problem import Problem
    from planner.report import make_console, plan_view
    from planner.sources import load

    spec, folder = load(study)
    make_console().print(plan_view(Problem(spec), str(folder)))


@app.command()
def export(
    study: StudyArgument = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="A trial's number; by default the best.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="From the simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
) -> None:
    """The best trial (or another) as a docker run script."""
    from planner.sources import load
    from planner.tune import export_trial

    spec, folder = load(study)
    typer.echo(f"wrote {export_trial(spec, folder, output, trial, simulated, storage)}")


@app.command()
def schema(kind: Annotated[str, typer.Argument(help="study, search-space, workload or hardware.")]) -> None:
    """The JSON Schema of a YAML file, for editors."""
    import json

    from planner.files import json_schema

    typer.echo(json.dumps(json_schema(kind), indent=2))


@app.command()
def gpus() -> None:
    """The cards planner knows, and those it sees here."""
    from rich.table import Table

    from planner.hardware import GPUS, detect_gpus
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
        if settings(given) and not {"estimate", "tune"} & set(rest[:1]):
            raise InputError(f"command line: {', '.join(settings(given))}: only estimate and tune take vLLM's flags")
        app(rest, obj=given)
    except PlannerError as error:
        typer.echo(f"planner: {error}", err=True)
        sys.exit(error.exit_code)

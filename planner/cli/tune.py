"""`planner tune`: plan, run or replay, conclude, write the script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import (
    GpuOption,
    InterconnectOption,
    JsonOption,
    LeversOption,
    ModelOption,
    NumGpusOption,
    QuietOption,
    StudyArgument,
    VersionOption,
)
from planner.errors import InputError


def tune(
    context: typer.Context,
    study: StudyArgument = None,
    trials: Annotated[
        int, typer.Option("--trials", help="Launches in all, including those of earlier runs.", min=1)
    ] = 30,
    backend: Annotated[str | None, typer.Option("--backend", help="docker, process or simulated.")] = None,
    storage: Annotated[
        str | None,
        typer.Option("--storage", envvar="PLANNER_STORAGE", help="Optuna storage URL; PostgreSQL's is shared."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", help="Launch on the hosts of this Ray cluster; auto: the one here.")
    ] = None,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="With --ray: one trial at a time on each host.")
    ] = False,
    mixed: Annotated[
        bool, typer.Option("--mixed", help="With --ray: hosts may differ; their speeds are measured and corrected for.")
    ] = False,
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
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prune what cannot work, launch the rest for real, benchmark it, search, and write the best run.sh."""
    from planner.cli.tune_output import show_first_launch, show_plan, tune_or_replay
    from planner.engine import parse_version
    from planner.study import spec_of, with_flags, with_levers, with_prompts
    from planner.tuning import Hosts, choose_backend, make_plan, plan_replay, shown

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    given = context.obj.read(parse_version(spec.engine.version))
    spec = with_levers(with_flags(spec, given, sampler, seed), levers)
    spec = with_prompts(spec, quality_prompts)
    hosts = Hosts(ray, exclusive, mixed) if ray is not None else None
    if hosts is None and (exclusive or mixed):
        raise InputError("--exclusive and --mixed are about the hosts of --ray")
    if replay is not None:
        if backend is not None:
            raise InputError("--replay launches nothing: leave out --backend")
        plan = plan_replay(spec, folder, trials, replay)
        results = shown(storage) if storage else "not kept"
    else:
        if hosts is not None:
            chosen = hosts.backend(backend)
        else:
            chosen = choose_backend(spec, backend or ("docker" if dry_run else None))  # a plan needs no Engine, no card
        plan = make_plan(spec, folder, trials, chosen, hosts)
        results = str(plan.workspace.folder)
    show_plan(plan, results, quiet, as_json)
    if dry_run:
        show_first_launch(plan, as_json)
    else:
        tune_or_replay(plan, storage, finals, quiet, as_json)

"""`planner tune`: plan, run or replay, conclude, write the script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

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
from planner.files import pretty_json
from planner.report import TerminalSession, conclusion, plan_document, plan_view, result_tables, summary, trials_table
from planner.service import write_exports
from planner.study import Workspace
from planner.terminal import make_console
from planner.tuning import BACKEND as REPLAY
from planner.tuning import Outcome, Plan, replay_study, tune_study, write_study

INTERRUPTED = 130
"""Exit code of an interrupted command, as a shell's after Ctrl-C."""


def tune_or_replay(plan: Plan, storage: str | None, has_finals: bool, quiet: bool, as_json: bool) -> None:
    """Carry a plan out and tell it; with JSON all but the conclusion goes to stderr. Exit code 130: interrupted."""
    console = make_console(stderr=as_json, quiet=quiet)
    observer = TerminalSession(console)
    if plan.backend == REPLAY:
        outcome = replay_study(plan, observer, storage, has_finals=has_finals)
        if as_json:
            _print_json(summary(outcome.problem, outcome.trials))
        else:
            make_console().print(
                trials_table(outcome.problem, outcome.trials), conclusion(outcome.problem, outcome.trials), sep="\n"
            )
        return
    write_study(plan.problem.spec, plan.workspace.study_folder)
    outcome = tune_study(plan, observer, storage, has_finals=has_finals)
    if outcome.interrupted:
        make_console(stderr=as_json).print(
            f"\nstopped; {outcome.num_launched} of {plan.target} trials are kept, the same command continues"
        )
        raise SystemExit(INTERRUPTED)
    _conclude(outcome, plan.workspace, as_json)


def show_plan(plan: Plan, results: str, quiet: bool, as_json: bool) -> None:
    console = make_console(stderr=as_json, quiet=quiet)
    console.print(plan_view(plan.problem, results, plan.time_words, plan.backend, plan.target))


def show_first_launch(plan: Plan, as_json: bool) -> None:
    """What a dry run prints after the plan."""
    if plan.backend == REPLAY:
        return
    if as_json:
        _print_json({**plan_document(plan.problem), "first_launch": plan.first_launch})
    else:
        _print_commands(make_console(), plan.first_launch)


def _print_commands(console: Console, commands: list[list[str]]) -> None:
    console.print("first launch:")
    for argv in commands:
        console.print(shlex.join(argv), soft_wrap=True, markup=False)


def _conclude(outcome: Outcome, workspace: Workspace, as_json: bool) -> None:
    problem, trials = outcome.problem, outcome.trials
    console = make_console()
    if not as_json:
        console.print(*result_tables(problem, trials), conclusion(problem, trials), sep="\n")
    written = write_exports(problem, trials, workspace)
    if as_json:
        _print_json({**summary(problem, trials), "wrote": [str(path) for path in written]})
        return
    for path in written:
        console.print(Text(f"wrote {path}"))


def _print_json(document: Mapping[str, Any]) -> None:
    make_console().print(pretty_json(document), soft_wrap=True, markup=False)


def tune(
    context: typer.Context,
    study: StudyArgument = None,
    trials: Annotated[int, typer.Option("--trials", help="Launches in all, earlier runs counted in.", min=1)] = 30,
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
        bool, typer.Option("--mixed", help="With --ray: hosts may differ; speeds are told apart.")
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
    from planner.study import spec_of, with_levers, with_prompts, with_settings
    from planner.tuning import Hosts, choose_backend, make_plan, plan_replay, shown

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    spec = with_levers(with_settings(spec, context.obj, sampler, seed), levers)
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

"""The command line: thin commands over the library. Heavy imports happen inside the commands."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from planner.errors import InputError, PlannerError
from planner.examples import FLAGS, epilog
from planner.fleet_cli import fleet
from planner.options import (
    GpuOption,
    InterconnectOption,
    JsonOption,
    LeversOption,
    ModelOption,
    NumGpusOption,
    QuietOption,
    StudyArgument,
    TakesFlags,
    VersionOption,
)
from planner.service_cli import bench, guard, log, verify
from planner.shipped_cli import gpus, models, schema
from planner.whole_files import NO_ROOM

NARROW_HELP = 72
"""Columns below which help has no boxes: they would cut the options' names."""

app = typer.Typer(
    help="Which vLLM settings fit and are fastest on the GPUs you have, and the proof.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if shutil.get_terminal_size().columns >= NARROW_HELP else None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

TAKE_FLAGS = {"estimate", "tune", "doctor"}
"""Commands after which vLLM's own flags may follow."""


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
        from planner.estimate.batch import answer_lines, lines_of

        for line in answer_lines(lines_of(requests)):
            typer.echo(line)
        return
    from planner.estimate.answer import calibrated, pretty_json, setup_of
    from planner.estimate.explore import explore
    from planner.estimate.fixes import nearest_fixes
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
        from planner.estimate.view import estimate_view, exploration_view
        from planner.terminal import make_console

        make_console().print(
            estimate_view(answer, setup.interconnect, fixes) if found is None else exploration_view(found)
        )
    code = (3 if answer.violated else 0) if found is None else found.exit_code
    if code:
        raise typer.Exit(code)


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
    from planner.sources import spec_of, with_levers, with_prompts, with_settings
    from planner.tune_command import show_first_launch, show_plan, tune_or_replay
    from planner.tuning.plan import Hosts, choose_backend, make_plan, plan_replay
    from planner.tuning.search.claims import shown

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


def doctor(
    context: typer.Context,
    study: StudyArgument = None,
    backend: Annotated[str, typer.Option("--backend", help="docker or process.")] = "docker",
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Everything that must be true before the first launch, each line with its fix; without a study, the machine."""
    from planner.estimate.answer import pretty_json
    from planner.service.doctor import document, examine, exit_code, parse_backend, read_case
    from planner.service.doctor_view import doctor_view
    from planner.sources import spec_of, with_settings
    from planner.terminal import make_console
    from planner.workspace import is_study_near

    spec, folder = None, Path()
    if model is not None or gpu is not None or is_study_near(study):
        spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
        spec = with_settings(spec, context.obj, None, None)
    case = read_case(spec, folder, parse_backend(backend))
    checks = examine(case, lambda text: None if quiet else typer.echo(text, err=True))
    if as_json:
        typer.echo(pretty_json(document(case, checks)))
    else:
        make_console().print(doctor_view(case, checks))
    if code := exit_code(checks):
        raise typer.Exit(code)


def candidates(study: StudyArgument = None, levers: LeversOption = None, as_json: JsonOption = False) -> None:
    """How many combinations of the search space are feasible, and which rule removes the rest."""
    from planner.estimate.answer import pretty_json
    from planner.problem import Problem
    from planner.report import plan_view
    from planner.sources import load, with_levers
    from planner.summary import plan_document
    from planner.terminal import make_console, working

    spec, folder = load(study)
    with working("judging the search space"):
        problem = Problem(with_levers(spec, levers))
        plan, document = plan_view(problem, str(folder)), plan_document(problem)
    if as_json:
        typer.echo(pretty_json(document))
    else:
        make_console().print(plan)


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
    as_json: JsonOption = False,
) -> None:
    """The trials of a study so far and what they say; as a page with --html; as JSONL, --replay reads them back."""
    from planner.pareto import parse_metrics
    from planner.sources import load
    from planner.tune_command import report_document, report_trials, write_page

    if output is not None and not html:
        raise InputError("--output: says where --html writes; add --html")
    if sum((html, jsonl is not None, as_json)) > 1:
        raise InputError("--html, --json and --jsonl: one at a time")
    spec, folder = load(study)
    metrics = parse_metrics(pareto) if pareto else ()
    if html:
        typer.echo(f"wrote {write_page(spec, folder, simulated, storage, output, metrics)}")
    elif as_json:
        typer.echo(report_document(spec, folder, simulated, storage, metrics))
    else:
        report_trials(spec, folder, simulated, storage, jsonl, metrics)
        if jsonl is not None and jsonl.is_file():  # and not /dev/stdout
            typer.echo(f"wrote {jsonl}")


def export(
    study: StudyArgument = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it.")] = None,
    trial: Annotated[int | None, typer.Option("--trial", help="A trial's number; by default the best.")] = None,
    kind: Annotated[
        str, typer.Option("--kind", help="script, ladder, compose, systemd, kubernetes, serve or config.")
    ] = "script",
    simulated: Annotated[bool, typer.Option("--simulated", help="From the simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The best trial (or another) as text that runs it: for Docker, Kubernetes, planner guard or vLLM itself."""
    from planner.estimate.answer import pretty_json
    from planner.export.kinds import parse_kind
    from planner.sources import load
    from planner.tune_command import export_trial

    chosen = parse_kind(kind)
    spec, folder = load(study)
    written = export_trial(spec, folder, chosen, output, trial, simulated, storage)
    typer.echo(pretty_json({"kind": chosen, "wrote": str(written)}) if as_json else f"wrote {written}")


COMMANDS = (
    estimate,
    tune,
    doctor,
    candidates,
    bench,
    report,
    export,
    guard,
    log,
    verify,
    fleet,
    schema,
    gpus,
    models,
)
"""All of them, in the order of the help."""


def _register() -> None:
    for command in COMMANDS:
        name = command.__name__
        if name in TAKE_FLAGS:
            app.command(cls=TakesFlags, epilog=epilog(name, FLAGS))(command)
        else:
            app.command(epilog=epilog(name))(command)


_register()


def main(argv: list[str] | None = None) -> None:
    """Run the command line; an error that is expected is one line on stderr and its exit code.

    vLLM's own flags are taken out first, by the names of EngineConfig's fields, and reach the command as context.obj.
    """
    from planner.engine.config import settings
    from planner.engine.flags import parse_flags

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows ? and does not end the program
    code: object = 0
    try:
        given, rest = parse_flags(sys.argv[1:] if argv is None else argv)
        if settings(given) and not TAKE_FLAGS & set(rest[:1]):
            raise InputError(
                f"command line: {', '.join(settings(given))}: only estimate, tune and doctor take vLLM's flags"
            )
        code = app(rest, obj=given, standalone_mode=False)
        sys.stdout.flush()
    except PlannerError as error:
        typer.echo(f"planner: {error}", err=True)
        code = error.exit_code
    except typer.TyperException as error:
        if words := _usage_words(error):
            typer.echo(f"planner: {words}", err=True)
        code = InputError.exit_code
    except BrokenPipeError:  # whoever reads, such as head, has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PlannerError.exit_code  # as typer does where it notices first
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # which any word may be that could name a file
            typer.echo(f"planner: {str(error.filename)[:60]}...: {error.strerror}", err=True)
            code = InputError.exit_code
        elif error.errno in NO_ROOM:
            _tell_no_room(error)
            code = PlannerError.exit_code
        else:
            raise
    sys.exit(code if isinstance(code, int) else 0)


def _tell_no_room(error: OSError) -> None:
    """In one line; the output itself may be what has no room."""
    where = error.filename or "the output"
    with suppress(OSError):
        words = f"{where}: {error.strerror}; what a study has finished is kept: mend that, then run it again"
        typer.echo(f"planner: {words}", err=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # or the interpreter would fail on it again
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage_words(error: typer.TyperException) -> str:
    """One line on a word that the command line does not know, with what may be meant; empty where help was printed."""
    from planner.engine.config import FIELDS
    from planner.engine.flags import SHORT_FLAGS, flag
    from planner.near import did_you_mean

    context, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    if context is None or not hasattr(error, "possibilities"):
        return " ".join(error.format_message().split())
    known = [word for parameter in context.command.params for word in parameter.opts]
    if context.info_name in TAKE_FLAGS:
        known += map(flag, FIELDS)
    short = SHORT_FLAGS.get(f"-{str(option).strip('-')}")
    hint = did_you_mean(str(option), known) if short not in known else f"; did you mean {short}?"
    return f"{context.info_name}: no such option: {option}{hint}"


if __name__ == "__main__":
    main()

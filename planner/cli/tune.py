"""`planner tune`: plan, run or replay, conclude, write the script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import (
    CLUSTER,
    LIMITS,
    LOAD,
    MOST_IN_FLIGHT,
    SEARCH,
    AllOption,
    ForOption,
    JsonOption,
    LeversOption,
    LikeOption,
    NotifyOption,
    ObjectiveOption,
    QuietOption,
    SloOption,
    WorkloadOption,
    given_options,
    takes_study,
)
from planner.errors import InputError
from planner.study import StudySource

UNTIL_WORDS = "0.5%, with the sampler planner"


@takes_study
def tune(
    context: typer.Context,
    source: StudySource,
    trials: Annotated[
        int,
        typer.Option(
            "--trials", help="Launches in all, including those of earlier runs.", min=1, rich_help_panel=LIMITS
        ),
    ] = 30,
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            help="Expected gain of the best of all that is left, as 0.5%, below which the search ends by itself.",
            show_default=UNTIL_WORDS,
            rich_help_panel=LIMITS,
        ),
    ] = None,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Launch all trials, whatever they may gain.", rich_help_panel=LIMITS),
    ] = False,
    hours: Annotated[
        float | None,
        typer.Option(
            "--hours",
            help="Most hours of wall clock for all launches, earlier runs and the finals included.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            help="Most GPU hours, counted alike: the hours of a launch times the study's cards.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    finals: Annotated[
        bool,
        typer.Option(
            "--finals/--no-finals",
            help="Measure the best trials and the default again at the end.",
            rich_help_panel=LIMITS,
        ),
    ] = True,
    checks: Annotated[
        bool,
        typer.Option(
            "--checks/--no-checks",
            help="Check cards, models, image and space before the first launch, as doctor does.",
            rich_help_panel=LIMITS,
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan and the first launch, then stop.", rich_help_panel=LIMITS),
    ] = False,
    like: LikeOption = None,
    duration: ForOption = None,
    workload: WorkloadOption = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            help="Requests in flight over all instances, in place of the study's; as many requests for each as before.",
            min=1,
            max=MOST_IN_FLIGHT,
            rich_help_panel=LOAD,
        ),
    ] = None,
    slo: SloOption = None,
    objective: ObjectiveOption = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="Image of vLLM to run, in place of the study's.", rich_help_panel=CLUSTER),
    ] = None,
    levers: LeversOption = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="Who chooses the next candidate: planner, tpe, gp, random or grid.",
            autocompletion=one_of("planner", "tpe", "gp", "random", "grid"),
            rich_help_panel=SEARCH,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the sampler.", min=0, rich_help_panel=SEARCH)
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live/--no-live",
            help="Measure further scheduler settings in each launch, by turning the limits of vLLM V1 while it serves; "
            "only launches of their own are reported.",
            rich_help_panel=SEARCH,
        ),
    ] = False,
    learn_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--learn-from",
            help="Earlier study on the same cards, whose launches correct the speed model from the start; repeatable.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    quality_prompts: Annotated[
        Path | None,
        typer.Option(
            "--quality-prompts", help="JSONL of prompts on which answers are compared.", rich_help_panel=SEARCH
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option("--replay", help="Answer from a JSONL file of launches; launch nothing.", rich_help_panel=SEARCH),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="Where engines run: docker, process or simulated.",
            autocompletion=one_of("docker", "process", "simulated"),
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            envvar="PLANNER_STORAGE",
            help="Optuna storage URL; PostgreSQL's is shared.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", help="Launch on the hosts of this Ray cluster; auto: the one here.", rich_help_panel=CLUSTER
        ),
    ] = None,
    exclusive: Annotated[
        bool,
        typer.Option("--exclusive", help="Launch one trial at a time on each host of --ray.", rich_help_panel=CLUSTER),
    ] = False,
    mixed: Annotated[
        bool,
        typer.Option(
            "--mixed",
            help="Let the hosts of --ray differ: their speeds are measured and corrected for.",
            rich_help_panel=CLUSTER,
        ),
    ] = False,
    show_all: AllOption = False,
    notify: NotifyOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Prune what cannot work, launch the rest for real, benchmark it, search, and write the best run.sh."""
    from planner.cli.like import read_like
    from planner.cli.tune_output import Carried, show_first_launch, show_plan, tune_or_replay
    from planner.launch import with_version_here
    from planner.report import receiver_of
    from planner.study import Question, continued, read_study, with_prompts, with_sampler
    from planner.tuning import BACKEND as REPLAY
    from planner.tuning import (
        Hosts,
        budget_of,
        choose_backend,
        make_plan,
        plan_replay,
        taught_by,
        until_of,
        with_live,
    )
    from planner.workload import window_note

    if keep_going and until is not None:
        raise InputError("--keep-going and --until contradict each other; leave out one")
    if show_all and (dry_run or as_json):
        raise InputError("--all is about the tables of the result: leave it out with --dry-run and --json")
    if ray is None and (exclusive or mixed):
        raise InputError("--exclusive and --mixed are about the hosts of --ray")
    beside: dict[str, object] = {"--backend": backend, "--ray": ray, "--quality-prompts": quality_prompts}
    beside["--notify"] = notify if "notify" in given_options(context) else None  # a variable is for all commands
    if replay is not None and (idle := [option for option, value in beside.items() if value is not None]):
        raise InputError(f"--replay launches nothing: leave out {' and '.join(idle)}")
    receivers = tuple(receiver_of(url) for url in notify or ())
    if replay is not None and like is not None:
        raise InputError("--replay and --like contradict each other: a table of launches has its own load")
    source, words = (
        (source, "") if like is not None else with_version_here(source, REPLAY if replay is not None else backend)
    )
    question = Question(workload=workload, concurrency=concurrency, slo=slo, objective=objective, image=image)
    if like is not None or duration is not None:
        study = read_like(like, source, context.obj, levers, question, duration)
    else:
        study = read_study(source, context.obj, levers, question, launches=True)
    if replay is None and not (dry_run and study.is_read):
        study = continued(study)
    spec = with_prompts(with_sampler(study.spec, sampler, seed), quality_prompts)
    hosts = Hosts(ray, exclusive, mixed) if ray is not None else None
    if replay is not None:
        plan = plan_replay(spec, study.folder, trials, replay, finals)
    else:
        if hosts is not None:
            chosen = hosts.backend(backend)
        else:
            chosen = choose_backend(spec, backend or ("docker" if dry_run else None))  # a plan needs no Engine, no card
        plan = make_plan(spec, study.folder, trials, chosen, hosts, finals)
    until_share = None if keep_going else until_of(spec, until)
    taught = taught_by(plan.forecast, learn_from or [], plan.workspace, storage)
    plan = replace(plan, until=until_share, taught=taught, budget=budget_of(spec, hours, budget))
    if live:
        plan = with_live(plan)
    how = Carried(
        storage=storage,
        has_checks=checks,
        has_file=not source.is_described,
        replaced=study.flags.replaced,
        shows_all=show_all,
        receivers=receivers,
    )
    for line in (words, *study.notes, window_note(spec.workload)):
        if line and not quiet:
            typer.echo(line, err=True)
    show_plan(plan, how, quiet, as_json)
    if dry_run:
        show_first_launch(plan, how, as_json)
    else:
        tune_or_replay(plan, how, quiet, as_json)

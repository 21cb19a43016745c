"""The commands around a running service; `cli.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.errors import InputError
from planner.options import JsonOption


def guard(
    ladder: Annotated[Path | None, typer.Argument(help="ladder.yaml, or the study it is beside.")] = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", help="Of Prometheus metrics on the loopback; 0: none.", min=0, max=65535)
    ] = 9477,
    webhook: Annotated[str | None, typer.Option("--webhook", help="URL to which each event is posted.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the service too when the guard is told to end.")] = False,
    proxy: Annotated[
        int | None,
        typer.Option("--proxy", help="Front door for requests on this loopback port.", min=1, max=65535),
    ] = None,
    trim: Annotated[
        str | None,
        typer.Option("--trim", help="oldest: of chats that are too long the oldest turns are left out."),
    ] = None,
) -> None:
    """Keep the exported service up: restarts with back-off, one rung down the ladder after memory failures, back up."""
    from planner.files import load_ladder
    from planner.service.guard_loop import Door
    from planner.service.guard_loop import guard as guard_service
    from planner.workspace import LADDER_FILE, find_study

    if ladder is None and Path(LADDER_FILE).exists():
        ladder = Path(LADDER_FILE)
    found, folder = load_ladder(find_study(ladder))
    if trim not in (None, "oldest") or (trim and proxy is None):
        raise InputError(f"--trim {trim}: allowed is oldest, with --proxy")
    door = None if proxy is None else Door(port=proxy, trim="oldest" if trim else None)
    guard_service(found, folder, metrics_port, webhook, stop, door)


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
    as_json: JsonOption = False,
) -> None:
    """Start an exported script, benchmark it, say whether it reproduces its trial, and stop it."""
    from rich.progress import Progress

    from planner.estimate import pretty_json
    from planner.report import make_console, print_table
    from planner.service.verify import EXIT_DIFFERS, verify_script

    console = make_console()
    with Progress(console=console, transient=True, disable=as_json or not console.is_terminal) as progress:
        task = progress.add_task("starting", total=None)
        try:
            found = verify_script(
                script,
                study,
                repeats,
                tolerance,
                storage,
                lambda stage, done, total: progress.update(
                    task, description=stage, completed=done, total=total or None
                ),
            )
        except KeyboardInterrupt:
            typer.echo("stopped; what the script had started is removed", err=True)
            raise SystemExit(130) from None
    if as_json:
        typer.echo(pretty_json(found.document()))
    else:
        print_table(console, found.table())
    if not found.reproduced:
        raise typer.Exit(EXIT_DIFFERS)

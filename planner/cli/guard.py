"""`planner guard`: keep a deployment serving, and step down its ladder where memory runs out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import one_of, studies
from planner.cli.options import OUTPUT, SERVER
from planner.errors import InputError


def guard(
    ladder: Annotated[
        Path | None,
        typer.Argument(
            help="A ladder, or a folder with a ladder.yaml; by default the one here.", autocompletion=studies
        ),
    ] = None,
    metrics_port: Annotated[
        int,
        typer.Option(
            "--metrics-port",
            help="Loopback port for Prometheus metrics; 0: none.",
            min=0,
            max=65535,
            rich_help_panel=OUTPUT,
        ),
    ] = 9477,
    webhook: Annotated[
        str | None,
        typer.Option(
            "--webhook",
            envvar="PLANNER_WEBHOOK",
            help="URL to which each event is posted; in PLANNER_WEBHOOK no list of processes shows it.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop the service too when the guard is told to end.", rich_help_panel=SERVER),
    ] = False,
    proxy: Annotated[
        int | None,
        typer.Option(
            "--proxy",
            help="Loopback port on which a front door takes requests.",
            min=1,
            max=65535,
            rich_help_panel=SERVER,
        ),
    ] = None,
    trim: Annotated[
        str | None,
        typer.Option(
            "--trim",
            help="Turns to leave out of chats that are too long, with --proxy: oldest.",
            autocompletion=one_of("oldest"),
            rich_help_panel=SERVER,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help="Print no events on stdout; the events file and the webhook get them.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Keep the exported service up: restarts with back-off, one rung down the ladder after memory failures, back up."""
    from planner.service import Door, load_ladder, run_guard
    from planner.study import LADDER_FILE, find_study

    if ladder is None:
        here = Path(LADDER_FILE)
        ladder = here if here.exists() else find_study(None).parent
    found, folder = load_ladder(ladder)
    if trim not in (None, "oldest") or (trim and proxy is None):
        raise InputError(f"--trim {trim}: allowed is oldest, with --proxy")
    door = None if proxy is None else Door(port=proxy, trim="oldest" if trim else None)
    run_guard(found, folder, metrics_port, webhook, stop, door, quiet)

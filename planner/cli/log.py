"""`planner log`: what vLLM's log says, from a file, a container or standard input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import cards, studies
from planner.cli.options import OUTPUT, STUDY, TRIALS, JsonOption, SimulatedOption


def log(
    target: Annotated[str, typer.Argument(help="Log file (plain or gzip), - for stdin, or a container's name.")],
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="Print events as they come; Ctrl-C sums up.", rich_help_panel=OUTPUT),
    ] = False,
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            help="Compare the log with what this study predicts and asks for.",
            autocompletion=studies,
            rich_help_panel=TRIALS,
        ),
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(
            "--trial",
            help="Trial of the study to compare with; by default its default settings.",
            min=0,
            rich_help_panel=TRIALS,
        ),
    ] = None,
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            help="Card of a failed start, for fixes; by default the known cards with the memory that the log shows.",
            autocompletion=cards,
            rich_help_panel=STUDY,
        ),
    ] = None,
    simulated: SimulatedOption = False,
    as_json: JsonOption = False,
) -> None:
    """What a vLLM log says: settings, memory, warnings and failures with what to change, throughput."""
    from planner.cli.log_output import run_log

    if code := run_log(target, follow, study, trial, gpu, simulated, as_json, typer.echo):
        raise typer.Exit(code)

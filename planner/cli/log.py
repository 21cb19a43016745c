"""`planner log`: what vLLM's log says, from a file, a container or standard input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from planner.cli.options import JsonOption
from planner.engine import Event
from planner.errors import InputError
from planner.report import event_json, exit_code_of, json_line, log_document, open_log, read_source


def run_log(
    target: str,
    follow: bool,
    study: Path | None,
    trial: int | None,
    is_simulated: bool,
    as_json: bool,
    echo: Callable[[str], None],
) -> int:
    """The whole command. Raises InputError."""
    from planner.report import event_text, log_view
    from planner.terminal import make_console

    if trial is not None and study is None:
        raise InputError("--trial is one of a study's: name the study with --study")
    console = make_console()

    def show(event: Event) -> None:
        if as_json:
            echo(event_json(event))
        else:  # a row of the terminal each; a file gets the whole
            is_terminal = console.is_terminal
            console.print(event_text(event), no_wrap=is_terminal, overflow="ellipsis", soft_wrap=not is_terminal)

    with open_log(target) as source:
        report, name = read_source(source, follow, show if follow else None), source.name
    compared = None
    if study is not None:
        from planner.report import compare_with_study

        compared = compare_with_study(report, study, trial, is_simulated)
    if as_json:
        found = log_document(report, name, compared)
        echo(json_line({"event": "report", **found}) if follow else msgspec.json.format(json_line(found)))
    else:
        console.print(log_view(report, name, compared))
    return exit_code_of(report)


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

    if code := run_log(target, follow, study, trial, simulated, as_json, typer.echo):
        raise typer.Exit(code)

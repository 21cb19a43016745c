"""What `planner log` does and prints: events as they come, then the report, beside a study where one is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from planner.engine import LogEvent
from planner.errors import InputError
from planner.report import (
    event_json,
    event_text,
    exit_code_of,
    json_line,
    log_document,
    log_view,
    open_log,
    read_source,
)
from planner.terminal import make_console


def run_log(
    target: str,
    follow: bool,
    study: Path | None,
    trial: int | None,
    gpu: str | None,
    is_simulated: bool,
    as_json: bool,
    echo: Callable[[str], None],
) -> int:
    """Read the log, print what it says, and return the exit code. Raises InputError."""
    if trial is not None and study is None:
        raise InputError("--trial is one of a study's: name the study with --study")
    console = make_console()

    def show(event: LogEvent) -> None:
        if as_json:
            echo(event_json(event))
        else:  # a row of the terminal each; a file gets the whole
            is_terminal = console.is_terminal
            console.print(event_text(event), no_wrap=is_terminal, overflow="ellipsis", soft_wrap=not is_terminal)

    with open_log(target) as source:
        report, name = read_source(source, follow, show if follow else None), source.name
    estimated = compared = None
    if report.failure is not None or gpu is not None:
        from planner.report import remedies

        estimated = remedies(report, gpu, study)
    if study is not None:
        from planner.report import compare_with_study

        compared = compare_with_study(report, study, trial, is_simulated)
    if as_json:
        found = log_document(report, name, compared, estimated)
        echo(json_line({"event": "report", **found}) if follow else msgspec.json.format(json_line(found)))
    else:
        console.print(log_view(report, name, compared, estimated))
    return exit_code_of(report)

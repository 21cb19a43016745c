"""`planner verify`: does an exported script still give what the study measured?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import studies
from planner.cli.options import LIMITS, TRIALS, JsonOption, QuietOption, StorageOption


def verify(
    script: Annotated[Path, typer.Argument(help="Script that planner exported: run.sh.")],
    study: Annotated[
        Path | None,
        typer.Option(
            "--study",
            help="Study of the script; by default the one whose folder it is in.",
            autocompletion=studies,
            rich_help_panel=TRIALS,
        ),
    ] = None,
    storage: StorageOption = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            "--repeats",
            help="Measured runs; by default the study's number, at least 2.",
            min=1,
            rich_help_panel=LIMITS,
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            help="Relative difference that is accepted, in addition to the noise.",
            min=0.0,
            rich_help_panel=LIMITS,
        ),
    ] = 0.0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start an exported script, benchmark it, say whether it reproduces its trial, and stop it."""
    from planner.files import pretty_json
    from planner.service import EXIT_DIFFERS, verify_script
    from planner.terminal import make_console, print_table, progress

    with progress("starting", quiet) as stage:
        try:
            found = verify_script(script, study, repeats, tolerance, storage, stage)
        except KeyboardInterrupt:
            typer.echo("stopped; what the script had started is removed", err=True)
            raise SystemExit(130) from None
    if as_json:
        typer.echo(pretty_json(found.document()))
    else:
        print_table(make_console(), found.table())
    if not found.reproduced:
        raise typer.Exit(EXIT_DIFFERS)

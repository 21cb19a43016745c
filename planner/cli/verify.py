"""`planner verify`: does an exported script still give what the study measured?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.completion import studies
from planner.cli.options import LIMITS, TRIALS, JsonOption, QuietOption, StorageOption
from planner.errors import InputError

if TYPE_CHECKING:
    from planner.service import Soak, Upgrade, Verification

LEAST_SOAK_S = 5.0
"""Shortest soak in seconds; one that is worth its name takes half an hour."""


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
            help="Measured runs; by default the study's number, at least 2. With --against: rounds; 4 to 6.",
            min=1,
            rich_help_panel=LIMITS,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            help="Relative difference that is accepted, in addition to the noise; 0.",
            min=0.0,
            rich_help_panel=LIMITS,
        ),
    ] = None,
    soak: Annotated[
        str | None,
        typer.Option(
            "--soak",
            help="Time, as 30min, for which the script gets the worst load that it allows while its memory is watched.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Image of vLLM, as vllm/vllm-openai:v0.33.0, that is compared with the script's own.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Start an exported script, benchmark it, say whether it reproduces its trial, and stop it.

    With --soak: whether its memory holds under the longest prompts and the most sequences; serve.sh is taken too.
    With --against IMAGE: whether another image of vLLM does as well, both launched in turn, with the interval.
    """
    from planner.files import pretty_json
    from planner.service import EXIT_DIFFERS, soak_script, verify_against, verify_script
    from planner.terminal import make_console, print_table, progress

    seconds = None if soak is None else _soak_seconds(soak)
    if soak is not None and against is not None:
        raise InputError("--soak and --against are two questions: ask them one after the other")
    if against is not None and (storage is not None or tolerance is not None):
        raise InputError("--against compares with no trial: leave out --storage and --tolerance")
    if against is not None and repeats == 1:
        raise InputError("--repeats 1: one launch of each shows no noise; allowed with --against is 2 or more")
    beside = {"--repeats": repeats, "--tolerance": tolerance, "--storage": storage}
    if seconds is not None and (idle := [option for option, value in beside.items() if value is not None]):
        raise InputError(f"--soak compares with no trial: leave out {' and '.join(idle)}")
    with progress("starting", quiet) as stage:
        try:
            found: Soak | Upgrade | Verification
            if against is not None:
                found = verify_against(script, against, study, repeats, stage)
            elif seconds is not None:
                found = soak_script(script, study, seconds, stage)
            else:
                found = verify_script(script, study, repeats, tolerance or 0.0, storage, stage)
        except KeyboardInterrupt:
            typer.echo("stopped; what the script had started is removed", err=True)
            raise SystemExit(130) from None
    if as_json:
        typer.echo(pretty_json(found.document()))
    else:
        print_table(make_console(), found.table())
    if not found.passed:
        raise typer.Exit(EXIT_DIFFERS)


def _soak_seconds(soak: str) -> float:
    from planner.units import parse_seconds

    try:
        seconds = parse_seconds(soak)
    except ValueError as error:
        raise InputError(f"--soak: {error}") from None
    if not LEAST_SOAK_S <= seconds < float("inf"):
        raise InputError(
            f"--soak {soak}: shows no trend; allowed is a duration of at least {LEAST_SOAK_S:.0f} s, as 30min"
        )
    return seconds

"""`planner export`: one trial as text that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import (
    OUTPUT,
    TRIALS,
    JsonOption,
    ObjectiveOption,
    SimulatedOption,
    SloOption,
    StorageOption,
    StudyArgument,
)
from planner.cli.output import STDOUT
from planner.errors import InputError


def export(
    study: StudyArgument = None,
    trial: Annotated[
        int | None,
        typer.Option(
            "--trial", help="Number of the trial; by default the one to deploy.", min=0, rich_help_panel=TRIALS
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="Kind of text: script, ladder, compose, systemd, kubernetes, serve or config.",
            autocompletion=one_of("script", "ladder", "compose", "systemd", "kubernetes", "serve", "config"),
            rich_help_panel=OUTPUT,
        ),
    ] = "script",
    slo: SloOption = None,
    objective: ObjectiveOption = None,
    simulated: SimulatedOption = False,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write instead of the one in the study's folder; - is stdout.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Write the trial to deploy (or another) as text that runs it: Docker, Kubernetes, planner guard or vLLM itself."""
    from planner.files import pretty_json
    from planner.service import export_trial, exported_text, parse_kind
    from planner.study import Question, load, with_question

    chosen = parse_kind(kind)
    if as_json and output == STDOUT:
        raise InputError("--json says where the text was written; with -o - the text itself is on stdout: drop one")
    spec, folder = load(study)
    spec = with_question(spec, Question(slo=slo, objective=objective))
    if output == STDOUT:
        typer.echo(exported_text(spec, folder, chosen, trial, simulated, storage), nl=False)
        return
    written = export_trial(spec, folder, chosen, output, trial, simulated, storage)
    typer.echo(pretty_json({"kind": chosen, "wrote": str(written)}) if as_json else f"wrote {written}")

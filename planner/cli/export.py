"""`planner export`: one trial as text that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import JsonOption, StudyArgument


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
    from planner.files import pretty_json
    from planner.service import export_trial, parse_kind
    from planner.study import load

    chosen = parse_kind(kind)
    spec, folder = load(study)
    written = export_trial(spec, folder, chosen, output, trial, simulated, storage)
    typer.echo(pretty_json({"kind": chosen, "wrote": str(written)}) if as_json else f"wrote {written}")

"""`planner export`: one trial as text that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import JsonOption, StudyArgument
from planner.errors import InputError
from planner.service import ExportKind, write_export
from planner.study import StudySpec, Workspace
from planner.trials import chosen_trial
from planner.tuning import stored_trials


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
    from planner.service import parse_kind
    from planner.study import load

    chosen = parse_kind(kind)
    spec, folder = load(study)
    written = export_trial(spec, folder, chosen, output, trial, simulated, storage)
    typer.echo(pretty_json({"kind": chosen, "wrote": str(written)}) if as_json else f"wrote {written}")


def export_trial(
    spec: StudySpec,
    folder: Path,
    kind: ExportKind,
    output: Path | None,
    number: int | None,
    is_simulated: bool,
    storage: str | None,
) -> Path:
    """Write one trial as `kind`. Raises InputError when there is no such trial."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    chosen = chosen_trial(problem, trials) if number is None else next((t for t in trials if t.number == number), None)
    if chosen is None:
        raise InputError(f"{folder}: {'no trial kept every limit' if number is None else f'no trial {number}'}")
    return write_export(kind, problem, trials, chosen, Workspace(folder, is_simulated), output)

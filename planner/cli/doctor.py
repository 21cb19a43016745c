"""`planner doctor`: is this machine ready for the study?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import CLUSTER, JsonOption, QuietOption, takes_study
from planner.errors import InputError
from planner.study import StudySource


@takes_study
def doctor(
    context: typer.Context,
    source: StudySource,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            help="Where engines run: docker or process.",
            autocompletion=one_of("docker", "process"),
            rich_help_panel=CLUSTER,
        ),
    ] = "docker",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Everything that must be true before the first launch, each line with its fix; without a study, the machine."""
    from planner.doctor import doctor_view, document, examine, exit_code, parse_backend, read_case
    from planner.files import pretty_json
    from planner.launch import with_version_here
    from planner.study import is_study_near, read_study
    from planner.terminal import make_console

    spec, folder, words, chosen = None, Path(), "", parse_backend(backend)
    if source.is_described or is_study_near(source.study):
        source, words = with_version_here(source, chosen)
        study = read_study(source, context.obj, launches=chosen == "docker")
        spec, folder = study.spec, study.folder
    elif about := [*source.said, *context.obj.names]:
        raise InputError(f"{', '.join(about)}: of which study? name one, or describe it with --model and --gpu")
    case = replace(read_case(spec, folder, chosen), has_file=not source.is_described)
    if words and not quiet:
        typer.echo(words, err=True)
    checks = examine(case, lambda text: None if quiet else typer.echo(text, err=True))
    if as_json:
        typer.echo(pretty_json(document(case, checks)))
    else:
        make_console().print(doctor_view(case, checks))
    if code := exit_code(checks):
        raise typer.Exit(code)

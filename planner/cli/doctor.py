"""`planner doctor`: is this machine ready for the study?"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.completion import one_of
from planner.cli.options import CLUSTER, SERVER, JsonOption, QuietOption, takes_study
from planner.cli.servers import servers_named, watched_seconds
from planner.errors import InputError
from planner.study import StudySource

if TYPE_CHECKING:
    from planner.engine import TypedWords
    from planner.study import Problem

WATCHED = "30s"
"""How long a running server is watched unless --for says otherwise."""


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
    duration: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Time for which a running server, whose URL stands in place of a study, is watched; 30s.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Everything that must be true before the first launch, each line with its fix; without a study, the machine.

    With the URL of a running vLLM, or several with commas: what bounds it now, and which change is worth a trial.
    """
    from planner.doctor import doctor_view, document, examine, exit_code, parse_backend, read_case
    from planner.files import pretty_json
    from planner.launch import with_version_here
    from planner.study import is_study_near, read_study
    from planner.terminal import make_console

    if (urls := servers_named(source.study)) is not None:
        if (said := context.get_parameter_source("backend")) is not None and said.name != "DEFAULT":
            raise InputError("--backend: is where engines would be launched, and a server runs already; leave it out")
        _diagnosed(urls, replace(source, study=None), context.obj, duration or WATCHED, quiet, as_json)
        return
    if duration is not None:
        raise InputError("--for: is how long a running server is watched; name its URL in place of a study")
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


def _diagnosed(
    urls: list[str], source: StudySource, typed: TypedWords, duration: str, quiet: bool, as_json: bool
) -> None:
    from planner.doctor import diagnose, diagnosis_document, diagnosis_view
    from planner.files import pretty_json
    from planner.terminal import make_console, working

    seconds = watched_seconds(duration, "seen", WATCHED)
    problem = _problem(urls[0], source, typed)
    with nullcontext() if quiet or as_json else working(f"watching the server for {duration}"):
        found = diagnose(urls, seconds, problem)
    if as_json:
        typer.echo(pretty_json(diagnosis_document(found)))
    else:
        make_console().print(diagnosis_view(found))


def _problem(url: str, source: StudySource, typed: TypedWords) -> Problem | None:
    """The server's own settings on the cards that --gpu names; None where nobody names them."""
    from planner.benchmark import read_likeness
    from planner.study import Problem, like_server, read_study

    if source.gpu is None:
        if about := [*source.said, *typed.names]:
            raise InputError(f"{', '.join(about)}: on which cards? name them with --gpu, or leave it out")
        return None
    asked, words = like_server(read_likeness(url), source, typed)
    return Problem.of(read_study(asked, words).spec)

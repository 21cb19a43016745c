"""`--like URL` of `planner tune` and `planner init`: a study that begins where a running server stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from planner.cli.servers import servers_named, watched_seconds
from planner.errors import InputError

if TYPE_CHECKING:
    from planner.engine import TypedWords
    from planner.study import FoundStudy, Question, StudySource

WATCHED = "10min"
"""How long the server is watched unless --for says otherwise."""
TRAFFIC_FILE = "traffic.yaml"
"""File beside study.yaml with the load that was seen."""


def read_like(
    url: str | None,
    source: StudySource,
    typed: TypedWords,
    levers: str | None,
    question: Question,
    duration: str | None,
) -> FoundStudy:
    """Ask the server for its settings, watch its traffic unless --workload names a load. Raises InputError."""
    from planner.benchmark import read_likeness, watch_server
    from planner.study import refuse_earlier, study_like, with_traffic
    from planner.terminal import working

    if url is None:
        raise InputError(
            "--for: is how long the server of --like is watched; name its URL with --like, or leave it out"
        )
    if source.study is not None:
        raise InputError(f"--like {url}: makes a study, and {source.study} is one; leave out one")
    if question.workload is not None and duration is not None:
        raise InputError("--for: the load is that of --workload, so no traffic is watched; leave out one")
    urls = servers_named(Path(url)) or []
    if len(urls) != 1:
        raise InputError(f"--like {url}: is no URL of one server; allowed is, for example, http://localhost:8000")
    seconds = watched_seconds(duration or WATCHED, "served", WATCHED)
    found = study_like(read_likeness(urls[0]), source, typed, levers, question)
    refuse_earlier(found)
    if question.workload is not None:
        return found
    with working(f"watching the server for {duration or WATCHED}"):
        _, load = watch_server(urls[0], seconds)
    return with_traffic(found, load, question)


def write_like(
    url: str | None,
    folder: Path | None,
    source: StudySource,
    typed: TypedWords,
    question: Question,
    duration: str | None,
) -> Path:
    """Write FOLDER/study.yaml, and the load that was seen beside it. Raises InputError where one is there already."""
    from planner.study import write_spec

    found = read_like(url, source, typed, None, question, duration)
    for note in found.notes:
        typer.echo(note, err=True)
    return write_spec(folder, found.spec, source.name, question, TRAFFIC_FILE if question.workload is None else None)

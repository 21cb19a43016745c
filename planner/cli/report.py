"""`planner report`: the trials of a study so far, as tables, a page, JSON or JSON Lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import JsonOption, StudyArgument
from planner.errors import InputError


def report(
    study: StudyArgument = None,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="Write the trials to this file, one line of JSON each.")
    ] = None,
    pareto: Annotated[
        str | None, typer.Option("--pareto", help="Only trials that none beats in all of these, as ttft_p95,tpot_p95.")
    ] = None,
    html: Annotated[
        bool, typer.Option("--html", help="Write a page that needs nothing else: report.html in the study's folder.")
    ] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where --html writes instead.")] = None,
    simulated: Annotated[bool, typer.Option("--simulated", help="The simulated trials.")] = False,
    storage: Annotated[str | None, typer.Option("--storage", help="Optuna storage URL.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The trials of a study so far and what they say; as a page with --html; as JSONL, --replay reads them back."""
    from planner.report import report_document, report_trials, write_page
    from planner.study import load
    from planner.trials import parse_metrics

    if output is not None and not html:
        raise InputError("--output: says where --html writes; add --html")
    if sum((html, jsonl is not None, as_json)) > 1:
        raise InputError("--html, --json and --jsonl: one at a time")
    spec, folder = load(study)
    metrics = parse_metrics(pareto) if pareto else ()
    if html:
        typer.echo(f"wrote {write_page(spec, folder, simulated, storage, output, metrics)}")
    elif as_json:
        typer.echo(report_document(spec, folder, simulated, storage, metrics))
    else:
        report_trials(spec, folder, simulated, storage, jsonl, metrics)
        if jsonl is not None and jsonl.is_file():  # and not /dev/stdout
            typer.echo(f"wrote {jsonl}")

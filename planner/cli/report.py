"""`planner report`: the trials of a study so far, as tables, a page, JSON or JSON Lines."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.completion import metrics
from planner.cli.options import (
    OUTPUT,
    TRIALS,
    AllOption,
    JsonOption,
    ObjectiveOption,
    OutputOption,
    SimulatedOption,
    SloOption,
    StorageOption,
    StudyArgument,
)
from planner.cli.output import kept, write_output
from planner.errors import InputError


def report(
    study: StudyArgument = None,
    pareto: Annotated[
        str | None,
        typer.Option(
            "--pareto",
            help="Metrics, as ttft_p95,tpot_p95: only trials that no other beats in all of them are shown.",
            autocompletion=metrics(),
            rich_help_panel=TRIALS,
        ),
    ] = None,
    show_all: AllOption = False,
    slo: SloOption = None,
    objective: ObjectiveOption = None,
    simulated: SimulatedOption = False,
    storage: StorageOption = None,
    html: Annotated[
        bool,
        typer.Option(
            "--html",
            help="Make a page that needs nothing else; without -o it is report.html in the study's folder.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print the trials, one line of JSON each.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """The trials of a study so far and what they say; as a page with --html; as JSONL, --replay reads them back.

    With --slo or --objective the same trials answer another question; nothing is launched.
    """
    from planner.report import print_report, report_document, report_lines, report_page
    from planner.study import Question, Workspace, load, with_question
    from planner.trials import parse_metrics

    if sum((html, jsonl, as_json)) > 1:
        raise InputError("--html, --json and --jsonl: one at a time")
    if show_all and (pareto is not None or html or jsonl or as_json):
        raise InputError("--all is about the tables of the terminal: leave out --pareto, --html, --json and --jsonl")
    spec, folder = load(study)
    spec = with_question(spec, Question(slo=slo, objective=objective))
    metrics = parse_metrics(pareto) if pareto else ()
    if html and output is None:
        path = Workspace(folder, simulated).page_path
        write_output(path, report_page(spec, folder, simulated, storage, metrics))
        typer.echo(f"wrote {path}")
        return
    with kept(output):
        if html:
            typer.echo(report_page(spec, folder, simulated, storage, metrics), nl=False)
        elif jsonl:
            typer.echo(report_lines(spec, folder, simulated, storage, metrics), nl=False)
        elif as_json:
            typer.echo(report_document(spec, folder, simulated, storage, metrics))
        else:
            print_report(spec, folder, simulated, storage, metrics, is_whole=show_all)

"""`planner report`: the trials of a study so far, as tables, a page, JSON or JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from planner.study import StudySpec


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
    no_script: Annotated[
        bool,
        typer.Option(
            "--no-script",
            help="Page without any script, whose tables cannot be sorted; with --html.",
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
    from planner.report import print_report, report_document, report_lines
    from planner.study import Question, Workspace, load, with_question
    from planner.trials import parse_metrics

    if sum((html, jsonl, as_json)) > 1:
        raise InputError("--html, --json and --jsonl: one at a time")
    if show_all and (pareto is not None or html or jsonl or as_json):
        raise InputError("--all is about the tables of the terminal: leave out --pareto, --html, --json and --jsonl")
    if no_script and not html:
        raise InputError("--no-script is about the page: add --html")
    spec, folder = load(study)
    spec = with_question(spec, Question(slo=slo, objective=objective))
    metrics = parse_metrics(pareto) if pareto else ()
    if html and output is None:
        path = Workspace(folder, simulated).page_path
        write_output(path, _page(spec, folder, simulated, storage, metrics, not no_script))
        typer.echo(f"wrote {path}")
        return
    with kept(output):
        if html:
            typer.echo(_page(spec, folder, simulated, storage, metrics, not no_script), nl=False)
        elif jsonl:
            typer.echo(report_lines(spec, folder, simulated, storage, metrics), nl=False)
        elif as_json:
            typer.echo(report_document(spec, folder, simulated, storage, metrics))
        else:
            print_report(spec, folder, simulated, storage, metrics, is_whole=show_all)


def _page(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    metrics: Sequence[str],
    has_script: bool,
) -> str:
    """The page, with the text that runs the trial to deploy where there is such a trial."""
    from planner.report import report_page
    from planner.service import exported_text

    try:
        run_script = exported_text(spec, folder, "script", None, is_simulated, storage)
    except InputError:  # no trial kept every limit; what else may be wrong the report says itself
        run_script = None
    return report_page(spec, folder, is_simulated, storage, metrics, run_script=run_script, has_script=has_script)

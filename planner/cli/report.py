"""`planner report`: the trials of a study so far, as tables, a page, JSON or JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from planner.cli.options import JsonOption, StudyArgument
from planner.errors import InputError
from planner.files import pretty_json
from planner.report import conclusion, further_facts, pareto_table, result_tables, summary
from planner.study import StudySpec, Workspace
from planner.terminal import make_console, working
from planner.trials import front
from planner.tuning import stored_trials


def report(
    study: StudyArgument = None,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", help="Write the trials there, a line of JSON each.")] = None,
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


def report_trials(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    jsonl: Path | None,
    pareto: Sequence[str] = (),
) -> None:
    """Print the table and the conclusion, or a Pareto front, or write each trial's record as a line of JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    if jsonl is None and pareto:
        make_console().print(pareto_table(problem, front(problem, trials, pareto), pareto))
        return
    if jsonl is None:
        make_console().print(*result_tables(problem, trials), conclusion(problem, trials), sep="\n")
        make_console().print(further_facts(problem, trials))
        return
    text = "".join(msgspec.json.encode(trial).decode() + "\n" for trial in trials)
    try:
        jsonl.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{jsonl}: cannot be written: {error.strerror}") from None


def write_page(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    output: Path | None,
    pareto: Sequence[str] = (),
) -> Path:
    """Write the report as a page. Raises InputError."""
    from planner.report import rendered, study_page

    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    path = output or Workspace(folder, is_simulated).page_path
    try:
        with working("drawing the page"):
            path.write_text(rendered(study_page(problem, trials, pareto)), "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def report_document(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None, pareto: Sequence[str] = ()
) -> str:
    """The summary with every trial's record, or with those of a Pareto front, as JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    kept = [point.trial for point in front(problem, trials, pareto)] if pareto else trials
    return pretty_json({**summary(problem, trials), "trials": msgspec.to_builtins(kept)})

"""The report of a stored study: printed, written as a page or as JSON Lines, or as one JSON document.

In: a study and where its trials are. Out: text and files. Raises InputError if there are no trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from planner.errors import InputError
from planner.files import pretty_json
from planner.report.document import summary
from planner.report.view import conclusion, further_facts, pareto_table, result_tables
from planner.study import Forecast, StudySpec, Workspace
from planner.terminal import make_console, working
from planner.trials import front
from planner.tuning import stored_trials


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
        forecast = Forecast(problem)
        make_console().print(*result_tables(problem, trials), conclusion(forecast, trials), sep="\n")
        make_console().print(further_facts(forecast, trials))
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
    from planner.report.html.page import rendered  # imported here: only the page needs their packages
    from planner.report.html.sections import study_page

    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    path = output or Workspace(folder, is_simulated).page_path
    try:
        with working("drawing the page"):
            path.write_text(rendered(study_page(Forecast(problem), trials, pareto)), "utf-8")
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

"""The report of a stored study: printed, as a page, as JSON Lines, or as one JSON document.

In: a study and where its trials are. Out: text. Raises InputError if there are no trials.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from planner.files import pretty_json
from planner.report.document import summary
from planner.report.view import conclusion, further_facts, in_short, pareto_table, result_tables
from planner.study import Forecast, StudySpec
from planner.terminal import make_console, working
from planner.trials import chosen_trial, export_command, front
from planner.tuning import shown, stored_trials


def print_report(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    pareto: Sequence[str] = (),
    *,
    is_whole: bool = True,
) -> None:
    """Print the result in short, or with `is_whole` all tables and the conclusion, or a Pareto front."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    if pareto:
        make_console().print(pareto_table(problem, front(problem, trials, pareto), pareto))
        return
    forecast = Forecast(problem)
    if not is_whole:
        where = where_words(folder, is_simulated, storage)
        chosen = chosen_trial(problem, trials)
        command = "" if chosen is None else export_command(problem, chosen, where)
        make_console().print(in_short(forecast, trials, command, f"planner report {where} --all"))
        return
    make_console().print(*result_tables(problem, trials), conclusion(forecast, trials), sep="\n")
    make_console().print(further_facts(forecast, trials))


def where_words(folder: Path, is_simulated: bool, storage: str | None) -> str:
    """The words by which a command finds a study's trials: `studies/mine --simulated`; a storage without its secret."""
    told = [shlex.quote(str(folder)), *(["--simulated"] if is_simulated else [])]
    return " ".join([*told, *(["--storage", shlex.quote(shown(storage))] if storage else [])])


def report_lines(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None, pareto: Sequence[str] = ()
) -> str:
    """Each trial's record, or those of a Pareto front, as a line of JSON: what `tune --replay` reads."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    kept = [point.trial for point in front(problem, trials, pareto)] if pareto else trials
    return "".join(msgspec.json.encode(trial).decode() + "\n" for trial in kept)


def report_page(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    pareto: Sequence[str] = (),
    *,
    run_script: str | None = None,
    has_script: bool = True,
) -> str:
    """The report as an HTML page that needs nothing else.

    `run_script`: the text that runs the trial to deploy. `has_script`: whether tables can be sorted, points tell what
    they are, and that text can be copied.
    """
    from planner.report.html.page import rendered  # imported here: only the page needs their packages
    from planner.report.html.sections import study_page

    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    with working("drawing the page"):
        return rendered(study_page(Forecast(problem), trials, pareto, run_script), has_script=has_script)


def report_document(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None, pareto: Sequence[str] = ()
) -> str:
    """The summary with every trial's record, or with those of a Pareto front, as JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    kept = [point.trial for point in front(problem, trials, pareto)] if pareto else trials
    return pretty_json({**summary(problem, trials), "trials": msgspec.to_builtins(kept)})

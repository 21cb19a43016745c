"""Writes an exported trial into a file, by default in the study's folder."""

from __future__ import annotations

import shlex
from pathlib import Path

from planner.errors import InputError
from planner.files import write_whole
from planner.service.export.header import with_result
from planner.service.export.kinds import SCRIPTS, ExportKind, exported, file_name
from planner.study import Forecast, Problem, StudySpec, Workspace
from planner.trials import Trial, chosen_trial, default_trial, export_command, measured_again, result_lines
from planner.tuning import stored_trials

WRITTEN: tuple[ExportKind, ...] = ("script", "ladder")
"""Kinds that every run writes anew."""


def write_exports(forecast: Forecast, trials: list[Trial], workspace: Workspace) -> list[Path]:
    """Write the kinds in WRITTEN for the trial to deploy; nothing without such a trial or a container section."""
    best = chosen_trial(forecast.problem, trials)
    if best is None or forecast.problem.spec.container is None:
        return []
    return [write_export(kind, forecast, trials, best, workspace) for kind in WRITTEN]


def start_command(problem: Problem, trials: list[Trial], workspace: Workspace, where: str) -> str:
    """What starts the service of the trial to deploy, after `write_exports`; empty without such a trial.

    `where`: the study's folder and options of its trials, as commands take them.
    """
    best = chosen_trial(problem, trials)
    if best is None:
        return ""
    if problem.spec.container is None:
        return export_command(problem, best, where)
    return f"bash {shlex.quote(str(workspace.folder / file_name('script', problem)))}"


def write_export(
    kind: ExportKind,
    forecast: Forecast,
    trials: list[Trial],
    trial: Trial,
    workspace: Workspace,
    path: Path | None = None,
) -> Path:
    """Write one kind for a trial, by default into the study's folder."""
    problem = forecast.problem
    path = path or workspace.folder / file_name(kind, problem)
    text = _text(kind, forecast, trials, trial, workspace, path)
    try:
        write_whole(path, text, 0o755 if kind in SCRIPTS else None)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def export_trial(
    spec: StudySpec,
    folder: Path,
    kind: ExportKind,
    output: Path | None,
    number: int | None,
    is_simulated: bool,
    storage: str | None,
) -> Path:
    """Write one trial as `kind`. Raises InputError if there is no such trial."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    chosen = _trial(folder, problem, trials, number)
    return write_export(kind, Forecast(problem), trials, chosen, Workspace(folder, is_simulated), output)


def exported_text(
    spec: StudySpec, folder: Path, kind: ExportKind, number: int | None, is_simulated: bool, storage: str | None
) -> str:
    """One trial as the text of `kind`. Raises InputError if there is no such trial."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    chosen = _trial(folder, problem, trials, number)
    path = Path(file_name(kind, problem))
    return _text(kind, Forecast(problem), trials, chosen, Workspace(folder, is_simulated), path)


def _trial(folder: Path, problem: Problem, trials: list[Trial], number: int | None) -> Trial:
    """The trial of this number, or the one to deploy. Raises InputError if there is none."""
    chosen = chosen_trial(problem, trials) if number is None else next((t for t in trials if t.number == number), None)
    if chosen is None:
        raise InputError(f"{folder}: {'no trial kept every limit' if number is None else f'no trial {number}'}")
    return chosen


def _text(
    kind: ExportKind, forecast: Forecast, trials: list[Trial], trial: Trial, workspace: Workspace, path: Path
) -> str:
    """The text; a script of the trial to deploy begins with the study's result in five lines."""
    problem, default = forecast.problem, default_trial(forecast.problem, trials)
    default = None if default is None else measured_again(problem, trials, default)
    text = exported(kind, forecast, measured_again(problem, trials, trial), default, workspace.ladder_path)
    best = chosen_trial(problem, trials) if kind in SCRIPTS else None
    if best is None or best.number != trial.number:
        return text
    return with_result(text, result_lines(problem, trials, f"bash {shlex.quote(path.name)}", forecast.calibrations))

"""Writes an exported trial into a file, by default in the study's folder."""

from __future__ import annotations

from pathlib import Path

from planner.errors import InputError
from planner.files import write_whole
from planner.service.export.kinds import SCRIPTS, ExportKind, exported, file_name
from planner.study import Problem, Workspace
from planner.trials import Trial, chosen_trial, default_trial, measured_again

WRITTEN: tuple[ExportKind, ...] = ("script", "ladder")
"""What every run writes anew."""


def write_exports(problem: Problem, trials: list[Trial], workspace: Workspace) -> list[Path]:
    """What every run writes anew, of the trial to deploy; nothing where there is none, or no container to run."""
    best = chosen_trial(problem, trials)
    if best is None or problem.spec.container is None:
        return []
    return [write_export(kind, problem, trials, best, workspace) for kind in WRITTEN]


def write_export(
    kind: ExportKind,
    problem: Problem,
    trials: list[Trial],
    trial: Trial,
    workspace: Workspace,
    path: Path | None = None,
) -> Path:
    """Write one kind for a trial, by default into the study's folder."""
    path = path or workspace.folder / file_name(kind, problem)
    default = default_trial(problem, trials)
    default = None if default is None else measured_again(problem, trials, default)
    text = exported(kind, problem, measured_again(problem, trials, trial), default, workspace.ladder_path)
    try:
        write_whole(path, text, 0o755 if kind in SCRIPTS else None)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path

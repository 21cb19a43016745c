"""Read a study's stored trials without a sampler."""

from __future__ import annotations

from pathlib import Path

from planner.errors import InputError
from planner.study import Problem, StudySpec, Workspace
from planner.terminal import working
from planner.trials import Trial
from planner.tuning.search.store import StudyStore

# --- report, export ---


def stored_trials(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None
) -> tuple[Problem, list[Trial]]:
    """The problem of a study, and its trials so far. Raises InputError if there are none."""
    problem = Problem.of(spec)
    workspace = Workspace(folder, is_simulated)
    if storage is None and not (workspace.folder / "study.db").exists():
        hint = "" if is_simulated else "; for simulated ones add --simulated"
        raise InputError(f"{workspace.folder}: no trials yet: run planner tune first{hint}")
    with working("reading the trials"):
        return problem, StudyStore(problem, storage or workspace.default_storage, creates=False).trials()

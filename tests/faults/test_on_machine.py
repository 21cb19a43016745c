"""Faults of the machine: the study stops in one line where it must, and loses nothing.

CI injects some, `make prove` all.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.faults.on_machine import MACHINE_FAULTS, REPRESENTATIVE, power_cuts
from tests.gears import is_missing, some_in_ci


def _missing(name: str) -> str | None:
    if name.startswith("disk") and os.geteuid() != 0:
        return "only root may mount a small disk"
    return "no C compiler, which the clock needs" if name == "clock jumps" and shutil.which("cc") is None else None


@pytest.mark.parametrize("name", some_in_ci(MACHINE_FAULTS, REPRESENTATIVE))
def test_a_study_endures(name: str, tmp_path: Path) -> None:
    if missing := _missing(name):
        is_missing(missing)
    endured = power_cuts(tmp_path, times=2) if name == "power cut" else MACHINE_FAULTS[name](tmp_path)
    assert endured.wrong == []
    assert endured.lost == 0


def test_what_a_study_writes_is_on_the_disk(tmp_path: Path) -> None:
    """SQLite's own promise, at the setting that keeps it through a power cut."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    modes: set[tuple[int, str]] = set()

    def look(connection: object, record: object) -> None:  # noqa: ARG001
        ask = connection.cursor().execute  # type: ignore[attr-defined]
        modes.add((ask("PRAGMA synchronous").fetchone()[0], ask("PRAGMA journal_mode").fetchone()[0]))

    import optuna

    event.listen(Engine, "connect", look)
    try:
        optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}")
    finally:
        event.remove(Engine, "connect", look)
    assert modes == {(2, "delete")}, "FULL, with a journal that is rolled back"

"""Faults of engines and of the planner: the study ends by itself, nothing is lost, nothing is left.

CI injects some of each kind; `make prove` every one, and kills the planner at random.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from planner.units import MIB
from tests.faults.__main__ import PAGE, PARTS
from tests.faults.inject import FAULTS, KILLED_STORING, REPRESENTATIVE, inject
from tests.faults.sweep import SWEEPS, sweep
from tests.gears import is_missing, some_in_ci

MOST_BYTES = 600 * MIB


@pytest.mark.parametrize("name", some_in_ci(FAULTS, REPRESENTATIVE))
def test_a_study_survives(name: str, tmp_path: Path) -> None:
    if name in KILLED_STORING and shutil.which("cc") is None:
        is_missing("no C compiler, which a kill within a commit needs")
    injected = inject(FAULTS[name], tmp_path)
    assert injected.wrong() == [], injected.output
    assert injected.peak_bytes < MOST_BYTES


@pytest.mark.prove
def test_a_planner_is_killed_at_random_moments(tmp_path: Path) -> None:
    swept = sweep(SWEEPS["planner killed at random moments"], tmp_path, kills=4)
    assert swept.wrong == []
    assert (swept.lost, swept.left) == (0, 0)
    assert swept.kills >= 4


@pytest.mark.parametrize("part", PARTS)
def test_the_page_lists_every_fault(part: str) -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in PARTS[part].names if f"| {name} |" not in text] == [], "run: make faults"

"""Every fault once: the study ends by itself, nothing is lost, nothing is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.units import MIB
from tests.faults.__main__ import PAGE
from tests.faults.inject import FAULTS, inject

MOST_BYTES = 600 * MIB


@pytest.mark.parametrize("name", FAULTS)
def test_a_study_survives(name: str, tmp_path: Path) -> None:
    injected = inject(FAULTS[name], tmp_path)
    assert injected.wrong() == [], injected.output
    assert injected.peak_bytes < MOST_BYTES


@pytest.mark.parametrize("name", FAULTS)
def test_the_page_lists_it(name: str) -> None:
    assert f"| {name} |" in PAGE.read_text("utf-8"), "run: make faults"

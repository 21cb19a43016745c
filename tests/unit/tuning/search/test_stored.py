"""A study that planner 0.1.0 stored, while all its modules were in one folder: read as it was, and continued.

tests/golden/stored-study holds its study.yaml and a dump of its SQLite storage: 4 trials of the search and their
finals, SIMULATED.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.places import GOLDEN

STORED = GOLDEN / "stored-study"
SEARCHED, LAUNCHED = 4, 12
"""Trials of the search, and all launches, those of the finals too."""

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "stored"
    shutil.copytree(STORED, folder)
    (folder / "simulated").mkdir()
    with closing(sqlite3.connect(folder / "simulated" / "study.db")) as storage:
        storage.executescript((folder / "study.sql").read_text("utf-8"))
    return folder


def test_it_is_read_as_it_was(run: Run, stored: Path) -> None:
    code, out, _ = run(f"report {stored} --simulated --json")
    report = json.loads(out)
    assert code == 0
    assert [trial["number"] for trial in report["trials"]] == list(range(LAUNCHED))
    assert report["deploy"]["trial"] == 1
    assert [round(trial["metrics"]["output_throughput"], 1) for trial in report["trials"][:SEARCHED]] == [
        81.0,
        116.9,
        116.3,
        114.2,
    ]


def test_it_goes_on(run: Run, stored: Path) -> None:
    before = json.loads(run(f"report {stored} --simulated --json")[1])["trials"]
    code, out, err = run(f"tune {stored} --trials {SEARCHED + 1} --backend simulated --no-finals")
    assert code == 0, out + err
    after = json.loads(run(f"report {stored} --simulated --json")[1])["trials"]
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    candidates = [json.dumps(trial["candidate"], sort_keys=True) for trial in after if trial["rerun"] is None]
    assert len(set(candidates)) == len(candidates) == SEARCHED + 1, "what was measured is not measured again"

"""The end of an engine's log: its last lines, without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from planner.files.redaction import redactor
from planner.report.watch.engine_log import LINES, TAIL_BYTES, last_lines

HIDDEN = "hf_abcdefghijklmnop"


def test_the_last_lines_of_each_instance(tmp_path: Path) -> None:
    (tmp_path / "trial-3-0.log").write_text("".join(f"line {n}\n" for n in range(100)), "utf-8")
    (tmp_path / "trial-3-1.log").write_text("starting\n", "utf-8")
    (tmp_path / "trial-31-0.log").write_text("another launch\n", "utf-8")
    found, words = last_lines(tmp_path, 3, [], lambda text: text)
    assert words == ""
    assert [one.name for one in found] == ["trial-3-0.log", "trial-3-1.log"]
    assert found[0].text.splitlines() == [f"line {n}" for n in range(100 - LINES, 100)]
    assert found[1].text == "starting"


@pytest.mark.parametrize("before", [0, TAIL_BYTES - 40, TAIL_BYTES, TAIL_BYTES + 30])
def test_a_secret_is_redacted_wherever_the_tail_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setenv("HF_TOKEN", HIDDEN)
    lines = "x" * 99 + "\n"
    text = f"token {HIDDEN}\n" + (lines * (before // len(lines) + 1))[:before] + "\nend\n"
    (tmp_path / "trial-0-0.log").write_text(text, "utf-8")
    ((shown,), _) = last_lines(tmp_path, 0, [], redactor())
    assert shown.text.endswith("end")
    assert not any(HIDDEN[n:] in shown.text for n in range(len(HIDDEN) - 4))


def test_nothing_written_yet_is_said(tmp_path: Path) -> None:
    assert last_lines(tmp_path, 0, [], str) == ([], "its engines have written nothing yet")

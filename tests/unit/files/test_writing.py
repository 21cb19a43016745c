"""Small files are whole or as before, and nothing stays beside them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from planner.files.writing import STALE_S, try_writing, write_whole


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    path, old = tmp_path / "run[1].sh", time.time() - 2 * STALE_S
    stale, fresh, other = (tmp_path / f".{name}.new" for name in ("run[1].sh.11", "run[1].sh.12", "run1.sh.13"))
    for left in (stale, fresh, other):
        left.write_text("half")
    for left in (stale, other):
        os.utime(left, (old, old))
    write_whole(path, "whole", 0o755)
    assert path.read_text() == "whole"
    assert path.stat().st_mode & 0o777 == 0o755
    assert sorted(tmp_path.iterdir()) == sorted([path, fresh, other]), "one may still be written, one is another file's"


def test_trying_to_write_changes_nothing_and_finds_what_writing_would(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("kept", "utf-8")
    try_writing(old)
    try_writing(tmp_path / "new")
    try_writing(Path("/dev/null"))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert old.read_text("utf-8") == "kept"
    for path in (tmp_path / "none" / "x", Path("/proc/self/mem"), tmp_path / ("a" * 255)):
        with pytest.raises(OSError, match=r"."):
            try_writing(path)

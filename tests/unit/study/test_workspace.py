"""Where results go, who may write them, and which study is meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.errors import BackendError, InputError
from planner.study.workspace import Workspace, find_study


def test_simulated_results_have_a_folder_of_their_own(tmp_path: Path) -> None:
    real, simulated = Workspace(tmp_path, simulated=False), Workspace(tmp_path, simulated=True)
    for name in ("folder", "default_storage", "log_dir", "ladder_path"):
        assert getattr(real, name) != getattr(simulated, name)
    assert real.ladder_path == tmp_path / "ladder.yaml"


def test_a_second_planner_is_refused_and_told_who_has_the_study(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "new", simulated=False)
    with workspace.locked():
        other = "import sys, pathlib; from planner.study.workspace import Workspace\n"
        other += "with Workspace(pathlib.Path(sys.argv[1]), False).locked(): pass"
        result = subprocess.run(
            [sys.executable, "-c", other, str(tmp_path / "new")], capture_output=True, text=True, check=False
        )
        assert result.returncode != 0
        assert f"another planner (pid {os.getpid()}) is running this study" in result.stderr
    with workspace.locked():  # free again
        pass


def test_a_crash_releases_the_lock(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, simulated=False)
    with pytest.raises(ZeroDivisionError), workspace.locked():
        raise ZeroDivisionError
    with workspace.locked():
        pass


def test_a_lock_within_a_lock(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, simulated=False)
    with workspace.locked(), pytest.raises(BackendError), Workspace(tmp_path, simulated=False).locked():
        pass


def test_which_study_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no study\.yaml here"):
        find_study(None)
    for name in ("b", "a"):
        (tmp_path / "studies" / name).mkdir(parents=True)
    (tmp_path / "studies" / "a" / "study.yaml").touch()
    assert find_study(None) == Path("studies/a/study.yaml")
    (tmp_path / "studies" / "b" / "study.yaml").touch()
    with pytest.raises(InputError, match="several studies: studies/a, studies/b; name one"):
        find_study(None)
    (tmp_path / "study.yaml").touch()
    assert find_study(None) == Path("study.yaml")
    assert find_study(Path("studies/b")) == Path("studies/b/study.yaml")
    assert find_study(Path("other.yaml")) == Path("other.yaml")

"""What is published: the wheel answers in an empty environment, and holds what it needs and nothing of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from planner.version import __version__
from tests.dist import ANSWERS, ESTIMATE, build, run_installed, wrong_tag
from tests.gears import is_missing
from tests.places import ROOT
from tests.ranges import index_answers


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not index_answers():
        is_missing("no package index answers")
    return build(tmp_path_factory.mktemp("dist"))


def test_the_wheel_answers_as_the_checkout_does(wheel: Path, tmp_path: Path) -> None:
    done = run_installed(wheel, *ESTIMATE, cwd=tmp_path)
    assert done.returncode in ANSWERS, done.stderr
    assert "verdict" in done.stdout
    argv = [sys.executable, "-m", *ESTIMATE]
    here = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (here.returncode, here.stdout, here.stderr)
    assert not list(tmp_path.iterdir())


def test_the_second_name_is_the_same_command(wheel: Path, tmp_path: Path) -> None:
    done = run_installed(wheel, "vllm-planner", "--version", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"planner {__version__}\nPython 3.")


def test_the_wheel_ships_its_search_spaces(wheel: Path, tmp_path: Path) -> None:
    words = ("planner", "tune", *ESTIMATE[2:], "--max-model-len", "8192", "--backend", "simulated", "--dry-run")
    done = run_installed(wheel, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "candidates" in done.stdout


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields = message_from_bytes(archive.read(metadata))
    assert {name.partition("/")[0] for name in names} == {"planner", f"vllm_planner-{__version__}.dist-info"}
    assert (fields["Name"], fields["Version"]) == ("vllm-planner", __version__)
    source = {path.relative_to(ROOT).as_posix() for path in (ROOT / "planner").rglob("*") if path.is_file()}
    assert {name for name in source if "__pycache__" not in name} <= set(names)


def test_a_tag_of_another_version_is_refused() -> None:
    assert not wrong_tag("")
    assert not wrong_tag(f"v{__version__}")
    assert f"the version {__version__}" in wrong_tag("v99.0.0")

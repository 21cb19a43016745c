"""`planner --version` says what a report of a fault should name."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib import metadata

import pytest

from planner.cli import version
from planner.version import __version__


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_the_versions_are_printed_one_a_line(run: Callable[[str], tuple[int, str, str]], word: str) -> None:
    code, out, err = run(word)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"planner {__version__}",
        f"Python {platform.python_version()}",
        f"Optuna {metadata.version('optuna')}",
        f"Docker client (Python package docker) {metadata.version('docker')}",
    ]


def test_a_package_that_is_absent_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert version.versions()["Optuna"] == "not installed"

"""`make ranges` tells a missing index from versions that do not go together, and asks for tests that are there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import ranges
from tests.places import ROOT


def test_this_python_is_found() -> None:
    found = [path.name for path in ranges.pythons()]
    assert f"python3.{sys.version_info.minor}" in found
    assert len(found) == len(set(found))


def test_the_telling_tests_are_there() -> None:
    for name in ranges.TELLING:
        file, _, function = name.partition("::")
        assert (ROOT / file).exists(), name
        assert not function or f"def {function}(" in (ROOT / file).read_text("utf-8"), name


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens where the index should be, and nothing was fetched before."""
    monkeypatch.setattr(ranges, "HOME", tmp_path)
    for name, value in (("DEFAULT_INDEX", "http://127.0.0.1:1/simple"), ("CACHE_DIR", tmp_path / "cache"),
                        ("HTTP_RETRIES", "0")):  # fmt: skip
        monkeypatch.setenv(f"UV_{name}", str(value))
    monkeypatch.delenv("UV_INDEX", raising=False)


@pytest.mark.usefixtures("offline")
def test_without_an_index_nothing_is_known() -> None:
    outcome = ranges.tried(Path(sys.executable), "newest", ())
    assert outcome.is_good is None
    assert outcome.said.startswith("no package index answers, so nothing is known: ")


def test_versions_that_cannot_be_had_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no index answers uv: it is asked for an interpreter that is none, and the index is said to answer."""
    monkeypatch.setattr(ranges, "HOME", tmp_path)
    monkeypatch.setattr(ranges, "index_answers", lambda: True)
    outcome = ranges.tried(tmp_path / "python3.11", "lowest", ())
    assert outcome.is_good is False
    assert "python3.11" in outcome.said


def test_a_failing_test_fails(tmp_path: Path) -> None:
    (tmp_path / "test_no.py").write_text("def test_no():\n    assert 1 == 2\n")
    is_good, said = ranges.run_tests(Path(sys.executable).parent.parent, [str(tmp_path / "test_no.py")])
    assert not is_good
    assert "assert 1 == 2" in said

"""Name and version of what is installed: one home for each."""

from __future__ import annotations

import re
import tomllib

from planner.version import DISTRIBUTION, __version__, install_hint
from tests.places import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def test_the_distribution_has_the_name_of_the_hints() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert install_hint("hub") == "pip install 'vllm-planner[hub]'"


def test_the_version_is_read_from_the_module() -> None:
    assert "version" in PROJECT["dynamic"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "planner/version.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_both_commands_are_the_same() -> None:
    assert PROJECT["scripts"] == dict.fromkeys(("planner", DISTRIBUTION), "planner.cli.main:main")


def test_every_hint_and_extra_names_the_distribution() -> None:
    """`planner[hub]` would install another project of the index."""
    for path in [
        *(ROOT / "planner").rglob("*.py"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / "pyproject.toml",
    ]:
        assert not re.search(r"(?<![\w-])planner\[\w+\]", path.read_text("utf-8")), path
    for extra in re.findall(rf"{DISTRIBUTION}\[(\w+)\]", (ROOT / "pyproject.toml").read_text("utf-8")):
        assert extra in PROJECT["optional-dependencies"]


def test_every_hint_names_an_extra_that_is_there() -> None:
    asked = {
        extra
        for path in (ROOT / "planner").rglob("*.py")
        for extra in re.findall(r"install_hint\('(\w+)'\)", path.read_text("utf-8"))
    }
    assert {"hub", "server", "gp", "ray", "postgresql"} == asked
    assert asked <= set(PROJECT["optional-dependencies"])

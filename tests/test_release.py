"""The workflow that releases: it is YAML, each of its commands is here, and only its last job may name itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from planner.version import __version__
from tests.dist import TAG_ENV
from tests.places import ROOT
from tests.sbom import NAME, asked, lacking, main

TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_every_command_is_a_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    commands = [step["run"].split() for step in STEPS if "run" in step]
    assert ["make", "dist"] in commands
    assert ["make", "sbom"] in commands
    for program, *words in commands:
        assert program == "make"
        assert set(words) <= targets, words


def test_every_action_is_named_with_a_release() -> None:
    for step in STEPS:
        assert ("run" in step) != ("uses" in step)
        assert "run" in step or re.fullmatch(r"[\w-]+/[\w-]+@[\w./-]+", step["uses"])


def test_only_the_upload_may_ask_for_a_token_and_none_is_kept() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in WORKFLOW["jobs"].items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert "secrets." not in TEXT
    assert WORKFLOW["jobs"]["publish"]["needs"] == "build"
    assert "refs/tags/" in WORKFLOW["jobs"]["publish"]["if"]


def test_the_tag_is_compared_with_the_version() -> None:
    (step,) = [step for step in STEPS if TAG_ENV in step.get("env", {})]
    assert step["run"] == "make dist"


def test_a_push_of_a_tag_starts_it() -> None:
    assert WORKFLOW[True]["push"] == {"tags": ["v*"]}  # YAML 1.1 reads `on` as true


def bill(*names: str, version: str = __version__) -> str:
    parts = [{"name": name, "version": "1"} for name in names]
    return json.dumps({
        "bomFormat": "CycloneDX",
        "metadata": {"component": {"name": "vllm_planner", "version": version}},
        "components": parts,
    })  # fmt: skip


def test_a_bill_of_materials_names_planner_and_all_that_it_asks_for() -> None:
    assert {"typer", "msgspec", "optuna", "sqlalchemy"} <= asked()
    assert lacking(bill(*asked()), asked()) == []
    assert lacking(bill("typer", "SQLAlchemy"), {"typer", "sqlalchemy", "msgspec"}) == ["msgspec"]
    assert lacking(bill(version="0.0.1"), set()) == [f"{NAME} {__version__}"]
    with pytest.raises(ValueError, match="no CycloneDX"):
        lacking("{}", set())


@pytest.mark.prove
def test_the_bill_of_materials_is_made() -> None:
    assert main() == 0

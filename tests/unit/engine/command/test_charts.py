"""Engines in a chart's values, an InferenceService, a LeaderWorkerSet and a playbook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from planner.engine.command.manifests import is_manifest, read_manifest
from tests.places import GOLDEN

FILES: list[dict[str, Any]] = [
    json.loads(line) for line in (GOLDEN / "pasted-files.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", FILES, ids=lambda case: case["model"])
def test_the_engine_of_a_file(case: dict[str, Any]) -> None:
    assert is_manifest(case["text"])
    found = read_manifest(case["text"], "x.yaml")
    assert (found.model, found.version, found.num_gpus) == (case["model"], case["version"], case["num_gpus"])
    assert " ".join(found.words) == case["words"]


def test_a_list_that_is_no_playbook_starts_nothing() -> None:
    assert not is_manifest("- 1\n- 2\n")

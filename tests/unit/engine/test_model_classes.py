"""Model types and the releases that have a class for them, against what the releases of real starts served."""

from __future__ import annotations

import json

import pytest
from packaging.version import Version

from planner.engine.model_classes import MissingClass, without_class
from tests.places import GOLDEN


@pytest.mark.parametrize(
    ("model_type", "version", "missing"),
    [
        ("qwen3_5", "0.16.0", MissingClass("0.16.0", "0.18.0")),
        ("qwen3_5", "0.17.0", None),  # between two releases that were read
        ("qwen3_5", "0.18.0", None),
        ("gemma4", "0.11.2", MissingClass("0.18.0", "0.20.0")),
        ("gemma4", "0.33.0", None),
        ("qwen3", "0.6.6", MissingClass("0.7.3", "0.8.4")),
        ("gpt_oss", "0.8.5", MissingClass("0.10.0", "0.10.1.1")),
        ("llama", "0.8.5", None),
        ("warp", "0.8.5", None),
    ],
)
def test_a_release_has_a_class_or_is_known_not_to(model_type: str, version: str, missing: MissingClass | None) -> None:
    assert without_class(model_type, Version(version)) == missing


def test_no_recorded_start_contradicts_the_table() -> None:
    """An engine that started had a class. The build whose version says nothing, 0.1.dev1, is taken for 0.22.0."""
    document = json.loads((GOLDEN / "starts" / "kv-pools.json").read_text("utf-8"))
    asked = 0
    for record in document["records"]:
        config = document["models"][record["model"]]
        if record["id"] == "gb10-gemma4-12b-8k-v022":
            continue
        inner = config.get("text_config", config)
        model_type = str(inner.get("model_type", config.get("model_type"))).removesuffix("_text")
        assert without_class(model_type, Version(record["vllm_version"])) is None, record["id"]
        asked += 1
    assert asked > 20

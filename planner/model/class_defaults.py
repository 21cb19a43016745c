"""Defaults of keys that a config.json leaves out: `with_defaults(config, model_type)`.

transformers writes a key only where it differs from a default, so an absent key means its class's default. In: a
config.json's mapping. Out: the same with the class's values below it. `python -m tests.class_defaults` makes the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any


def with_defaults(config: Mapping[str, Any], model_type: str) -> dict[str, Any]:
    """`config` over the defaults of its class; a key that is there and null stays null."""
    table = _table()
    return {**(table.get(model_type) or table.get(f"{model_type}_text") or {}), **config}


@cache
def _table() -> dict[str, dict[str, Any]]:
    text = resources.files("planner").joinpath("data/config_defaults.json").read_text("utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table

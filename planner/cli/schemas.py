"""The JSON Schemas of the YAML files that people write, made from their types."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from planner.errors import InputError
from planner.fleet import FleetSpec
from planner.service import Ladder
from planner.study import HardwareSpec, SearchSpace, StudySpec
from planner.units import Bytes, Seconds
from planner.workload import Workload

SCHEMAS: dict[str, type] = {
    "study": StudySpec, "search-space": SearchSpace, "workload": Workload, "hardware": HardwareSpec,
    "ladder": Ladder, "fleet": FleetSpec,
}  # fmt: skip


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of file. Raises InputError for an unknown kind."""
    if name not in SCHEMAS:
        raise InputError(f"schema {name!r}: allowed: {', '.join(SCHEMAS)}")
    schema = _with_clean_descriptions(msgspec.json.schema(SCHEMAS[name], schema_hook=_unit_schema))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _with_clean_descriptions(schema: Any) -> Any:
    """Docstrings without the indentation of the code, which msgspec before 0.23 leaves in."""
    if isinstance(schema, list):
        return [_with_clean_descriptions(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {key: _with_clean_descriptions(part) for key, part in schema.items()}
    if isinstance(cleaned.get("description"), str):
        cleaned["description"] = inspect.cleandoc(cleaned["description"])
    return cleaned


def _unit_schema(kind: type) -> dict[str, Any]:
    if kind is Bytes:
        return {"type": ["string", "integer"], "description": "A size: 21.48GiB, 512GB (1e9) or bytes"}
    if kind is Seconds:
        return {"type": ["string", "number"], "description": "A duration: 200ms, 30s, 5min or seconds"}
    raise NotImplementedError(f"no schema for {kind}")

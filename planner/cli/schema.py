"""`planner schema`: the JSON Schema of each YAML file that people write, for editors."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from planner.cli.options import one_of
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
    schema = msgspec.json.schema(SCHEMAS[name], schema_hook=_unit_schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _unit_schema(kind: type) -> dict[str, Any]:
    if kind is Bytes:
        return {"type": ["string", "integer"], "description": "A size: 21.48GiB, 512GB (1e9) or bytes"}
    if kind is Seconds:
        return {"type": ["string", "number"], "description": "A duration: 200ms, 30s, 5min or seconds"}
    raise NotImplementedError(f"no schema for {kind}")


def schema(
    kind: Annotated[
        str,
        typer.Argument(
            help="study, search-space, workload, hardware, ladder or fleet.",
            autocompletion=one_of("study", "search-space", "workload", "hardware", "ladder", "fleet"),
        ),
    ],
) -> None:
    """The JSON Schema of a YAML file, for editors."""
    import json

    typer.echo(json.dumps(json_schema(kind), indent=2))

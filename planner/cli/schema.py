"""`planner schema`: the JSON Schema of each YAML file that people write, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.completion import one_of


def schema(
    kind: Annotated[
        str,
        typer.Argument(
            help="Kind of file: study, search-space, workload, hardware, ladder or fleet.",
            autocompletion=one_of("study", "search-space", "workload", "hardware", "ladder", "fleet"),
        ),
    ],
) -> None:
    """The JSON Schema of a YAML file, for editors."""
    import json

    from planner.cli.schemas import json_schema

    typer.echo(json.dumps(json_schema(kind), indent=2))

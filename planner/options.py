"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyArgument = Annotated[Path | None, typer.Argument(help="study.yaml or its folder; by default the one here.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Model directory, config.json or name (no YAML).")]
GpuOption = Annotated[str | None, typer.Option("--gpu", help="Card, for example 'RTX 2080 Ti 22GB' (planner gpus).")]
NumGpusOption = Annotated[int, typer.Option("--num-gpus", help="How many cards.", min=1)]
InterconnectOption = Annotated[str, typer.Option("--interconnect", help="pcie, nvlink, nvlink-pairs or none.")]
VersionOption = Annotated[str, typer.Option("--vllm-version", help="Version of vLLM.")]
LeversOption = Annotated[
    str | None, typer.Option("--levers", help="Groups to search: scheduler, layout, numerics, engine, or all.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

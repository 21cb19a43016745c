"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


def one_of(*names: str) -> Callable[[str], list[str]]:
    """Shell completion of an option with few values."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _gpu_names(incomplete: str) -> list[str]:
    from planner.hardware import GPUS

    return [gpu.name for gpu in GPUS if gpu.name.lower().startswith(incomplete.lower())]


def _model_names(incomplete: str) -> list[str]:
    from planner.model import shipped_names

    return [name for name in shipped_names() if name.lower().startswith(incomplete.lower())]


def _studies(incomplete: str) -> list[str]:
    from planner.study import study_folders

    return [folder for folder in study_folders() if folder.startswith(incomplete)]


class TakesFlags(TyperCommand):
    """A command after which vLLM's own flags may follow: the shell completes them too.

    They reach the command as context.obj, a `planner.engine.TypedWords`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from planner.cli.words import OwnOptions, part
        from planner.engine import TypedWords

        options = OwnOptions.of(self.params)
        parted = part(args, options)
        ctx.obj = TypedWords(tuple(parted.vllm), parted.env, tuple(sorted(options.names)))
        return super().parse_args(ctx, parted.own)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from planner.engine import FIELDS, flag

        found = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            item = type(super().shell_complete(ctx, "--help")[0])  # a class that typer keeps to itself
            found += [item(word) for word in map(flag, FIELDS) if word.startswith(incomplete)]
        return found


StudyArgument = Annotated[
    Path | None,
    typer.Argument(help="study.yaml or its folder; by default the one here.", autocompletion=_studies),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Model directory, config.json or name (no YAML).", autocompletion=_model_names),
]
GpuOption = Annotated[
    str | None,
    typer.Option("--gpu", help="Card, for example 'RTX 2080 Ti 22GB' (planner gpus).", autocompletion=_gpu_names),
]
NumGpusOption = Annotated[int, typer.Option("--num-gpus", help="How many cards.", min=1)]
InterconnectOption = Annotated[
    str,
    typer.Option(
        "--interconnect",
        help="pcie, nvlink, nvlink-pairs or none.",
        autocompletion=one_of("pcie", "nvlink", "nvlink-pairs", "none"),
    ),
]
VersionOption = Annotated[str, typer.Option("--vllm-version", help="vLLM version, for example 0.8.5.")]
LeversOption = Annotated[
    str | None,
    typer.Option("--levers", help="Groups of settings to search: scheduler, layout, numerics, engine, or all."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors: no plan, no progress.")]

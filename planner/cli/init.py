"""`planner init`: a study.yaml with a comment above every key, ready for `planner tune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.completion import workloads
from planner.cli.options import (
    LOAD,
    STUDY,
    ForOption,
    GpuOption,
    InterconnectOption,
    LikeOption,
    ModelOption,
    NameOption,
    SloOption,
    VersionOption,
)
from planner.errors import InputError


def init(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder for the study.yaml; by default a new one under studies/."),
    ] = None,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: Annotated[
        int | None,
        typer.Option(
            "--num-gpus", help="Number of cards; by default those seen here, else 1.", min=1, rich_help_panel=STUDY
        ),
    ] = None,
    interconnect: InterconnectOption = None,
    vllm_version: VersionOption = None,
    name: NameOption = None,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload", help="Shipped load, or a YAML file; chat.", autocompletion=workloads, rich_help_panel=LOAD
        ),
    ] = None,
    slo: SloOption = None,
    like: LikeOption = None,
    duration: ForOption = None,
) -> None:
    """Write a study.yaml in which every key is explained, for the cards here or those named. Overwrites nothing."""
    from planner.cli.like import write_like
    from planner.report import infeasible_words
    from planner.study import Forecast, Problem, Question, StudySource, load_study, write_commented

    question = Question(workload=workload, slo=slo)
    source = StudySource(
        model=model, gpu=gpu, num_gpus=num_gpus, interconnect=interconnect, version=vllm_version, name=name
    )
    if like is not None or duration is not None:
        path = write_like(like, folder, source, context.obj, question, duration)
    elif model is None:
        raise InputError("init: name the model, for example --model Qwen/Qwen3-8B (planner models)")
    else:
        card, count = _cards(gpu, num_gpus)
        path = write_commented(folder, replace(source, gpu=card, num_gpus=count), context.obj, question)
    typer.echo(f"wrote {path}")
    if (words := infeasible_words(Forecast(Problem.of(load_study(path))))) is not None:
        reason, way_out, fix = words.partition("; what would start: ")
        typer.echo(f"{reason}\nwhat would start (settings stand under engine.settings): {fix}" if way_out else reason)
    typer.echo(f"next: planner tune {path.parent} --dry-run")


def _cards(gpu: str | None, num_gpus: int | None) -> tuple[str, int]:
    """The card and how many: those named, else those seen here. Raises InputError."""
    if gpu is not None:
        return gpu, num_gpus or 1
    from planner.hardware import detect_gpus

    names = [card.name for card in detect_gpus()]
    if not names:
        raise InputError("init: no card is visible here; name one, for example --gpu 'RTX 4090' (planner gpus)")
    if len(set(names)) > 1:
        raise InputError(f"init: different cards are here ({', '.join(names)}); name one with --gpu")
    return names[0], num_gpus or len(names)

"""`planner estimate`: memory per GPU before anything is launched, and whether vLLM will start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import (
    GpuOption,
    InterconnectOption,
    JsonOption,
    ModelOption,
    NumGpusOption,
    StudyArgument,
    VersionOption,
)
from planner.errors import InputError


def estimate(
    context: typer.Context,
    study: StudyArgument = None,
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
    as_json: JsonOption = False,
    requests: Annotated[
        typer.FileBinaryRead | None, typer.Option("--requests", help="Answer a JSONL file of requests; - is stdin.")
    ] = None,
    fit: Annotated[
        str | None, typer.Option("--fit", help="Largest feasible value of a setting: max_model_len.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option("--sweep", help="Table of FIELD=LOW..HIGH (doubling) or FIELD=a,b,c; twice: a heat map."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option("--compare", help="Table of the study's variants or of models side by side, as awq,fp16."),
    ] = None,
    layouts: Annotated[
        bool,
        typer.Option(
            "--layouts", help="Table of layouts side by side: one instance on all cards, two on half each, ..."
        ),
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--calibrate", help="Learn from the log of a start with these settings, and keep it.")
    ] = None,
) -> None:
    """Memory per GPU before anything is launched, and whether the engine will start and why."""
    if requests is not None:
        if fit or sweep or compare or layouts:
            raise InputError("--requests answers its file only; leave out --fit, --sweep, --compare and --layouts")
        from planner.estimate import answer_lines, lines_of

        for line in answer_lines(lines_of(requests)):
            typer.echo(line)
        return
    from planner.engine import parse_version
    from planner.estimate import nearest_fixes
    from planner.files import pretty_json
    from planner.study import calibrated, explore, setup_of, spec_of

    spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
    given = context.obj.read(parse_version(spec.engine.version))
    found = explore(spec, given, fit, sweep or [], compare, layouts)
    if found is None:
        setup = calibrated(setup_of(spec, given), folder, log)
        answer = setup.answer()
        fixes = nearest_fixes(setup, answer)
    if as_json and found is not None:
        typer.echo(pretty_json(found.document(spec.name)))
    elif as_json:
        typer.echo(pretty_json({**answer.document(spec.name), "fixes": [fix.document() for fix in fixes]}))
    else:
        from planner.estimate import estimate_view, exploration_view
        from planner.terminal import make_console

        make_console().print(estimate_view(answer, fixes) if found is None else exploration_view(found))
    code = (3 if answer.violated else 0) if found is None else found.exit_code
    if code:
        raise typer.Exit(code)

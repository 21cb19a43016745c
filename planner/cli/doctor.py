"""`planner doctor`: is this machine ready for the study?"""

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
    QuietOption,
    StudyArgument,
    VersionOption,
)


def doctor(
    context: typer.Context,
    study: StudyArgument = None,
    backend: Annotated[str, typer.Option("--backend", help="docker or process.")] = "docker",
    model: ModelOption = None,
    gpu: GpuOption = None,
    num_gpus: NumGpusOption = 1,
    interconnect: InterconnectOption = "pcie",
    vllm_version: VersionOption = "0.8.5",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Everything that must be true before the first launch, each line with its fix; without a study, the machine."""
    from planner.doctor import doctor_view, document, examine, exit_code, parse_backend, read_case
    from planner.engine import parse_version
    from planner.files import pretty_json
    from planner.study import is_study_near, spec_of, with_flags
    from planner.terminal import make_console

    spec, folder = None, Path()
    if model is not None or gpu is not None or is_study_near(study):
        spec, folder = spec_of(study, model, gpu, num_gpus, interconnect, vllm_version, context.obj.max_model_len)
        spec = with_flags(spec, context.obj.read(parse_version(spec.engine.version)), None, None)
    case = read_case(spec, folder, parse_backend(backend))
    checks = examine(case, lambda text: None if quiet else typer.echo(text, err=True))
    if as_json:
        typer.echo(pretty_json(document(case, checks)))
    else:
        make_console().print(doctor_view(case, checks))
    if code := exit_code(checks):
        raise typer.Exit(code)

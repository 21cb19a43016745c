"""`planner estimate`: memory per GPU before anything is launched, and whether vLLM will start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import JsonOption, takes_study
from planner.errors import InputError
from planner.study import StudySource

QUESTION = "Question"
"""Panel of the options that ask for more than one estimate."""


@takes_study
def estimate(
    context: typer.Context,
    source: StudySource,
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="Largest feasible value of a setting: max_model_len.", rich_help_panel=QUESTION),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            help="Table of FIELD=LOW..HIGH (doubling) or FIELD=a,b,c; twice: a heat map.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            help="Table of the study's variants or of models side by side, as awq,fp16.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    layouts: Annotated[
        bool,
        typer.Option(
            "--layouts",
            help="Table of layouts side by side: one instance on all cards, two on half each, ...",
            rich_help_panel=QUESTION,
        ),
    ] = False,
    requests: Annotated[
        typer.FileBinaryRead | None,
        typer.Option("--requests", help="Answer a JSONL file of requests; - is stdin.", rich_help_panel=QUESTION),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            help="Learn from the log of a start with these settings, and keep it.",
            rich_help_panel=QUESTION,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Memory per GPU before anything is launched, and whether the engine will start and why."""
    beyond = {"--fit": fit, "--sweep": sweep, "--compare": compare, "--layouts": layouts}
    asked = [option for option, value in beyond.items() if value]
    if requests is not None:
        _answer_requests(context, source, requests, [*asked, *(["--calibrate"] if log is not None else [])])
        return
    if log is not None and asked:
        raise InputError(f"--calibrate learns for one estimate; leave out {' and '.join(asked)}")
    from planner.engine import merged
    from planner.estimate import nearest_fixes
    from planner.files import pretty_json
    from planner.study import Places, calibrated, explore, read_study, setup_of

    study = read_study(source, context.obj)
    spec, given = study.spec, study.flags.settings
    found = explore(spec, given, fit, sweep or [], compare, layouts)
    if found is None:
        setup = calibrated(setup_of(spec, given), study.folder if study.is_read else None, log)
        setup = replace(setup, flags=merged(setup.flags, study.flags))
        answer = setup.answer()
        fixes = nearest_fixes(setup, answer)
    if as_json and found is not None:
        typer.echo(pretty_json(found.document(spec.name)))
    elif as_json:
        typer.echo(pretty_json({**answer.document(spec.name), "fixes": [fix.document() for fix in fixes]}))
    else:
        from planner.estimate import estimate_view, exploration_view
        from planner.terminal import make_console

        spelling = Places(has_file=not source.is_described).spelling
        make_console().print(estimate_view(answer, fixes, spelling) if found is None else exploration_view(found))
    code = (3 if answer.violated else 0) if found is None else found.exit_code
    if code:
        raise typer.Exit(code)


def _answer_requests(
    context: typer.Context, source: StudySource, requests: typer.FileBinaryRead, others: list[str]
) -> None:
    """Answer a file of requests, each of which says everything; refuse what else was asked beside it."""
    from planner.estimate import answer_lines, lines_of

    study = ["STUDY"] if source.study is not None else []
    if others := [*others, *study, *source.said, *context.obj.names]:
        raise InputError(f"--requests answers its file only; leave out {', '.join(others)}")
    for line in answer_lines(lines_of(requests)):
        typer.echo(line)

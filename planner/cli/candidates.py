"""`planner candidates`: what the search space holds, what is ruled out and why, what is predicted best."""

from __future__ import annotations

import typer

from planner.cli.options import JsonOption, LeversOption, StudyArgument


def candidates(study: StudyArgument = None, levers: LeversOption = None, as_json: JsonOption = False) -> None:
    """How many combinations of the search space are feasible, and which rule removes the rest."""
    from planner.files import pretty_json
    from planner.report import plan_document, plan_view
    from planner.study import Forecast, Problem, load, with_levers
    from planner.terminal import make_console, working

    spec, folder = load(study)
    with working("judging the search space"):
        forecast = Forecast(Problem.of(with_levers(spec, levers)))
        plan, document = plan_view(forecast, str(folder)), plan_document(forecast)
    if as_json:
        typer.echo(pretty_json(document))
    else:
        make_console().print(plan)

"""What `planner tune` prints while it carries out a plan: the plan, the first launch, the session, the conclusion."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from planner.cli.output import is_kept
from planner.files import pretty_json
from planner.report import TerminalSession, conclusion, plan_document, plan_view, result_tables, summary, trials_table
from planner.service import broken, docker_command, write_exports
from planner.study import Workspace
from planner.terminal import make_console
from planner.tuning import BACKEND as REPLAY
from planner.tuning import Outcome, Plan, replay_study, tune_study, write_study

INTERRUPTED = 130
"""Exit code of an interrupted command, as a shell's after Ctrl-C."""


def tune_or_replay(plan: Plan, storage: str | None, quiet: bool, as_json: bool) -> None:
    """Carry a plan out and tell it; with JSON all but the conclusion goes to stderr. Exit code 130: interrupted."""
    console = make_console(stderr=as_json or is_kept(), quiet=quiet)
    observer = TerminalSession(console)
    if plan.backend == REPLAY:
        outcome = replay_study(plan, observer, storage)
        if as_json:
            _print_json(summary(outcome.problem, outcome.trials))
        else:
            make_console().print(
                trials_table(outcome.problem, outcome.trials), conclusion(outcome.forecast, outcome.trials), sep="\n"
            )
        return
    write_study(plan.problem.spec, plan.workspace.study_folder)
    outcome = tune_study(plan, observer, storage)
    if outcome.interrupted:
        make_console(stderr=as_json or is_kept()).print(
            f"\nstopped; {outcome.num_launched} of {plan.target} trials are kept, the same command continues"
        )
        raise SystemExit(INTERRUPTED)
    _conclude(outcome, plan.workspace, as_json)


def show_plan(plan: Plan, results: str, quiet: bool, as_json: bool) -> None:
    console = make_console(stderr=as_json or is_kept(), quiet=quiet)
    console.print(plan_view(plan.forecast, results, plan.time_words, plan.backend, plan.target))


def show_first_launch(plan: Plan, as_json: bool) -> None:
    """What a dry run prints after the plan."""
    if plan.backend == REPLAY:
        return
    if as_json:
        _print_json({**plan_document(plan.forecast), "first_launch": plan.first_launch})
    else:
        console = make_console()
        console.print("first launch:")
        runs, process = plan.first_runs, [] if plan.first_runs else plan.first_launch
        lines = [*map(docker_command, runs), *(broken([shlex.quote(argv[0])], tuple(argv[1:])) for argv in process)]
        for line in lines:
            console.print(line, soft_wrap=True, markup=False)


def _conclude(outcome: Outcome, workspace: Workspace, as_json: bool) -> None:
    problem, trials = outcome.problem, outcome.trials
    console = make_console()
    if not as_json:
        console.print(*result_tables(problem, trials), conclusion(outcome.forecast, trials), sep="\n")
    written = write_exports(outcome.forecast, trials, workspace)
    if as_json:
        _print_json({**summary(problem, trials), "wrote": [str(path) for path in written]})
        return
    for path in written:
        console.print(Text(f"wrote {path}"))


def _print_json(document: Mapping[str, Any]) -> None:
    make_console().print(pretty_json(document), soft_wrap=True, markup=False)

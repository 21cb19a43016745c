"""`planner tune`, `report` and `export`: plan, run or replay, conclude, write the script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from planner.errors import InputError
from planner.estimate.answer import pretty_json
from planner.export.kinds import SCRIPTS, ExportKind, exported, file_name
from planner.finals import chosen_trial, measured_again
from planner.live import TerminalSession
from planner.pareto import front
from planner.problem import Problem
from planner.report import conclusion, further_facts, pareto_table, plan_view, result_tables, trials_table
from planner.spec import StudySpec
from planner.summary import plan_document, summary
from planner.terminal import make_console, working
from planner.trial import Trial, default_trial
from planner.tuning.plan import Plan
from planner.tuning.replay import BACKEND as REPLAY
from planner.tuning.search.stored import stored_trials
from planner.tuning.session import Outcome, replay_study, tune_study, write_study
from planner.whole_files import write_whole
from planner.workspace import Workspace

INTERRUPTED = 130
"""Exit code of an interrupted command, as a shell's after Ctrl-C."""


def tune_or_replay(plan: Plan, storage: str | None, has_finals: bool, quiet: bool, as_json: bool) -> None:
    """Carry a plan out and tell it; with JSON all but the conclusion goes to stderr. Exit code 130: interrupted."""
    console = make_console(stderr=as_json, quiet=quiet)
    observer = TerminalSession(console)
    if plan.backend == REPLAY:
        outcome = replay_study(plan, observer, storage, has_finals=has_finals)
        if as_json:
            _print_json(summary(outcome.problem, outcome.trials))
        else:
            make_console().print(
                trials_table(outcome.problem, outcome.trials), conclusion(outcome.problem, outcome.trials), sep="\n"
            )
        return
    write_study(plan.problem.spec, plan.workspace.study_folder)
    outcome = tune_study(plan, observer, storage, has_finals=has_finals)
    if outcome.interrupted:
        make_console(stderr=as_json).print(
            f"\nstopped; {outcome.num_launched} of {plan.target} trials are kept, the same command continues"
        )
        raise SystemExit(INTERRUPTED)
    _conclude(outcome, plan.workspace, as_json)


def show_plan(plan: Plan, results: str, quiet: bool, as_json: bool) -> None:
    console = make_console(stderr=as_json, quiet=quiet)
    console.print(plan_view(plan.problem, results, plan.time_words, plan.backend, plan.target))


def show_first_launch(plan: Plan, as_json: bool) -> None:
    """What a dry run prints after the plan."""
    if plan.backend == REPLAY:
        return
    if as_json:
        _print_json({**plan_document(plan.problem), "first_launch": plan.first_launch})
    else:
        _print_commands(make_console(), plan.first_launch)


def _print_commands(console: Console, commands: list[list[str]]) -> None:
    console.print("first launch:")
    for argv in commands:
        console.print(shlex.join(argv), soft_wrap=True, markup=False)


def _conclude(outcome: Outcome, workspace: Workspace, as_json: bool) -> None:
    problem, trials = outcome.problem, outcome.trials
    console = make_console()
    if not as_json:
        console.print(*result_tables(problem, trials), conclusion(problem, trials), sep="\n")
    written = write_exports(problem, trials, workspace)
    if as_json:
        _print_json({**summary(problem, trials), "wrote": [str(path) for path in written]})
        return
    for path in written:
        console.print(Text(f"wrote {path}"))


def _print_json(document: Mapping[str, Any]) -> None:
    make_console().print(pretty_json(document), soft_wrap=True, markup=False)


WRITTEN: tuple[ExportKind, ...] = ("script", "ladder")
"""What every run writes anew."""


def write_exports(problem: Problem, trials: list[Trial], workspace: Workspace) -> list[Path]:
    """What every run writes anew, of the trial to deploy; nothing where there is none, or no container to run."""
    best = chosen_trial(problem, trials)
    if best is None or problem.spec.container is None:
        return []
    return [write_export(kind, problem, trials, best, workspace) for kind in WRITTEN]


def write_export(
    kind: ExportKind,
    problem: Problem,
    trials: list[Trial],
    trial: Trial,
    workspace: Workspace,
    path: Path | None = None,
) -> Path:
    """Write one kind for a trial, by default into the study's folder."""
    path = path or workspace.folder / file_name(kind, problem)
    default = default_trial(problem, trials)
    default = None if default is None else measured_again(problem, trials, default)
    text = exported(kind, problem, measured_again(problem, trials, trial), default, workspace.ladder_path)
    try:
        write_whole(path, text, 0o755 if kind in SCRIPTS else None)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def report_trials(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    jsonl: Path | None,
    pareto: Sequence[str] = (),
) -> None:
    """Print the table and the conclusion, or a Pareto front, or write each trial's record as a line of JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    if jsonl is None and pareto:
        make_console().print(pareto_table(problem, front(problem, trials, pareto), pareto))
        return
    if jsonl is None:
        make_console().print(*result_tables(problem, trials), conclusion(problem, trials), sep="\n")
        make_console().print(further_facts(problem, trials))
        return
    text = "".join(msgspec.json.encode(trial).decode() + "\n" for trial in trials)
    try:
        jsonl.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{jsonl}: cannot be written: {error.strerror}") from None


def write_page(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    output: Path | None,
    pareto: Sequence[str] = (),
) -> Path:
    """Write the report as a page. Raises InputError."""
    from planner.html.page import rendered
    from planner.html.sections import study_page

    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    path = output or Workspace(folder, is_simulated).page_path
    try:
        with working("drawing the page"):
            path.write_text(rendered(study_page(problem, trials, pareto)), "utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    return path


def report_document(
    spec: StudySpec, folder: Path, is_simulated: bool, storage: str | None, pareto: Sequence[str] = ()
) -> str:
    """The summary with every trial's record, or with those of a Pareto front, as JSON."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    kept = [point.trial for point in front(problem, trials, pareto)] if pareto else trials
    return pretty_json({**summary(problem, trials), "trials": msgspec.to_builtins(kept)})


def export_trial(
    spec: StudySpec,
    folder: Path,
    kind: ExportKind,
    output: Path | None,
    number: int | None,
    is_simulated: bool,
    storage: str | None,
) -> Path:
    """Write one trial as `kind`. Raises InputError when there is no such trial."""
    problem, trials = stored_trials(spec, folder, is_simulated, storage)
    chosen = chosen_trial(problem, trials) if number is None else next((t for t in trials if t.number == number), None)
    if chosen is None:
        raise InputError(f"{folder}: {'no trial kept every limit' if number is None else f'no trial {number}'}")
    return write_export(kind, problem, trials, chosen, Workspace(folder, is_simulated), output)

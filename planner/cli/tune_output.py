"""What `planner tune` prints while it carries out a plan: the plan, the first launch, the session, the conclusion."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from planner.cli.output import is_kept
from planner.doctor import check_before_launch
from planner.engine import SECRET_FLAGS
from planner.files import pretty_json
from planner.report import (
    Event,
    Notified,
    Receiver,
    TerminalSession,
    conclusion,
    in_short,
    infeasible_words,
    judged,
    nothing_words,
    notified,
    plan_document,
    plan_view,
    result_tables,
    summary,
    trials_table,
    where_words,
)
from planner.service import broken, docker_command, start_command, write_exports
from planner.study import STUDY_FILE, Places, StudySpec, Workspace
from planner.terminal import make_console
from planner.tuning import BACKEND as REPLAY
from planner.tuning import Outcome, Plan, replay_study, shown, tune_study, write_study

INTERRUPTED = 130
"""Exit code of an interrupted command, as a shell's after Ctrl-C."""
NOTHING_TO_DEPLOY = 3
"""Exit code if no candidate can be launched, or no trial kept every limit."""
NOT_KEPT = "the trials of a replay are kept in --storage alone, from where planner export writes a script"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """How a plan is carried out, as the command's options say."""

    storage: str | None
    has_checks: bool
    has_file: bool = True
    """Whether the study was read from a file; else options describe it."""
    replaced: tuple[str, ...] = ()
    """vLLM's flags beside the study whose place planner's own take, by name."""
    shows_all: bool = False
    """Whether every trial and all reasons are printed, not the result in short."""

    receivers: tuple[Receiver, ...] = ()
    """Who is told of the end, of failures and of when one can stop."""

    def words(self, plan: Plan) -> list[str]:
        """Lines of the plan on what is not as usual."""
        prompts = None if plan.problem.spec.quality is None else plan.problem.spec.quality.prompts
        lines = [f"quality     answers compared on {prompts}"] if prompts is not None else []
        if plan.is_live:
            lines.append(
                "live        each launch measures further scheduler settings too; only launches of their own count"
            )
        if plan.until is not None:
            lines.append(
                f"until       all that is left is expected to gain less than {plan.until * 100:g} %, "
                "or all trials are launched"
            )
        if plan.taught is not None:
            lines += [f"learned     {words}" for words in plan.taught.words]
        if (budget := plan.budget_words) is not None:
            lines.append(f"budget      {budget}")
        if plan.hosts is not None:
            lines.append(f"hosts       {plan.hosts.words}")
        lines += [] if plan.has_finals else ["finals      none"]
        if self.receivers:
            lines.append(f"notify      {', '.join(receiver.host for receiver in self.receivers)}")
        lines += [
            f"replaced    {words}"
            for words in replaced_words(self.replaced, plan.problem.spec, plan.workspace.study_folder / STUDY_FILE)
        ]
        return lines if self.has_checks else [*lines, "checks      none before the first launch"]

    def results(self, plan: Plan) -> str:
        """Where results go."""
        if plan.backend == REPLAY:
            return shown(self.storage) if self.storage else "not kept"
        return f"{plan.workspace.folder}{f', trials in {shown(self.storage)}' if self.storage else ''}"

    def document(self, plan: Plan) -> dict[str, Any]:
        spec = plan.problem.spec
        return {
            "trials": plan.target,
            "until": plan.until,
            "live": plan.is_live,
            "hours": plan.budget.hours,
            "gpu_hours": plan.budget.gpu_hours,
            "backend": plan.backend,
            "results": self.results(plan),
            "sampler": spec.sampler.name,
            "seed": spec.sampler.seed,
            "learned": [] if plan.taught is None else list(plan.taught.words),
            "finals": plan.has_finals,
            "checks": self.has_checks,
            "quality_prompts": None if spec.quality is None else spec.quality.prompts,
            "hosts": None if plan.hosts is None else plan.hosts.words,
            "replaced": list(self.replaced),
            "notify": [receiver.host for receiver in self.receivers],
        }


def replaced_words(flags: Sequence[str], spec: StudySpec, file: Path) -> list[str]:
    """Lines that say what becomes of a pasted line's address, name and secrets, which no launch gets.

    `file`: the study.yaml that holds, or will hold, the study.
    """
    secrets = [flag for flag in flags if flag in SECRET_FLAGS]
    others = [flag for flag in flags if flag not in SECRET_FLAGS]
    lines = []
    if others:
        lines.append(
            f"{', '.join(others)}: planner gives each launch its own; the service is {spec.serve.name} on "
            f"port {spec.serve.host_port} (serve in {file})"
        )
    if secrets:
        lines.append(f"{', '.join(secrets)}: no secret is written; name its variable under engine.pass_env in {file}")
    return lines


def tune_or_replay(plan: Plan, how: Carried, quiet: bool, as_json: bool) -> None:
    """Carry a plan out and tell it; with JSON all but the conclusion goes to stderr.

    Exit code 130: interrupted; 3: there is nothing to deploy.
    """
    console = make_console(stderr=as_json or is_kept(), quiet=quiet)
    observer = TerminalSession(console)
    if plan.backend == REPLAY:
        outcome = replay_study(plan, observer, how.storage)
        if as_json:
            _print_json(summary(outcome.problem, outcome.trials))
        elif how.shows_all:
            make_console().print(
                trials_table(outcome.problem, outcome.trials), conclusion(outcome.forecast, outcome.trials), sep="\n"
            )
        else:
            make_console().print(in_short(outcome.forecast, outcome.trials, NOT_KEPT, "the same command with --all"))
    else:
        write_study(plan.problem.spec, plan.workspace.study_folder)
        with notified(plan.problem, how.receivers) as notifier:
            watcher = Notified(observer, notifier)
            outcome = tune_study(plan, watcher, how.storage, before_launch=_checks(plan, how, observer))
            notifier.tell(*_news(outcome, how))
        if outcome.interrupted:
            make_console(stderr=as_json or is_kept()).print(
                f"\nstopped; {outcome.num_launched} of {plan.target} trials are kept, the same command continues"
            )
            raise SystemExit(INTERRUPTED)
        _conclude(outcome, plan.workspace, how, as_json)
    if (words := nothing_words(outcome.forecast, outcome.trials, Places(how.has_file))) is not None:
        make_console(stderr=True).print(Text(f"nothing to deploy: {words}"), soft_wrap=True)
        raise SystemExit(NOTHING_TO_DEPLOY)


def _news(outcome: Outcome, how: Carried) -> tuple[Event, str]:
    """How a session ended, for whoever is away from the terminal."""
    if outcome.interrupted:
        return "interrupted", "interrupted; what was launched is kept, and the same command continues"
    if (words := nothing_words(outcome.forecast, outcome.trials, Places(how.has_file))) is not None:
        return "ended", f"ended, nothing to deploy: {words}"
    return "ended", f"ended: {judged(outcome.forecast, outcome.trials).sentence}"


def _checks(plan: Plan, how: Carried, observer: TerminalSession) -> Callable[[], None] | None:
    """The doctor's quick checks of the plan's machine; None if nothing is launched here, or they are not wanted."""
    if plan.backend == "simulated" or not how.has_checks or infeasible_words(plan.forecast) is not None:
        return None

    def check() -> None:
        for line in check_before_launch(plan.problem.spec, plan.workspace.study_folder, plan.backend, how.has_file):
            observer.say(line)

    return check


def show_plan(plan: Plan, how: Carried, quiet: bool, as_json: bool) -> None:
    console = make_console(stderr=as_json or is_kept(), quiet=quiet)
    places = Places(how.has_file)
    console.print(plan_view(plan.forecast, how.results(plan), plan.time_words, plan.backend, plan.target, places))
    for line in how.words(plan):
        console.print(Text(line))


def show_first_launch(plan: Plan, how: Carried, as_json: bool) -> None:
    """Print the commands of the first launch, after a dry run's plan. Exit code 3: nothing can be launched."""
    infeasible = infeasible_words(plan.forecast)
    launch = [] if infeasible is not None else plan.first_launch
    if as_json:
        _print_json({**plan_document(plan.forecast, plan.backend), **how.document(plan), "first_launch": launch})
    elif launch:
        _print_commands(plan, launch)
    if infeasible is not None:
        raise SystemExit(NOTHING_TO_DEPLOY)


def _print_commands(plan: Plan, launch: list[list[str]]) -> None:
    """Print the commands over several lines each, to be pasted into a shell."""
    runs, process = plan.first_runs, [] if plan.first_runs else launch
    lines = [*map(docker_command, runs), *(broken([shlex.quote(argv[0])], tuple(argv[1:])) for argv in process)]
    console = make_console()
    console.print("first launch:", *lines, sep="\n", soft_wrap=True, markup=False)


def _conclude(outcome: Outcome, workspace: Workspace, how: Carried, as_json: bool) -> None:
    problem, trials = outcome.problem, outcome.trials
    written = write_exports(outcome.forecast, trials, workspace)
    if as_json:
        _print_json({**summary(problem, trials), "wrote": [str(path) for path in written]})
        return
    console, lines = make_console(), [f"wrote {path}" for path in written]
    if how.shows_all:
        console.print(*result_tables(problem, trials), conclusion(outcome.forecast, trials), sep="\n")
        console.print(*map(Text, lines), sep="\n")
        return
    where = where_words(workspace.study_folder, workspace.simulated, how.storage)
    command = start_command(problem, trials, workspace, where)
    console.print(in_short(outcome.forecast, trials, command, f"planner report {where} --all", lines))


def _print_json(document: Mapping[str, Any]) -> None:
    make_console().print(pretty_json(document), soft_wrap=True, markup=False)

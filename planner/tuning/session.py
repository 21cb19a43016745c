"""Run a whole tuning session: choose the executor, hold cards and signals, search, finals; leave no engine behind."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from planner.errors import InputError
from planner.estimate import save_calibrations
from planner.files import encode, write_whole
from planner.hardware import Cards, held_cards
from planner.launch import (
    cards_of,
    container_spec,
    image_here,
    machine_of,
    make_backend,
    no_engine_left,
    sigterm_as_interrupt,
    warm_models,
)
from planner.study import STUDY_FILE, Candidate, Forecast, Problem, StudySpec, Workspace
from planner.trials import Trial, heats, hosts_words, judge_finals, most_heats, num_launched, searched
from planner.tuning.budget import Clock
from planner.tuning.executor import Executor, LocalExecutor
from planner.tuning.journal import recorded
from planner.tuning.loop import Observer, learn, run_checks, run_finals, run_study
from planner.tuning.measure import Measure, measure_here, simulated
from planner.tuning.plan import Hosts, Plan
from planner.tuning.quality_gate import Gate, Say
from planner.tuning.replay import replayed
from planner.tuning.search.claims import is_shared
from planner.tuning.search.search import Search
from planner.tuning.search.storage import storage_kept
from planner.tuning.search.store import StudyStore
from planner.version import install_hint

if TYPE_CHECKING:
    from planner.tuning.ray.executor import RayExecutor


MakeExecutor: TypeAlias = Callable[[Observer], Executor]
Executors: TypeAlias = tuple[MakeExecutor, Callable[[], None]]
"""Makes the executor that launches the trials, and runs the quality gate that compares the answers."""


class SessionObserver(Protocol):
    """Watches a whole session, and each of its runs of launches. The session itself prints nothing."""

    def say(self, line: str) -> None:
        """Show one line to the user."""

    def ended_early(self, line: str) -> None:
        """Show why the search ends before its target: too little is left to gain."""

    def watching(self, plan: Plan, past: list[Trial], target: int, finals: int) -> AbstractContextManager[Observer]:
        """Observer of the launches that follow `past`: until there are `target`, then so many launches of the finals.

        How many launches the finals take is known when the search is over; before it is what is expected.
        """


class NobodyWatches:
    """Observer that ignores everything, for sessions and studies that nobody watches."""

    def say(self, line: str) -> None: ...

    def ended_early(self, line: str) -> None:
        self.say(line)

    def watching(
        self,
        plan: Plan,  # noqa: ARG002
        past: list[Trial],  # noqa: ARG002
        target: int,  # noqa: ARG002
        finals: int,  # noqa: ARG002
    ) -> AbstractContextManager[Observer]:
        return nullcontext(self)

    def started(self, number: int, candidate: Candidate) -> None: ...

    def stage(self, stage: str, done: int, total: int) -> None: ...

    def finished(self, trial: Trial) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All trials of the study after a session, oldest first, including earlier runs and the finals."""

    forecast: Forecast
    """The problem as it is judged at the end, with all that was learned of memory."""
    trials: list[Trial]
    interrupted: bool = False
    """Whether Ctrl-C or SIGTERM ended the session; the same plan continues it."""

    @property
    def problem(self) -> Problem:
        return self.forecast.problem

    @property
    def num_launched(self) -> int:
        """Number of launches of the search so far."""
        return num_launched(searched(self.trials))


def tune_study(
    plan: Plan,
    observer: SessionObserver,
    storage: str | None = None,
    *,
    before_launch: Callable[[], None] | None = None,
) -> Outcome:
    """Search, then measure the best again. Call it from the main thread: SIGTERM and Ctrl-C stop the engines.

    Finished trials are kept in `storage`, by default in the workspace's folder. `before_launch` is called before the
    first launch here, when nothing of an earlier run is left on the cards. Raises InputError, BackendError.
    """
    workspace = plan.workspace
    with (
        nullcontext() if is_shared(storage) else workspace.locked(),
        recorded(plan, observer) as observer,
        storage_kept(storage or workspace.default_storage),
    ):
        search = Search.open(plan.forecast, storage or workspace.default_storage)
        interrupted = False
        try:
            with executors(plan, search, observer.say, before_launch) as (make_executor, gate):
                _search_and_finals(plan, observer, search, make_executor, gate)
        except KeyboardInterrupt:
            interrupted = True
            observer.interrupted()
        finally:
            if search.learned.calibrations:
                save_calibrations(workspace.calibration_path, search.learned.calibrations)
            for refusal in search.learned.refused:
                observer.say(f"nothing learned of {refusal}")
        return Outcome(forecast=search.forecast, trials=search.trials(), interrupted=interrupted)


def replay_study(plan: Plan, observer: SessionObserver, storage: str | None = None) -> Outcome:
    """Run the same loop on recorded launches. Nothing is launched, and without a storage nothing is kept."""
    search = Search.open(plan.forecast, storage)
    measure = replayed(plan.problem, plan.records)

    def make_executor(watcher: Observer) -> Executor:
        return LocalExecutor(plan.problem, measure, watcher.stage, plan.backend)

    _search_and_finals(plan, observer, search, make_executor, no_gate)
    return Outcome(forecast=search.forecast, trials=search.trials())


def _search_and_finals(
    plan: Plan,
    observer: SessionObserver,
    search: Search,
    make_executor: MakeExecutor,
    gate: Callable[[], None],
) -> None:
    problem, target = plan.problem, plan.target
    search.start_from(plan.taught)
    search.until, search.is_live, clock = plan.until, plan.is_live, plan.clock(search.trials())
    with observer.watching(plan, searched(search.trials()), target, plan.num_finals) as watcher:
        executor = make_executor(watcher)
        if num_launched(searched(search.trials())) < target:
            run_checks(problem, search, executor, watcher)
            for line in hosts_words(problem, search.trials()):
                observer.say(line)
        run_study(problem, search, executor, target, watcher, None if clock is None else clock.may_begin)
    found = search.trials()
    if search.ended is not None:
        observer.ended_early(search.ended.words(target, plan.until or 0.0))
    elif clock is not None and num_launched(searched(found)) < target and not clock.may_begin(found):
        observer.say(clock.ended_words(found, target))
    elif num_launched(searched(found)) < target:
        observer.say("the search ends early: no feasible combination is left that may win")
    with search.store.alone_for("quality"):
        gate()
    if plan.has_finals:
        _finals(plan, observer, search, make_executor, clock)


def _finals(
    plan: Plan, observer: SessionObserver, search: Search, make_executor: MakeExecutor, clock: Clock | None
) -> None:
    """The rounds that all finalists run in, then one more at a time until the answer is sure or the time is over."""
    problem, begun = plan.problem, False
    while to_do := heats(problem, trials := search.trials()):
        is_first = judge_finals(problem, trials) is None
        if clock is not None and not clock.may_begin_finals(trials, len(to_do), is_first):
            observer.say(clock.unsure_words(trials, len(to_do), is_first))
            return
        names = " ".join(str(number) for number in sorted({heat.trial.number for heat in to_do}))
        if begun:
            observer.say(f"finals: not sure yet, trials {names} again")
        else:
            most = most_heats(problem, to_do)
            until = f", up to {most} until the answer is sure" if most > len(to_do) else ""
            observer.say(f"finals: trials {names} again, {len(to_do)} launches in turn{until}, on fresh prompts")
        begun = True
        last_round = max(heat.rerun.round for heat in to_do)
        with observer.watching(plan, trials, num_launched(trials), len(to_do)) as watcher:
            after = run_finals(problem, search, make_executor(watcher), watcher, last_round)
        if len(after) == len(trials):  # another planner has what is left
            return


def write_study(spec: StudySpec, folder: Path) -> None:
    """Write a study that was described by flags to its folder, so that the same flags continue it."""
    path = folder / STUDY_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode(spec))


@contextmanager
def executors(
    plan: Plan, search: Search, say: Say, before_launch: Callable[[], None] | None = None
) -> Iterator[Executors]:
    """Context in which engines can be launched; none is left afterwards."""
    problem, workspace, backend, hosts = plan.problem, plan.workspace, plan.backend, plan.hosts
    if hosts is not None:
        for trial in search.trials():  # else the first host to end a trial would outweigh earlier runs
            learn(problem, search, trial)
        with _ray_executor(problem, backend, hosts, workspace, say) as executor, sigterm_as_interrupt():
            refuse_other_image(problem, executor.images, search.trials())
            yield (lambda _: executor), lambda: executor.judge(search.store, say)
        return
    cards = cards_of(problem, backend)
    with sigterm_as_interrupt(), held_cards(cards.cards):
        measure, gate, launching = _launched_here(say, plan, search.store, cards)
        if backend != "simulated" and num_launched(searched(search.trials())) < plan.target:
            if before_launch is not None:
                before_launch()
            say(warm_models(problem))
        machine, image = machine_of(problem, backend), image_here(problem, backend)
        refuse_other_image(problem, () if image is None else image.names, search.trials())
        if search.store.is_shared:
            machine = replace(machine, host=platform.node())
        with launching:
            yield (lambda observer: LocalExecutor(problem, measure, observer.stage, backend, machine)), gate


def _ray_executor(
    problem: Problem, backend: str, hosts: Hosts, workspace: Workspace, say: Say
) -> AbstractContextManager[RayExecutor]:
    try:
        from planner.tuning.ray.executor import ray_executor
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs {error.name}: {install_hint('ray')}") from None
    return ray_executor(problem, backend, hosts.address, workspace.log_dir, hosts.is_exclusive, hosts.may_differ, say)


def _launched_here(
    say: Say, plan: Plan, store: StudyStore, cards: Cards
) -> tuple[Measure, Callable[[], None], AbstractContextManager[None]]:
    """How candidates are measured, how answers are compared, and the context to do both in."""
    problem, workspace = plan.problem, plan.workspace
    if plan.backend == "simulated":
        return simulated(plan.forecast), no_gate, nullcontext()
    real = make_backend(problem, workspace, plan.backend)
    real.clean_up()  # leftovers of an earlier run that was killed
    gate = Gate(problem, store, real, workspace.log_dir, say)
    return measure_here(problem, real, cards), gate.judge_all, no_engine_left(real, problem.spec.name)


def no_gate() -> None:
    """Do nothing: without engines there are no answers to compare."""


def refuse_other_image(problem: Problem, here: Collection[str], trials: Sequence[Trial]) -> None:
    """Raise InputError if earlier trials were measured in another image than the one that is `here`.

    `here` holds the digests or ids by which a record may name the image; empty if they are unknown.
    """
    measured = {trial.provenance.machine.image_digest for trial in trials} - {None}
    if here and measured and measured.isdisjoint(here):
        image = container_spec(problem).image
        raise InputError(
            f"{problem.spec.name}: container.image: {image} stands for {' or '.join(here)} now, but the trials were "
            f"measured in {', '.join(map(str, measured))} and would not compare: fetch that image again, or give the "
            "study a new name"
        )

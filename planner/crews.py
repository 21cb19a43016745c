"""Which crew a study gets, and what holds while it works: cards held, signals heard, no engine left afterwards."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console

from planner.benchmark import Measure, simulated
from planner.cards import Cards, held_cards
from planner.crew import Crew, Here
from planner.errors import InputError
from planner.host import cards_of, image_here, machine_of, make_backend, measure_here, refuse_other_image
from planner.interruption import sigterm_as_interrupt
from planner.page_cache import warm_models
from planner.problem import Problem
from planner.quality_gate import Gate, Say
from planner.search import Search
from planner.study import Observer, learn
from planner.trial import num_launched, searched
from planner.watchdog import no_engine_left
from planner.workspace import Workspace

if TYPE_CHECKING:
    from planner.ray_hosts import RayCrew

MakeCrew: TypeAlias = Callable[[Observer], Crew]
Crews: TypeAlias = tuple[MakeCrew, Callable[[], None]]
"""Who launches the trials, and what compares the answers."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """That a Ray cluster launches."""

    address: str
    is_exclusive: bool = False
    """One trial at a time on each host, though it has cards for more."""
    may_differ: bool = False

    def backend(self, asked: str | None) -> str:
        if asked not in {None, "docker", "process"}:
            raise InputError(f"--backend {asked}: over --ray allowed: docker, process")
        return asked or "docker"


@contextmanager
def crews(
    console: Console,
    problem: Problem,
    search: Search,
    workspace: Workspace,
    backend: str,
    hosts: Hosts | None,
    target: int,
) -> Iterator[Crews]:
    """While inside, engines can be launched; afterwards none is left."""

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    if hosts is not None:
        for trial in search.trials():  # or the first host to end a trial would judge for those of earlier runs
            learn(problem, trial)
        with _ray_crew(problem, backend, hosts, workspace, say) as crew, sigterm_as_interrupt():
            refuse_other_image(problem, crew.images, search.trials())
            yield (lambda _: crew), lambda: crew.judge(search, say)
        return
    cards = cards_of(problem, backend)
    with sigterm_as_interrupt(), held_cards(cards.cards):
        measure, gate, launching = _launched_here(say, problem, search, workspace, backend, cards)
        if backend != "simulated" and num_launched(searched(search.trials())) < target:
            console.print(warm_models(problem), markup=False)
        machine, image = machine_of(problem, backend), image_here(problem, backend)
        refuse_other_image(problem, () if image is None else image.names, search.trials())
        if search.is_shared:
            machine = replace(machine, host=platform.node())
        with launching:
            yield (lambda observer: Here(problem, measure, observer.stage, backend, machine)), gate


def _ray_crew(
    problem: Problem, backend: str, hosts: Hosts, workspace: Workspace, say: Say
) -> AbstractContextManager[RayCrew]:
    try:
        from planner.ray_hosts import ray_crew
    except ModuleNotFoundError as error:
        raise InputError(f"--ray needs {error.name}: pip install 'planner[ray]'") from None
    return ray_crew(problem, backend, hosts.address, workspace.log_dir, hosts.is_exclusive, hosts.may_differ, say)


def _launched_here(
    say: Say, problem: Problem, search: Search, workspace: Workspace, backend: str, cards: Cards
) -> tuple[Measure, Callable[[], None], AbstractContextManager[None]]:
    """How candidates are measured, how answers are compared, and what to do both in."""
    if backend == "simulated":
        return simulated(problem), no_gate, nullcontext()
    real = make_backend(problem, workspace, backend)
    real.clean_up()  # what an earlier, killed run left
    gate = Gate(problem, search, real, workspace.log_dir, say)
    return measure_here(problem, real, cards), gate.judge_all, no_engine_left(real, problem.spec.name)


def no_gate() -> None:
    """Without engines there are no answers to compare."""

"""The loop: ask, launch, tell, until the target is reached; then the finals.

The page that tells the story. Knows nothing of docker, optuna or the terminal, nor of how many launches go on at once:
that is the crew's. Several planners may work on one study, each with a loop of its own: the search tells them apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from planner.crew import Crew, Work
from planner.finals import heats
from planner.problem import Problem
from planner.racing import bar_of
from planner.search import Search
from planner.space import Candidate
from planner.trial import Trial, num_launched, searched

POLL_S = 1.0
"""Between two looks at what other planners are doing."""


class Observer(Protocol):
    """Watches a study run. The loop itself prints nothing."""

    def started(self, number: int, candidate: Candidate) -> None: ...

    def stage(self, stage: str, done: int, total: int) -> None: ...

    def finished(self, trial: Trial) -> None: ...


def run_study(problem: Problem, search: Search, crew: Crew, target: int, observer: Observer) -> list[Trial]:
    """Launch until `target` trials of this study were launched, earlier runs counted in. Returns all its trials."""

    def more() -> Work | None:
        trials = searched(search.trials())
        if num_launched(trials) + search.num_under_way() >= target:
            return None
        asked = search.ask()
        if asked is None:
            return None  # every feasible combination that may win has been tried
        number, candidate = asked
        bar = bar_of(problem, trials, candidate)
        return Work(number=number, candidate=candidate, first=0, count=problem.spec.repeats, bar=bar)

    search.tell_recorded()
    return _run(problem, search, crew, observer, more, finals=False)


def run_finals(problem: Problem, search: Search, crew: Crew, observer: Observer) -> list[Trial]:
    """Measure the finalists again, in turn, until every round is done. Returns all trials.

    One round's launches never overlap, so that one host can do them all.
    """

    def more() -> Work | None:
        for heat in search.by_round(heats(problem, search.trials())):
            number = search.ask_rerun(heat.trial, heat.rerun)
            if number is not None:
                first, count = heat.repeats.first, heat.repeats.count
                return Work(number=number, candidate=heat.trial.candidate, first=first, count=count, rerun=heat.rerun)
        return None

    return _run(problem, search, crew, observer, more, finals=True)


def _run(
    problem: Problem,
    search: Search,
    crew: Crew,
    observer: Observer,
    more: Callable[[], Work | None],
    finals: bool,
) -> list[Trial]:
    """Begin while the crew has room, tell what ends, until nothing is left, here or at another planner."""
    while True:
        while crew.has_room:
            with search.alone():
                work = more()
            if work is None:
                break
            observer.started(work.number, work.candidate)
            crew.begin(work)
        if crew.num_under_way:
            trial = crew.next()
            if not search.tell(trial):
                continue
            if trial.real_memory is not None and trial.rerun is None:
                # The candidates still to come are judged by what this machine really uses.
                problem.learn(trial.candidate, trial.real_memory, f"trial {trial.number} of {problem.spec.name}")
            observer.finished(trial)
        elif search.num_under_way(finals):
            time.sleep(POLL_S)
        else:
            return search.trials()

"""The loop: ask, launch, tell, until the target is reached; then the finals.

Read this module first. It knows nothing of docker, optuna or the terminal; how many launches run at once is up to the
executor. Several planners may work on one study, each with its own loop: the search keeps their trials apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Protocol

from planner.errors import InputError
from planner.study import Candidate, Problem
from planner.trials import (
    ALONE,
    TOGETHER,
    Rerun,
    Trial,
    bar_of,
    default_trial,
    doubtful,
    heats,
    neighbours,
    num_launched,
    searched,
    speeds_of,
    start_of,
    uncrowded,
    unmeasured,
)
from planner.tuning.executor import Executor, Work
from planner.tuning.search.search import Search

POLL_S = 1.0
"""Seconds between two checks of what other planners are doing."""


class Observer(Protocol):
    """Watches a study run. The loop itself prints nothing."""

    def started(self, number: int, candidate: Candidate) -> None: ...

    def stage(self, stage: str, done: int, total: int) -> None: ...

    def finished(self, trial: Trial) -> None: ...


def run_study(
    problem: Problem,
    search: Search,
    executor: Executor,
    target: int,
    observer: Observer,
    may_begin: Callable[[list[Trial], int], bool] | None = None,
) -> list[Trial]:
    """Launch until this study has `target` launched trials, including those of earlier runs. Returns all its trials.

    `may_begin` is asked before each launch, with all trials and the number under way, whether there is time for it.
    """

    def more() -> Work | None:
        every = search.trials()
        trials = searched(every)
        under_way = search.num_under_way()
        if num_launched(trials) + under_way >= target or (may_begin is not None and not may_begin(every, under_way)):
            return None
        asked = search.ask()
        if asked is None:
            return None  # every feasible combination that may win has been tried
        number, candidate = asked
        bar, speeds, goal = bar_of(problem, trials, candidate), speeds_of(problem, every), problem.objective
        expected = goal.value(search.forecast.predicted(candidate)) if goal.seeks_load else None
        start, count = start_of(problem, trials, expected), problem.spec.repeats
        work = Work(number=number, candidate=candidate, first=0, count=count, bar=bar, speeds=speeds, start=start)
        return replace(work, live=search.live_beside(candidate))

    return _run(problem, search, executor, observer, more, finals=False)


def run_checks(problem: Problem, search: Search, executor: Executor, observer: Observer) -> None:
    """Measure the default alone on every host of the executor, all at once; then on all places of one host at once.

    If hosts differ, each measures it twice to show the noise. What earlier runs measured is not measured again.
    If trials side by side disturb each other, each host runs one at a time from here on.
    """
    if not executor.places:
        return

    def begin_all(to_do: list[tuple[str, str, int]]) -> None:
        """Launch the default for each entry of `to_do`: host, series and number."""
        default = default_trial(problem, search.trials())
        of = None if default is None else default.number

        def more() -> Work | None:
            nonlocal of
            while to_do:
                host, series, count = to_do.pop(0)
                if of is not None:
                    rerun = Rerun(of=of, series=series, round=count)
                    number = search.ask_rerun(problem.default, rerun)
                    if number is not None:
                        return _first_repeats(problem, number, host, rerun)
                elif (asked := search.ask()) is not None and asked[1] == problem.default:
                    of = asked[0]
                    return _first_repeats(problem, of, host)
                elif asked is not None:  # another planner has the default
                    to_do.clear()
                    return Work(number=asked[0], candidate=asked[1], first=0, count=problem.spec.repeats)
            return None

        _run(problem, search, executor, observer, more, finals=True)

    hosts = unmeasured(problem, search.trials(), executor.places)
    begin_all([(host, ALONE, number) for number, host in enumerate(hosts)])
    hosts = doubtful(problem, search.trials(), executor.places)
    begin_all([(host, ALONE, number) for number, host in enumerate(hosts)])
    if (crowd := uncrowded(problem, search.trials(), executor.places)) is not None:
        host, count = crowd
        begin_all([(host, f"{TOGETHER} {count}", number) for number in range(count)])
    found = neighbours(problem, search.trials())
    if found is not None and found.disturb:
        executor.one_each()


def _first_repeats(problem: Problem, number: int, host: str, rerun: Rerun | None = None) -> Work:
    """Work that launches the default with the prompts that every trial of the search gets."""
    count = problem.spec.repeats
    return Work(number=number, candidate=problem.default, first=0, count=count, rerun=rerun, host=host)


def run_finals(
    problem: Problem, search: Search, executor: Executor, observer: Observer, last_round: int | None = None
) -> list[Trial]:
    """Measure the finalists again in turn, until the finals are over or `last_round` is done. Returns all trials.

    The launches of one round never overlap, so that one host can do them all.
    """

    def more() -> Work | None:
        to_do = heats(problem, search.trials())
        for heat in search.by_round([h for h in to_do if last_round is None or h.rerun.round <= last_round]):
            number = search.ask_rerun(heat.trial.candidate, heat.rerun)
            if number is not None:
                first, count = heat.repeats.first, heat.repeats.count
                again, start = heat.trial.candidate, heat.trial.value
                return Work(number=number, candidate=again, first=first, count=count, rerun=heat.rerun, start=start)
        return None

    return _run(problem, search, executor, observer, more, finals=True)


def _run(
    problem: Problem,
    search: Search,
    executor: Executor,
    observer: Observer,
    more: Callable[[], Work | None],
    finals: bool,
) -> list[Trial]:
    """Begin works while the executor has room and store what ends, until no work is left here or at another planner."""
    search.tell_recorded()
    while True:
        while executor.has_room:
            with search.alone():
                work = more()
            if work is None:
                break
            observer.started(work.number, work.candidate)
            executor.begin(replace(work, learned=search.learned))
        if executor.num_under_way:
            trial = executor.next()
            if not search.tell(trial):
                continue
            learn(problem, search, trial)
            observer.finished(trial)
        elif search.num_under_way(finals):
            time.sleep(POLL_S)
        else:
            return search.trials()


def learn(problem: Problem, search: Search, trial: Trial) -> None:
    """Calibrate on the memory that a trial really used, so that later candidates are judged by it."""
    is_told_by = trial.rerun is None or trial.rerun.series == ALONE
    if trial.real_memory is None or not is_told_by:
        return
    host = trial.provenance.machine.host
    with nullcontext() if host is None else suppress(InputError):  # a host may have another card
        search.learn(trial.candidate, trial.real_memory, f"trial {trial.number} of {problem.spec.name}", host)

"""Several launches at once, and whose an engine is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from planner.errors import InputError
from planner.launch.ownership import LAUNCHER, is_alive, is_left_over
from planner.study.problem import Problem
from planner.trials.finals import heats, judge_finals
from planner.trials.trial import searched
from planner.tuning.loop import run_finals, run_study
from planner.tuning.measure import simulated
from planner.tuning.search.claims import Claims, is_shared, shown
from planner.tuning.search.search import Search
from tests.forecasts import forecast_of
from tests.race.workers import VirtualExecutor

Make = Callable[..., Problem]


@pytest.mark.parametrize("workers", [2, 5])
def test_many_workers_launch_each_candidate_once_and_no_more_than_asked(
    make_problem: Make, storage: str, watcher: Any, workers: int
) -> None:
    problem = make_problem()
    executor = VirtualExecutor(problem, simulated(forecast_of(problem)), workers)
    trials = run_study(problem, Search.open(forecast_of(problem), storage), executor, 7, watcher)
    assert len(trials) == 7
    assert len({trial.candidate for trial in trials}) == 7
    assert executor.num_under_way == 0
    spent_s = sum(trial.start_s + trial.benchmark_s for trial in trials)
    assert spent_s / workers <= executor.now_s < spent_s, "some were at once"


def test_rounds_of_the_finals_go_on_at_once_but_not_a_rounds_launches(
    make_problem: Make, storage: str, watcher: Any
) -> None:
    problem = make_problem()
    search = Search.open(forecast_of(problem), storage)
    run_study(problem, search, VirtualExecutor(problem, simulated(forecast_of(problem)), 3), 6, watcher)
    expected = len(heats(problem, search.trials()))
    executor = VirtualExecutor(problem, simulated(forecast_of(problem)), 3)
    after = run_finals(problem, search, executor, watcher)
    assert len(after) - len(searched(after)) == expected
    assert judge_finals(problem, after) is not None
    ends: dict[int, float] = {}
    for end_s, trial in executor.ended:
        assert trial.rerun is not None
        assert end_s - trial.start_s - trial.benchmark_s >= ends.get(trial.rerun.round, 0.0) - 1e-6
        ends[trial.rerun.round] = end_s
    assert min(ends.values()) > max(ends.values()) / 2, "both rounds from the beginning"


def test_what_a_dead_planner_launched_is_left_over() -> None:
    asked = "from planner.launch.ownership import LAUNCHER; print(LAUNCHER.id, flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", asked], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        assert is_alive(name)
        assert not is_left_over(name)
        other.kill()
    assert is_left_over(name)
    assert is_left_over(LAUNCHER.id), "what this one launched it may remove"
    assert is_left_over(None), "from before engines had a launcher"


def test_storages_that_are_shared_and_that_are_not() -> None:
    assert [is_shared(url) for url in (None, "sqlite:///x.db", "postgresql+psycopg://a@b/c")] == [False, False, True]
    with pytest.raises(InputError, match=r"^storage mysql://b/c: cannot be opened: allowed: sqlite"):
        is_shared("mysql://a@b/c")
    assert shown("postgresql+psycopg://a:canary@b/c") == "postgresql+psycopg://b/c"


def test_alone_on_sqlite_needs_no_server() -> None:
    claims = Claims("sqlite:///x.db", "study", lambda *_: None)
    with claims.alone(), claims.alone_for("quality"):
        claims.hold(1)
    claims.let_go(1)

"""Engine time by kind, and the wall clock of launches that overlap, follow each other or are virtual."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from planner.study.problem import Problem
from planner.trials.durations import engine_s, engine_time, wall_s
from planner.trials.trial import ALONE, Rerun, Trial

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def trial(make_problem: Callable[..., Problem], launch: Any) -> Trial:
    return launch(make_problem())[0]


def of(trial: Trial, ended_s: float, start_s: float, load_s: float, backend: str = "docker") -> Trial:
    ended = (BEGAN + timedelta(seconds=ended_s)).isoformat()
    return replace(
        trial,
        start_s=start_s,
        benchmark_s=load_s,
        warmup_s=load_s / 4,
        provenance=replace(trial.provenance, backend=backend, finished_at=ended),
    )


def test_every_launch_is_of_one_kind(trial: Trial) -> None:
    one = of(trial, 100, 10, 80)
    compared = replace(one, rerun=Rerun(of=0, series=ALONE, round=0))
    final = replace(one, rerun=Rerun(of=0, series="0,1", round=0))
    found = engine_time([one, compared, final, final])
    assert (found.starting_s, found.warming_up_s, found.measuring_s, found.finals_s) == (20, 40, 120, 180)
    assert found.words == "starting 20 s, warming up 40 s, measuring 2 min 00 s, finals 3 min 00 s"
    assert engine_time([one]).words == "starting 10 s, warming up 20 s, measuring 1 min 00 s"


def test_a_simulated_launch_says_what_its_warm_up_took(trial: Trial) -> None:
    assert 0 < trial.warmup_s < trial.benchmark_s


@pytest.mark.parametrize(
    ("spans", "wall"),
    [
        ([(90, 90), (190, 90)], 180),  # one after the other; a night between them is not counted
        ([(90, 90), (90, 90)], 90),  # side by side
        ([(90, 90), (120, 90)], 120),
        ([(120, 120), (100, 20)], 120),
        ([(90, 0)], 0),
        ([], 0),
    ],
)
def test_the_wall_clock_runs_while_any_launch_runs(trial: Trial, spans: Any, wall: float) -> None:
    trials = [of(trial, ended, took / 3, took * 2 / 3) for ended, took in spans]
    assert wall_s(trials) == pytest.approx(wall)
    assert wall_s(trials[::-1]) == pytest.approx(wall)


def test_virtual_launches_follow_each_other(trial: Trial) -> None:
    simulated = [of(trial, 1, 10, 80, "simulated"), of(trial, 1, 10, 80, "replay")]
    assert wall_s(simulated) == sum(map(engine_s, simulated)) == 180

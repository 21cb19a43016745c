"""What earlier studies showed corrects predictions as far as a study's own launches bear it out."""

from __future__ import annotations

import numpy as np
import pytest

from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.search.lessons import SHARE, Taught, is_switch
from planner.tuning.search.search import Search
from planner.tuning.search.surrogate import Surrogate
from tests.race.runs import QUIET
from tests.race.worlds import World, is_chunked, world

RATE = "output_throughput"


@pytest.fixture(scope="module")
def made() -> World:
    """The speed model says that chunked prefill costs 22 %; here it gives 8 %."""
    return world("switch-mild", 1)


@pytest.fixture(scope="module")
def trials(made: World) -> list[Trial]:
    search = Search.open(made.forecast, None)
    return run_study(
        made.problem, search, LocalExecutor(made.problem, made.measure(1), QUIET.stage, "replay"), 6, QUIET
    )


def taught(made: World, effect: float) -> Taught:
    """Chunked prefill is better than predicted by this much, as a logarithm."""
    chunked = is_chunked(made.problem, made.forecast.grid.indices)
    return Taught({RATE: np.append(np.where(chunked, effect, 0.0), 0.0)})


def chunked_gain(made: World, trials: list[Trial], taught: Taught | None) -> float:
    """Believed mean gain of chunked prefill over the grid, as a logarithm."""
    rows = made.forecast.grid.feasible_rows
    believed = Surrogate(made.forecast, taught).believed(rows, trials)
    chunked = is_chunked(made.problem, made.forecast.grid.indices[rows])
    return float(believed[chunked].mean() - believed[~chunked].mean())


def test_launches_decide_how_much_of_a_correction_holds(made: World, trials: list[Trial]) -> None:
    """Before a launch a wrong correction moves what is believed by its share; launches on both sides overrule it."""
    sides = {bool(made.problem.choices.value_of(trial.candidate, "enable_chunked_prefill")) for trial in trials}
    assert sides == {True, False}
    wrong = taught(made, -0.4)
    apart = [chunked_gain(made, past, None) - chunked_gain(made, past, wrong) for past in ([], trials)]
    assert apart[0] == pytest.approx(0.4 * SHARE)
    assert abs(apart[1]) < 0.3 * apart[0]


def test_the_first_choice_is_the_one_that_earlier_studies_favour(made: World) -> None:
    rows = made.forecast.grid.feasible_rows
    plain, told = (Surrogate(made.forecast, one).choose(rows, []) for one in (None, taught(made, 0.6)))
    chunked = is_chunked(made.problem, made.forecast.grid.indices)
    assert (bool(chunked[plain]), bool(chunked[told])) == (False, True)


def test_what_is_believed_before_a_launch_moves_by_the_stated_share(made: World) -> None:
    rows = made.forecast.grid.feasible_rows
    moved = Surrogate(made.forecast, taught(made, 0.4)).believed(rows, []) - Surrogate(made.forecast).believed(rows, [])
    chunked = is_chunked(made.problem, made.forecast.grid.indices[rows])
    assert moved[chunked] == pytest.approx(0.4 * SHARE)
    assert moved[~chunked] == pytest.approx(0.0)


def test_switches_are_what_is_not_counted() -> None:
    assert [is_switch(values) for values in ([False, True], ["1xtp4"], [None, 2], [1, 2.5])] == [
        True,
        True,
        True,
        False,
    ]

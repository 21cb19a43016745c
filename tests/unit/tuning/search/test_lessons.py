"""What earlier studies showed corrects predictions as far as a study's own launches bear it out."""

from __future__ import annotations

import numpy as np
import pytest

from planner.trials.trial import Trial
from planner.tuning.executor import LocalExecutor
from planner.tuning.loop import run_study
from planner.tuning.search.lessons import BELIEVED, Taught, is_switch
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


def belief(made: World, trials: list[Trial], effect: float) -> float:
    rows = [made.problem.row_of(trial.candidate) for trial in trials]
    known = np.array([-1 if row is None else row for row in rows])
    seen = Surrogate(made.forecast).predicted(trials)
    return taught(made, effect).belief(RATE, made.problem, trials, seen, known)


def test_a_correction_is_believed_as_stated_until_something_was_measured(made: World) -> None:
    assert belief(made, [], 0.3) == BELIEVED


def test_launches_that_bear_a_correction_out_make_it_likelier_and_others_less(made: World, trials: list[Trial]) -> None:
    sides = {bool(made.problem.choices.value_of(trial.candidate, "enable_chunked_prefill")) for trial in trials}
    assert sides == {True, False}
    assert belief(made, trials, 0.3) > BELIEVED > belief(made, trials, -0.3)


def test_the_first_choice_is_the_one_that_earlier_studies_favour(made: World) -> None:
    rows = made.forecast.grid.feasible_rows
    plain, told = (Surrogate(made.forecast, one).choose(rows, []) for one in (None, taught(made, 0.4)))
    chunked = is_chunked(made.problem, made.forecast.grid.indices)
    assert (bool(chunked[plain]), bool(chunked[told])) == (False, True)


def test_what_is_believed_before_a_launch_moves_by_the_stated_share(made: World) -> None:
    rows = made.forecast.grid.feasible_rows
    moved = Surrogate(made.forecast, taught(made, 0.4)).believed(rows, []) - Surrogate(made.forecast).believed(rows, [])
    chunked = is_chunked(made.problem, made.forecast.grid.indices[rows])
    assert moved[chunked] == pytest.approx(0.4 * BELIEVED)
    assert moved[~chunked] == pytest.approx(0.0)


def test_switches_are_what_is_not_counted() -> None:
    assert [is_switch(values) for values in ([False, True], ["1xtp4"], [None, 2], [1, 2.5])] == [
        True,
        True,
        True,
        False,
    ]

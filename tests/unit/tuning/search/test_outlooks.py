"""What the surrogate expects is computed once, by whoever asks first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from planner.constraints import Constraint
from planner.study import Problem
from planner.tuning.search.outlooks import Outlooks
from planner.tuning.search.samplers import untried_rows
from planner.tuning.search.surrogate import Surrogate
from tests.forecasts import forecast_of

Make = Callable[..., Problem]


def test_an_outlook_is_computed_once(make_problem: Make, tune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    trials, forecast, outlooks = tune(problem, 3), forecast_of(problem), Outlooks()
    rows, computed, outlook = untried_rows(forecast, trials), [], Surrogate.outlook

    def counted(self: Surrogate, *args: Any) -> Any:
        computed.append(args)
        return outlook(self, *args)

    monkeypatch.setattr(Surrogate, "outlook", counted)
    first = outlooks.of(forecast, rows, trials)
    assert outlooks.of(forecast, rows, list(trials)) is first
    assert len(computed) == 1
    broken = [*trials[:-1], replace(trials[-1], constraints=(Constraint("answers", 1.0, ""),))]
    outlooks.of(forecast, rows, broken)
    outlooks.of(forecast, rows[1:], trials)
    assert len(computed) == 3
    assert first == Surrogate(forecast).outlook(rows, trials)

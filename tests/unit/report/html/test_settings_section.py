"""The section that draws all trials over their settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from planner.report.html.settings_section import LEAST_TRIALS, settings_section
from planner.study.problem import Problem
from planner.trials.trial import Rerun


def test_only_what_differs_and_has_a_value_is_drawn(
    make_problem: Callable[..., Problem], launch: Callable[..., list[Any]]
) -> None:
    problem = make_problem()
    trials = launch(problem, 4)
    again = replace(trials[1], number=8, rerun=Rerun(of=1, series="0 1", round=0))
    failed = replace(trials[2], number=9, outcome="failed", value=None)
    section = settings_section(problem, [*trials, again, failed], trials[1])
    assert section is not None
    (figure,) = section.figures
    assert [row.cells[0] for row in figure.numbers.rows] == ["0", "1", "2", "3"]
    for column in range(2, len(figure.numbers.columns)):
        assert len({row.cells[column] for row in figure.numbers.rows}) > 1
    assert figure.svg.count("<polyline") == 4
    assert figure.svg.count('class="mark best"') == 1
    assert settings_section(problem, trials[: LEAST_TRIALS - 1], None) is None

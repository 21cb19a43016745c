"""Load against latency of the default and the trial to deploy."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from planner.benchmark.capacity.level import Level
from planner.report.html.load_section import load_section
from planner.report.load_curves import MOST_LEVELS_SHOWN, further_curves, load_curves
from planner.report.view import load_table
from planner.study.problem import Problem
from planner.trials.trial import AtLoad, Rerun, Trial

Make = Callable[..., Problem]


def level(load: float, tpot_s: float, share: float = 1.0) -> Level:
    metrics = {"output_throughput": 30 * load, "request_throughput": load / 4, "ttft_p95": 0.2, "tpot_p95": tpot_s}
    return Level(load, 100, 0, metrics, share)


@pytest.fixture
def problem(make_problem: Make) -> Problem:
    return make_problem(objective={"metric": "capacity", "slo": {"tpot_p95": "50ms"}})


@pytest.fixture
def trials(problem: Problem, launch: Any, make_problem: Make) -> list[Trial]:
    default, other = launch(make_problem(), 2)
    rerun = Rerun(of=1, series="0,1", round=0)

    def capacity(trial: Trial, value: float, levels: tuple[Level, ...], **more: Any) -> Trial:
        asked = problem.objective.asked
        return replace(
            trial, asked=asked, value=value, repeat_values=(value,), levels=levels, predicted_value=20.0, **more
        )

    return [
        capacity(default, 20.0, (level(20.0, 0.05), level(22.0, 0.06))),
        capacity(other, 30.0, (level(25.0, 0.04), level(40.0, 0.07, share=0.4), level(32.0, 0.052))),
        capacity(
            other, 31.0, tuple(level(20.0 + load, 0.001 * (20 + load)) for load in range(20)), number=2, rerun=rerun
        ),
    ]


def test_each_has_its_whole_levels_by_load_those_of_its_finals_too(problem: Problem, trials: list[Trial]) -> None:
    default, best = load_curves(problem, trials)
    assert (default.name, [one.load for one in default.levels]) == ("default", [20.0, 22.0])
    assert best.name == "trial 1"
    assert [one.load for one in best.levels] == sorted([25.0, 32.0, *(20.0 + load for load in range(20))])
    assert load_curves(problem, [replace(trial, levels=()) for trial in trials]) == []


def test_the_table_shows_levels_from_the_lowest_load_to_the_highest(problem: Problem, trials: list[Trial]) -> None:
    console = Console(file=io.StringIO(), width=160)
    table = load_table(problem, trials)
    assert table is not None
    console.print(table)
    rows = [line for line in console.file.getvalue().splitlines() if "trial 1" in line]  # type: ignore[attr-defined]
    assert len(rows) == MOST_LEVELS_SHOWN
    assert {line.split("│")[2].strip() for line in rows} == {"20", "23", "25", "28", "31", "34", "36", "39"}
    assert ["kept" in row for row in rows] == [True] * 8
    assert "60 ms" in next(line for line in console.file.getvalue().splitlines() if "broken" in line)  # type: ignore[attr-defined]
    assert load_table(problem, [replace(trial, levels=()) for trial in trials]) is None


def test_the_page_draws_one_figure_for_each_limit(problem: Problem, trials: list[Trial]) -> None:
    section = load_section(problem, trials)
    assert section is not None
    (figure,) = section.figures
    assert figure.caption == "tpot_p95 against throughput, limit 50 ms"
    assert "trial 1, 25 in flight" in str(figure.svg)
    assert len(figure.numbers.rows) == 2 + 22
    assert load_section(problem, [replace(trial, levels=()) for trial in trials]) is None


def test_further_loads_are_a_curve_with_the_studys_own(make_problem: Make, launch: Any) -> None:
    problem = make_problem(also_at=[1, 8])
    default, other = launch(problem, 2)
    metrics = {"output_throughput": 30.0, "ttft_p95": 0.1, "tpot_p95": 0.02}
    plain = [replace(trial, at_loads=()) for trial in (default, other)]
    loads = (AtLoad(8.0, metrics), AtLoad(1.0, metrics))
    assert further_curves(problem, plain) == []
    assert load_section(problem, plain) is None
    (curve, *_) = further_curves(problem, [replace(trial, at_loads=loads) for trial in plain])
    assert curve.name == "default"
    assert [level.load for level in curve.levels] == [1.0, float(problem.workload.concurrency), 8.0]
    section = load_section(problem, [replace(trial, at_loads=loads) for trial in plain])
    assert section is not None
    assert [one.caption for one in section.figures] == ["ttft_p95 against throughput", "tpot_p95 against throughput"]
    assert section.figures[0].numbers.columns[1] == "in flight"

"""Watching a study: lines for logs, a block for terminals."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rich.console import Console

from planner.report.live import Ahead, _Progress, terminal_observer
from planner.study.problem import Problem
from planner.trials.trial import Rerun

Make = Callable[..., Problem]


def _watch(
    problem: Problem, tune: Any, past: list[Any], target: int, is_terminal: bool, finals: int = 0
) -> tuple[str, list[Any]]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=200, color_system=None)
    with terminal_observer(console, problem, past, Ahead(target, finals, 60.0)) as observer:
        trials = tune(problem, target, observer=observer)
    return out.getvalue(), trials


def test_a_log_gets_a_line_for_each_start_stage_and_outcome(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    first = tune(problem, 1)
    text, trials = _watch(problem, tune, first, 3, is_terminal=False)
    lines = text.splitlines()
    assert lines[0].startswith("trial 1 (2/3): --tensor-parallel-size ")
    assert lines[1:3] == ["  starting", "  measuring"]
    assert f"{trials[1].value:.1f} tok/s; best trial " in lines[3]
    assert lines[4].startswith("trial 2 (3/3): ")
    assert len(lines) == 8
    assert "\x1b" not in text


def test_a_terminal_gets_a_block_that_redraws_itself(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    text, _ = _watch(problem, tune, [], 2, is_terminal=True)
    assert "best so far trial" in text
    assert "(2/2)" in text
    assert "\x1b[" in text


def test_trials_and_finals_are_counted_together(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    text, _ = _watch(problem, tune, [], 2, is_terminal=False, finals=4)
    assert "trial 0 (1/6): " in text
    assert "trial 1 (2/6): " in text


def test_the_time_that_remains_includes_the_finals(make_problem: Make, launch: Any) -> None:
    problem = make_problem()
    first, second = launch(problem, 2)
    progress = _Progress(problem, [], Ahead(target=2, finals=4, trial_s=60.0))
    assert progress.remaining() == "about 6 min 00 s"
    progress.add(first)
    progress.began -= 30.0  # seconds
    assert progress.remaining() == "about 2 min 30 s", "the launch took half as long as was expected"
    progress.add(second)
    progress.began -= 30.0
    assert progress.counted() == "3/6"
    assert progress.remaining() == "about 2 min 00 s"
    for _ in range(4):
        progress.add(replace(first, rerun=Rerun(of=0, series="0,1", round=0)))
    assert progress.remaining() == "about 0 s"
    assert _Progress(problem, [], Ahead(2, 4, 0.0)).remaining() == "not known yet"
    assert _Progress(problem, [], Ahead(2, 4, 60.0, most_s=200.0)).remaining().startswith("about 3 min")
    assert _Progress(problem, [], Ahead(2, 4, 60.0, most_s=-10.0)).remaining() == "about 0 s"

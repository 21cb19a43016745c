"""Watching a study: lines for logs, a block for terminals."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from planner.report.live import terminal_observer
from planner.study.problem import Problem

Make = Callable[..., Problem]


def _watch(problem: Problem, tune: Any, past: list[Any], target: int, is_terminal: bool) -> tuple[str, list[Any]]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=200, color_system=None)
    with terminal_observer(console, problem, past, target, 60.0) as observer:
        trials = tune(problem, target, observer=observer)
    return out.getvalue(), trials


def test_a_log_gets_a_line_for_each_start_stage_and_outcome(make_problem: Make, tune: Any) -> None:
    problem = make_problem()
    first = tune(problem, 1)
    text, trials = _watch(problem, tune, first, 3, is_terminal=False)
    lines = text.splitlines()
    assert lines[0].startswith("trial 1 (2/3): layout=")
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

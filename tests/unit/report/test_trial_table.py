"""The table of trials on a narrow terminal, and what stands below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from planner.report.trial_table import trials_table
from planner.study.problem import Problem
from planner.trials.trial import Failure

NINE: dict[str, list[Any]] = {
    "layout": ["1xtp2", "2xtp1"], "max_num_seqs": [8, 64], "max_num_batched_tokens": [8192, 32768],
    "enable_chunked_prefill": [True, False], "enable_prefix_caching": [True, False],
    "gpu_memory_utilization": [0.9, 0.96], "block_size": [16, 32], "max_seq_len_to_capture": [8192, 16384],
    "swap_space": [0, 4],
}  # fmt: skip
HEADINGS = ["layout", "seqs", "tokens", "chunked", "prefix", "memory", "block", "capture", "swap"]


def lines(renderable: Any, width: int) -> list[str]:
    console = Console(width=width, no_color=True)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.replace("\u2503", "\u2502").strip().strip("\u2502").split("\u2502")]


@pytest.fixture
def nine(make_problem: Callable[..., Problem], launch: Any) -> tuple[Problem, list[Any]]:
    """Two candidates that differ in all of nine settings."""
    problem = make_problem(search_space={"search": NINE})
    (trial,) = launch(problem, 1)
    at = [problem.choices.candidate({name: values[i] for name, values in NINE.items()}) for i in (0, 1)]
    return problem, [replace(trial, number=i, candidate=one, value=120.0 - i) for i, one in enumerate(at)]


@pytest.mark.parametrize("width", [80, 200])
def test_each_of_nine_values_has_a_cell_of_its_own(nine: tuple[Problem, list[Any]], width: int) -> None:
    shown = lines(trials_table(*nine), width)
    assert max(map(len, shown)) <= width
    head = next(line for line in shown if "layout" in line and "seqs" in line)
    assert cells(head)[-9:] == HEADINGS
    rows = [cells(line)[-9:] for line in shown if "xtp" in line]
    assert rows == [
        ["1xtp2", "8", "8192", "on", "on", "0.9", "16", "8192", "0"],
        ["2xtp1", "64", "32768", "off", "off", "0.96", "32", "16384", "4"],
    ]
    text = " ".join(" ".join(shown).split())
    assert "tokens: --max-num-batched-tokens" in text
    assert "layout: instances x --tensor-parallel-size" in text


def test_on_a_tiny_terminal_each_value_is_named(nine: tuple[Problem, list[Any]]) -> None:
    shown = [line.strip() for line in lines(trials_table(*nine), 40)]
    assert "chunked: off" in shown
    assert "tokens: 32768" in shown


def test_what_all_trials_have_alike_is_one_line_of_flags(nine: tuple[Problem, list[Any]]) -> None:
    problem, (first, second) = nine
    alike = problem.choices.candidate({**{name: values[1] for name, values in NINE.items()}, "max_num_seqs": 8})
    failure = Failure(kind="EngineOutOfMemory", message="CUDA out of memory")
    failed = replace(first, candidate=alike, value=None, outcome="failed", failure=failure)
    shown = lines(trials_table(problem, [failed, second]), 300)
    assert cells(next(line for line in shown if "seqs" in line))[-1] == "seqs"
    (same,) = [line for line in shown if line.startswith("the same in all but the default: ")]
    assert "2 instances, each --tensor-parallel-size 1 --max-num-batched-tokens 32768" in same
    assert "trial 0: failed: CUDA out of memory" in [line.rstrip() for line in shown]


def test_of_json_the_values_are_shown(make_problem: Callable[..., Problem], launch: Any) -> None:
    configs = [f'{{"method": "ngram", "num_speculative_tokens": {n}}}' for n in (2, 4)]
    problem = make_problem(engine__version="0.9.2", search_space={"search": {"speculative_config": configs}})
    (trial,) = launch(problem, 1)
    at = [problem.choices.candidate({"speculative_config": config}) for config in configs]
    trials = [replace(trial, number=i, candidate=one, value=100.0) for i, one in enumerate(at)]
    shown = lines(trials_table(problem, trials), 200)
    assert [cells(line)[-1] for line in shown if "ngram" in line] == ["ngram 2", "ngram 4"]

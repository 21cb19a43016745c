"""What starts teach: each host keeps its own, all are judged by the strictest, and nothing changes in place."""

from __future__ import annotations

from collections.abc import Callable

from planner.estimate.memory.per_gpu import MemoryFigures
from planner.study.learned import Learned
from planner.study.problem import Problem


def test_of_several_hosts_the_strictest_counts(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem()
    deployment = problem.deployment(problem.default)
    blocks = int(deployment.memory.num_blocks)
    nothing = Learned()
    assert nothing.learn(deployment, MemoryFigures(), "a log without figures") is nothing
    one = nothing.learn(deployment, MemoryFigures(num_blocks=blocks - 100), "a start on a", "a")
    both = one.learn(deployment, MemoryFigures(num_blocks=blocks - 300), "a start on b", "b")
    assert nothing == Learned()
    ((key, strictest),) = both.calibrations.items()
    assert strictest == both.of_host("b")[key] == both.of_host("unknown")[key]
    assert both.of_host("a") == one.calibrations


def test_figures_that_cannot_be_teach_nothing_and_are_told(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem()
    deployment = problem.deployment(problem.default)
    blocks = 40 * int(deployment.memory.num_blocks)
    refused = Learned().learn(deployment, MemoryFigures(num_blocks=blocks), "a start on a")
    assert refused.calibrations == {}
    (words,) = refused.refused
    assert words.startswith("a start on a: its KV cache of ")

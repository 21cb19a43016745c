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

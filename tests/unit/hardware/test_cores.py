"""Trials of a CPU engine that run side by side have cores of their own."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from planner.hardware import cores
from planner.hardware.cores import parse_cpuset
from planner.study.problem import Problem
from planner.tuning.ray.own_cores import on_own_cores

CPU = {"gpu": "CPU", "interconnect": "none", "cpu_cores": 2}


@pytest.fixture
def five_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1000, 1001, 1002, 1003, 1004})
    monkeypatch.setattr(cores, "CORES_FREE_WITHIN_S", 0.5)


def cpu_problem(make_problem: Callable[..., Problem], **changes: Any) -> Problem:
    return make_problem(
        hardware=CPU,
        engine={"version": "0.32.0", "settings": {"max_model_len": 4096}},
        search_space={"search": {"max_num_seqs": [8, 32]}},
        **changes,
    )


@pytest.mark.usefixtures("five_cores")
def test_two_trials_have_different_cores_and_a_third_shares(make_problem: Callable[..., Problem]) -> None:
    spec = cpu_problem(make_problem).spec
    with ExitStack() as first, ExitStack() as second, ExitStack() as third:
        found = [on_own_cores(spec, held).container for held in (first, second, third)]
        assert [one.cpuset_cpus for one in found if one] == ["1000,1001", "1002,1003", None]
        first.close()
        again = on_own_cores(spec, third).container
        assert again is not None
        assert again.cpuset_cpus == "1000,1001", "free as soon as it is let go"


@pytest.mark.usefixtures("five_cores")
def test_the_study_says_which_cores_and_whether(make_problem: Callable[..., Problem]) -> None:
    among = cpu_problem(make_problem, container__cpuset_cpus="1003-1009").spec
    with ExitStack() as held:
        container = on_own_cores(among, held).container
        assert container is not None
        assert container.cpuset_cpus == "1003,1004"
        assert on_own_cores(make_problem().spec, held) == make_problem().spec, "a GPU's trial is not bound"


def test_a_list_of_cores() -> None:
    assert parse_cpuset("0-3,8") == {0, 1, 2, 3, 8}
    assert [parse_cpuset(text) for text in ("", "a", "1-", "3-1")] == [None] * 4

"""Launching on the hosts of a Ray cluster; here Ray itself is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from planner.tuning.ray import executor
from planner.tuning.ray.tasks import Order


def test_a_study_that_ended_well_stays_so_whatever_its_hosts_do_at_the_end(
    make_problem: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that was left out before was told of then; another one that cannot be cleaned is told of now."""
    problem, said = make_problem(), list[str]()
    left_out = executor.Host("1", "first", 1, fault="no answer for 3 min")
    hosts = [left_out, executor.Host("2", "second", 1), executor.Host("3", "third", 1)]
    found = [{"fault": "hangs"}, {"fault": "disk full"}, {"image": "none"}]
    monkeypatch.setattr(executor, "_alive", list)
    monkeypatch.setattr(executor, "_look_at", lambda _, alive: list(zip(alive, found, strict=True)))
    on_hosts = executor.RayExecutor(problem, Order(problem.spec, "process"), hosts, tmp_path, said.append)
    on_hosts.close()
    assert said == ["second: nothing could be removed there: disk full"]

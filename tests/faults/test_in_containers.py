"""Faults in containers, some of them in CI and all in `make prove`, and a short soak; `make soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.__main__ import PAGE
from tests.faults.in_containers import DOCKER_FAULTS, REPRESENTATIVE, meet
from tests.faults.soak import BEGIN, soak
from tests.gears import some_in_ci


@pytest.mark.container
@pytest.mark.usefixtures("_containers")
@pytest.mark.parametrize("name", some_in_ci(DOCKER_FAULTS, REPRESENTATIVE))
def test_a_study_in_containers_survives(name: str, tmp_path: Path) -> None:
    met = meet(DOCKER_FAULTS[name], tmp_path)
    assert met.wrong() == [], met.output


@pytest.mark.prove
@pytest.mark.container
@pytest.mark.usefixtures("_containers")
def test_the_planner_does_not_grow(tmp_path: Path) -> None:
    soaked = soak(tmp_path, num_trials=8, num_requests=60)
    assert soaked.code == 0, soaked.output
    assert soaked.wrong() == []


def test_the_page_has_the_long_one() -> None:
    assert BEGIN in PAGE.read_text("utf-8"), "run: make soak"

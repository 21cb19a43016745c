"""Chances are learned from successes and failures, and are what was believed where nothing was seen."""

from __future__ import annotations

import numpy as np
import pytest

from planner.tuning.search.logistic_process import learned_chances

LINE = np.linspace(0.0, 1.0, 11)[:, None]
BELIEVED = np.full(11, 0.9)


def test_nothing_seen_is_what_was_believed() -> None:
    found = learned_chances(LINE, BELIEVED, np.zeros((0, 1)), np.zeros(0), np.zeros(0, dtype=bool))
    assert found.tolist() == BELIEVED.tolist()


def test_a_trend_is_seen_beyond_what_was_launched() -> None:
    """The upper part fails: a point above all failures is judged worse than one below all successes."""
    known = np.array([[0.3], [0.4], [0.5], [0.6], [0.7]])
    found = learned_chances(LINE, BELIEVED, known, np.full(5, 0.9), known[:, 0] < 0.55)
    assert found[0] > 0.8
    assert found[-1] < 0.5
    assert (np.diff(found) < 0.02).all()


def test_successes_raise_the_chance_beside_a_failure() -> None:
    known, believed = np.array([[0.5], [0.45], [0.55], [0.6]]), np.full(4, 0.7)
    alone = learned_chances(LINE, np.full(11, 0.7), known[:1], believed[:1], np.array([False]))
    among = learned_chances(LINE, np.full(11, 0.7), known, believed, np.array([False, True, True, True]))
    assert among[6] > alone[6] + 0.1


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_chances_far_from_all_that_was_seen_follow_the_share(share: float) -> None:
    """Without any pattern the chance is about the share that succeeded."""
    draw = np.random.default_rng(0)
    known = draw.random((60, 3))
    succeeded = draw.random(60) < share
    found = learned_chances(draw.random((200, 3)), np.full(200, 0.93), known, np.full(60, 0.93), succeeded)
    assert float(found.mean()) == pytest.approx(float(succeeded.mean()), abs=0.08)

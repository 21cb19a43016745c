"""The best of all that is left: more than any one of it, less where candidates stand and fall together."""

from __future__ import annotations

import numpy as np
import pytest

from planner.tuning.search.gaussian_process import _Posterior, _posterior
from planner.tuning.search.left import PROMISING, expected_left


def believed(points: list[float], values: list[float], noise: float = 0.01) -> _Posterior:
    """Two launches at 0 and 1, then what is believed at these points and at the two; the model predicts all alike."""
    known = np.array([[0.0], [1.0]])
    at = np.vstack([np.array(points)[:, None], known])
    return _posterior(known, np.array(values), np.zeros(2), at, np.zeros(len(at)), noise)


def test_many_in_doubt_are_worth_more_than_one() -> None:
    far = [10.0 * (1 + i) for i in range(40)]  # too far apart to tell anything of each other
    found = believed(far, [0.0, 0.02])
    one, all_ = (expected_left(found, 1, np.ones(count), 41) for count in (1, 40))
    assert all_ > 2 * one > 0


def test_candidates_that_stand_and_fall_together_are_worth_little_more_than_one() -> None:
    found = believed([50.0 + 1e-5 * i for i in range(40)], [0.0, 0.02])
    one, all_ = (expected_left(found, 1, np.ones(count), 41) for count in (1, 40))
    assert all_ == pytest.approx(one, rel=0.4)


def test_what_hardly_starts_is_worth_as_little() -> None:
    found = believed([10.0, 20.0, 30.0], [0.0, 0.02])
    sure = expected_left(found, 1, np.ones(3), 4)
    assert expected_left(found, 1, np.full(3, 0.1), 4) == pytest.approx(0.1 * sure, rel=0.1)


def test_launches_as_predicted_leave_less_than_surprises() -> None:
    points = [0.25, 0.5, 0.75, 2.0, 3.0]
    confirmed, surprised = (expected_left(believed(points, values), 1, np.ones(5), 6) for values in ([0, 0], [0, 0.3]))
    assert surprised > 1.5 * confirmed


def test_less_may_be_better() -> None:
    """The second launch is far lower: of a latency it leads, and next to nothing is left."""
    found = believed([0.0, 0.1], [0.0, -0.5])
    assert expected_left(found, -1, np.ones(2), 3) < 0.02
    assert expected_left(found, 1, np.ones(2), 3) > 0.5


def test_only_those_that_may_be_best_are_drawn() -> None:
    """Thousands that lie far behind, as launches have confirmed, change nothing."""
    launched = np.array([0.0, -1.0, -2.0, -3.0])
    behind = np.full(10 * PROMISING, -2.5)

    def left(others: np.ndarray) -> float:
        predicted = np.concatenate([[0.0, 0.0], others, launched])
        points = np.arange(len(predicted), dtype=float)[:, None] * 10
        found = _posterior(points[-4:], launched, launched, points, predicted, 0.01)
        return expected_left(found, 1, np.ones(2 + len(others)), 2 + len(others))

    assert left(behind) == pytest.approx(left(behind[:0]), abs=0.01)

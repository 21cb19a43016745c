"""A rival competes where it may well be the best; the more alike and the noisier, the more of them."""

from __future__ import annotations

import pytest

from planner.trials.rivals import expected_best, worth_measuring


@pytest.mark.parametrize(("count", "best"), [(1, 0.0), (2, 0.5642), (3, 0.8463), (4, 1.0294)])
def test_the_best_of_equals(count: int, best: float) -> None:
    """Tables of the largest of n normal values."""
    assert expected_best([2.0] * count, 0.5) == pytest.approx(2.0 + 0.5 * best, abs=1e-3)


def test_who_is_far_behind_adds_nothing() -> None:
    assert expected_best([0.0, -1.0], 0.02) == pytest.approx(0.0, abs=1e-4)
    assert expected_best([0.0, -0.02], 0.02) - expected_best([0.0], 0.02) == pytest.approx(0.02 * 0.1996, abs=1e-4)


@pytest.mark.parametrize(
    ("logs", "noise", "count"),
    [
        ([0.0], 0.03, 1),
        ([], 0.03, 0),
        ([0.0, 0.0, 0.0], 0.01, 1),  # even equals are known well enough
        ([0.0, 0.0, 0.0], 0.028, 2),
        ([0.0, -0.03, -0.03], 0.028, 1),
        ([0.0, 0.0, 0.0], 0.1, 3),
        ([0.0, -0.03, -0.03], 0.1, 3),
    ],
)
def test_a_rival_has_to_be_worth_its_launches(logs: list[float], noise: float, count: int) -> None:
    assert worth_measuring(logs, noise) == count

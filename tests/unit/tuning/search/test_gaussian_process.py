"""The process: averaged over kernels, in doubt where the model's coefficients are, and moved little by noise."""

from __future__ import annotations

import numpy as np
import pytest

from planner.tuning.search.gaussian_process import (
    SLOPE_STDS,
    _Doubt,
    _expected_change,
    _likely,
    _moved,
    _posterior,
    _Seen,
)


def test_a_few_launches_overrule_a_model_that_ranks_the_wrong_way_round() -> None:
    """Four launches fall where the prediction rises, and so does what is believed beyond them."""
    predicted = np.array([0.0, 0.05, 0.25, 0.3])
    points = np.array([-0.1, 0.0, 0.3])
    found = _posterior(np.zeros((4, 1)), -predicted, predicted, np.zeros((3, 1)), points, 0.02)
    assert found.mean[0] > found.mean[1] + 0.05
    assert found.mean[1] > found.mean[2] + 0.2


def test_kernels_are_averaged() -> None:
    known = np.array([[0.0], [0.5], [1.0]])
    kernels = _likely(_Seen(known, np.array([0.0, 0.05, 0.02]), np.zeros(3), 0.02, np.full((3, 3), 0.16)))
    assert sum(weight for weight, _ in kernels) == pytest.approx(1)
    assert len(kernels) > 1
    assert max(weight for weight, _ in kernels) < 0.9


def test_what_is_averaged_differs_in_more_than_length_scales() -> None:
    """In many dimensions hundreds of kernels differ by a hair; they leave room for one that distrusts the ranking."""
    known = np.eye(5)[:4]
    seen = _Seen(known, np.array([-0.28, -0.5, 0.09, 0.06]), np.array([0.07, 0.13, -0.12, -0.11]), 0.02, np.eye(4) / 9)
    kernels = _likely(seen)
    kinds = [(kernel.std, kernel.slope_std) for _, kernel in kernels]
    assert len(set(kinds)) == len(kinds)
    for slope in SLOPE_STDS:
        assert sum(weight for weight, kernel in kernels if kernel.slope_std == slope) > 0.05


def test_a_launch_corrects_all_that_depend_on_its_coefficient() -> None:
    """Two points far apart share a coefficient in doubt: what is seen at one is believed of the other, of no third."""
    slopes = np.array([[0.3, 0.0], [0.3, 0.0], [0.0, 0.3]])
    known, points = np.array([[0.0], [0.1]]), np.array([[0.0], [3.0], [3.1]])
    doubt = _Doubt((), np.array([[0.3, 0.0], [0.0, 0.3]]), slopes)
    found = _posterior(known, np.array([-0.3, 0.0]), np.zeros(2), points, np.zeros(3), 0.02, 0.0, doubt)
    assert found.mean[1] < found.mean[2] - 0.2


def test_a_noisy_launch_moves_the_mean_less() -> None:
    std = np.array([0.05])
    assert _moved(std, 1e-9)[0] == pytest.approx(0.05)
    assert _moved(std, 0.05)[0] == pytest.approx(0.05 / 2**0.5)
    assert _moved(std, 0.5)[0] < 0.006


def test_a_further_launch_is_worth_most_between_two_leaders() -> None:
    """Not for one far behind, nor for two that only move together, nor where there is no rival."""
    doubt = np.diag([0.05, 0.05, 0.05]) ** 2
    found = _expected_change(np.array([0.0, -0.01, -0.4]), doubt, 0.1)
    assert found[0] == pytest.approx(found[1])
    assert found[0] > 1000 * found[2]
    together = np.full((2, 2), 0.05**2)
    assert _expected_change(np.array([0.0, -0.01]), together, 0.1).max() < 1e-9
    assert _expected_change(np.array([0.0]), doubt[:1, :1], 0.1).tolist() == [0.0]

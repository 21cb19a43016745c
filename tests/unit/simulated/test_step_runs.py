"""A run of decode steps lasts what its steps last one after the other; the noise is that of single draws."""

from __future__ import annotations

import numpy as np
import pytest

from planner.estimate.speed.step_timer import DecodeCost
from planner.simulated.step_runs import FRONTEND_QUEUE_S, NOISE, StepNoise, decode_run


def test_noise_is_what_numpy_draws_singly() -> None:
    single, noise = np.random.default_rng(5), StepNoise(np.random.default_rng(5))
    expected = [float(single.lognormal(0.0, NOISE)) for _ in range(3000)]
    found = [noise.take() for _ in range(10)]
    assert noise.coming(600) == noise.coming(600) == expected[10:610], "looking ahead takes nothing"
    noise.skip(400)
    found += expected[10:410] + noise.coming(2590)
    assert found == expected


def cost(**changed: float) -> DecodeCost:
    known = {"fixed_s": 0.01, "context_token_s": 1e-6, "reduces_s": 0.001, "floor_s": 0.0, "after_s": 0.002}
    return DecodeCost(**{**known, "most_tokens": 1e9, **changed})


def test_steps_grow_with_the_context() -> None:
    run = decode_run(cost(), [(1000, 1.0), (2000, 2.0)], 1.5, 0.0, 0.0, 7.0)
    assert run.ends_s == pytest.approx([7.0 + 1.5 * 0.014, 7.0 + 1.5 * 0.014 + 3 * 0.015])
    assert run.behind_s is None


def test_no_step_is_shorter_than_its_launches() -> None:
    run = decode_run(cost(floor_s=0.5), [(1000, 1.0)], 1.0, 0.0, 0.0, 0.0)
    assert run.ends_s == pytest.approx([0.502])


def test_the_engine_waits_for_an_api_server_that_is_far_behind() -> None:
    run = decode_run(cost(), [(0, 1.0)] * 100, 1.0, 0.05, 0.0, 0.0)
    assert run.behind_s is not None
    assert run.behind_s[0] == pytest.approx(0.05 - 0.013)
    assert run.behind_s[-1] == pytest.approx(FRONTEND_QUEUE_S)
    assert run.ends_s[-1] - run.ends_s[-2] == pytest.approx(0.05), "then it goes at the server's pace"

"""What a change costs: words, an order, and the speed that is predicted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.estimate.prices import cost_words, loss_of, pace_of
from tests.unit.estimate.test_fixes import setup_for

SMALL = {"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090", "num_gpus": 1, "version": "0.20.0", "max_model_len": 8192}


def test_one_request_is_bound_by_reading_the_weights() -> None:
    """15.3 GiB less the embedding at 1 TB/s and 7.9 GiB of fp8 weights: one is nearly twice the other."""
    pace = pace_of(setup_for(**SMALL).answer())
    quantised = pace_of(setup_for(**SMALL, quantization="fp8").answer())
    assert pace is not None
    assert quantised is not None
    assert 40 < pace.alone < 70
    assert 1.4 < quantised.alone / pace.alone < 2.0
    assert quantised.num_seqs > pace.num_seqs


def test_stages_take_turns_and_instances_add_up() -> None:
    alone = pace_of(setup_for(**SMALL).answer())
    two = setup_for(**{**SMALL, "num_gpus": 2})
    staged = pace_of(replace(two, settings={**two.settings, "pipeline_parallel_size": 2}).answer())
    twice = pace_of(replace(two, instances=2).answer())
    assert alone is not None
    assert staged is not None
    assert twice is not None
    assert staged.alone <= alone.alone * 1.05
    assert twice.together == pytest.approx(2 * alone.together)
    assert twice.num_seqs == 2 * alone.num_seqs


@pytest.mark.parametrize("change", [{"gpu_memory_utilization": 0.3}, {"quantization": "bitsandbytes"}])
def test_no_speed_is_predicted_of_what_does_not_start_or_runs_unknown_kernels(change: dict[str, object]) -> None:
    assert pace_of(setup_for(**SMALL, **change).answer()) is None


def test_words_of_what_a_person_gives_up() -> None:
    setup = setup_for(**{**SMALL, "num_gpus": 2})
    changes = {"tensor_parallel_size": 2, "max_model_len": 4096, "kv_cache_dtype": "fp8"}
    answer = replace(setup, settings={**setup.settings, **changes}).answer()
    before = {"tensor_parallel_size": 1, "max_model_len": 8192, "kv_cache_dtype": "auto"}
    assert cost_words(setup, changes, before, answer) == (
        "longer requests are refused, keys and values in 8 bits, check the answers, takes 2 of 2 cards"
    )


def test_a_context_that_was_asked_for_costs_more_than_one_that_was_not() -> None:
    asked, unasked = setup_for(**SMALL), setup_for(**{**SMALL, "max_model_len": None})
    answer = asked.answer()
    changes, before = {"max_model_len": 4096}, {"max_model_len": 8192}
    assert loss_of(asked, changes, before, answer) == 2 * loss_of(unasked, changes, before, answer)
    risky = replace(answer, dangers=("a danger",))  # type: ignore[arg-type]
    assert loss_of(asked, changes, before, risky) > loss_of(asked, changes, before, answer) + 2

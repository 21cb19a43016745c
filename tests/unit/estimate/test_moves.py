"""What may be changed: sensible steps within the bounds, and what a changed setup is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.estimate.moves import GPU, MODEL, NUM_GPUS, Move, changed, halvings, hardware, moves, parallel_sizes
from tests.unit.estimate.test_fixes import TARGET, setup_for


def points_of(found: list[Move], name: str) -> list[object]:
    return [point[name] for move in found for point in move.points if set(point) == {name}]


def test_contexts_go_down_in_steps_of_at_most_a_quarter_to_a_quarter_of_what_was_asked() -> None:
    setup = setup_for(**TARGET)
    lengths = points_of(moves(setup, setup.answer(), for_starting=True), "max_model_len")
    assert lengths[:3] == [28672, 24576, 20480]
    assert lengths[-1] == 8192


def test_a_context_that_nobody_asked_for_goes_down_to_4096() -> None:
    setup = setup_for(model="Qwen/Qwen3-8B", gpu="RTX 4090", num_gpus=1)
    assert points_of(moves(setup, setup.answer(), for_starting=True), "max_model_len")[-1] == 4096


def test_nothing_is_offered_that_is_so_already_or_that_the_version_does_not_know() -> None:
    setup = setup_for(**TARGET, version="0.24.0", enforce_eager=True, attention_backend="TRITON_ATTN")
    found = moves(setup, setup.answer(), for_starting=True)
    assert points_of(found, "enforce_eager") == []
    assert points_of(found, "swap_space") == []
    assert points_of(found, "attention_backend") == [None]


def test_a_changed_setup_runs_another_model_on_other_cards() -> None:
    setup = setup_for(**TARGET, quantization="awq")
    other = changed(setup, {MODEL: "Qwen/Qwen3-32B-FP8", GPU: "H100 80GB", NUM_GPUS: 2, "tensor_parallel_size": 2})
    assert (other.model.name, other.placement.gpu.name, other.placement.num_gpus) == (
        "Qwen/Qwen3-32B-FP8", "H100 80GB", 2)  # fmt: skip
    assert other.placement.interconnect == "nvlink"
    assert other.settings == {"tensor_parallel_size": 2, "dtype": "half", "max_model_len": 32768}
    assert setup.settings["quantization"] == "awq"


def test_larger_cards_are_as_fast_and_no_older() -> None:
    setup = setup_for(model="Qwen/Qwen3-8B", gpu="RTX 4080", num_gpus=1)
    more, larger = hardware(setup, setup.answer())
    assert more.points[0] == {NUM_GPUS: 2, "tensor_parallel_size": 2}
    names = [point[GPU] for point in larger.points]
    assert names[0] == "RTX 4090"
    assert not {"L4", "V100 32GB", "A100 40GB"} & set(names)


def test_an_engine_on_cpus_is_left_alone() -> None:
    setup = setup_for(model="Qwen/Qwen3-0.6B", gpu="CPU", num_gpus=1, version="0.32.0")
    assert moves(setup, setup.answer(), for_starting=True) == []
    assert list(hardware(setup, setup.answer())) == []


def test_fp8_while_loading_needs_room_for_the_16_bits() -> None:
    def methods(gpu: str) -> list[object]:
        setup = setup_for(model="Qwen/Qwen3-8B", gpu=gpu, num_gpus=1, version="0.20.0")
        return points_of(moves(setup, setup.answer(), for_starting=True), "quantization")

    assert methods("RTX 4090") == ["fp8", "bitsandbytes"]
    assert methods("RTX 4070") == ["bitsandbytes"]
    assert methods("T4") == ["bitsandbytes"]


def test_variants_are_named_after_the_model_that_they_quantise() -> None:
    setup = setup_for(model="Qwen/Qwen3-8B", gpu="RTX 4090", num_gpus=1)
    named = replace(setup, model=replace(setup.model, name="Qwen3-8B"))
    for one in (setup, named):
        assert points_of(moves(one, one.answer(), for_starting=True), MODEL) == [
            "Qwen/Qwen3-8B-AWQ",
            "Qwen/Qwen3-8B-FP8",
        ]


@pytest.mark.parametrize(("number", "least", "expected"), [(256, 64, [128, 64]), (100, 8, [64, 32, 16, 8]), (8, 8, [])])
def test_halvings(number: int, least: int, expected: list[int]) -> None:
    assert list(halvings(number, least)) == expected


def test_parallel_sizes_need_no_more_cards_or_layers_than_there_are() -> None:
    assert list(parallel_sizes(3, 80)) == [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]
    assert len(list(parallel_sizes(1_000_000, 80))) == 8 * 32
    assert list(parallel_sizes(3, 1)) == [(1, 1), (2, 1), (3, 1)]

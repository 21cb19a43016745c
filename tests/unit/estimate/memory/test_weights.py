"""Weights of a rank against `Model loading took x GiB` of real starts, and against parameter counts by hand."""

from __future__ import annotations

import pytest

from planner.estimate.memory.weights import (
    ExpertSplit,
    distinct_ranks,
    layers_per_stage,
    rank_tensor_bytes,
    rank_weight_bytes,
    weight_bytes,
)
from planner.model.catalog import load_model
from planner.units import GIB


@pytest.mark.parametrize(
    ("model", "dtype", "tp", "logged_gib"),
    [
        ("Qwen/Qwen3-32B-AWQ", "float16", 4, 4.5804),  # four RTX 2080 Ti
        ("Qwen/Qwen3-32B-AWQ", "float16", 4, 4.5812),  # four H200
        ("Qwen/Qwen3-32B-AWQ", "float16", 2, 9.0568),
        ("Qwen/Qwen3-32B-AWQ", "float16", 1, 18.1423),
        ("Qwen/Qwen3-32B", "float16", 4, 15.392),
        ("Qwen/Qwen3-32B", "bfloat16", 8, 7.6871),
        ("Qwen/Qwen3-8B", "float16", 1, 15.2683),
        ("Qwen/Qwen3-4B", "bfloat16", 1, 7.5552),
        ("Qwen/Qwen2.5-14B", "bfloat16", 1, 27.5681),
        ("Qwen/Qwen2.5-14B", "bfloat16", 4, 6.9461),
        ("Qwen/Qwen2.5-14B-Instruct-AWQ", "float16", 1, 9.3795),
        ("Qwen/Qwen2.5-7B-Instruct", "bfloat16", 1, 14.2487),
        ("Qwen/Qwen2.5-3B", "float16", 1, 5.7916),
        ("meta-llama/Llama-3.2-3B", "float16", 1, 6.016),
        ("meta-llama/Llama-3-8B", "bfloat16", 1, 14.9595),
        ("meta-llama/Llama-3-8B", "float16", 2, 7.4829),
        ("meta-llama/Llama-3-8B", "bfloat16", 4, 3.7418),
        ("meta-llama/Llama-3.1-8B", "bfloat16", 1, 14.9888),
    ],
)
def test_real_starts(model: str, dtype: str, tp: int, logged_gib: float) -> None:
    assert weight_bytes(load_model(model), dtype, tp) / GIB == pytest.approx(logged_gib, abs=0.001)


@pytest.mark.parametrize(
    ("model", "totals"),
    [
        ("Qwen/Qwen3-32B-AWQ", {1: 19_335_784_448, 2: 9_673_811_968, 4: 4_842_825_728, 8: 2_427_332_608}),
        ("Qwen/Qwen3-32B", {1: 65_534_732_288, 2: 32_773_285_888, 4: 16_392_562_688, 8: 8_202_201_088}),
    ],
)
def test_parameters_by_hand(model: str, totals: dict[int, int]) -> None:
    """Counted from the layers' shapes and AWQ's packing, before the allocator's rounding."""
    spec = load_model(model)
    for tp, total in totals.items():
        assert sum(rank_tensor_bytes(spec, "float16", tp, 64, True, True)) == total


@pytest.mark.parametrize(
    ("layers", "stages", "split"),
    [(64, 1, [64]), (64, 2, [32, 32]), (65, 4, [16, 16, 17, 16]), (62, 4, [15, 16, 16, 15]), (3, 2, [2, 1])],
)
def test_pipeline_stages_share_layers_as_vllm_does(layers: int, stages: int, split: list[int]) -> None:
    assert layers_per_stage(layers, stages) == split


def test_a_pipeline_divides_the_layers_and_the_fullest_stage_counts() -> None:
    model = load_model("Qwen/Qwen3-32B-AWQ")
    whole, half = weight_bytes(model, "float16", 2), weight_bytes(model, "float16", 2, 2)
    assert whole / 2 < half < 0.55 * whole


def test_ranks_that_differ_are_told_apart() -> None:
    assert [r.number for r in distinct_ranks(64, 4, 1, one_samples=False)] == [0]
    assert [(r.number, r.samples) for r in distinct_ranks(64, 4, 1, one_samples=True)] == [(0, True), (1, False)]
    stages = distinct_ranks(64, 2, 4, one_samples=False)
    assert [(r.number, r.num_layers, r.samples) for r in stages] == [(0, 16, False), (2, 16, False), (6, 16, True)]


def test_the_ends_of_a_pipeline_hold_embedding_and_head() -> None:
    model = load_model("Qwen/Qwen3-8B")
    first, last = distinct_ranks(model.num_hidden_layers, 1, 2, one_samples=False)
    sizes = [rank_weight_bytes(model, "float16", 1, 2, rank) for rank in (first, last)]
    assert sum(sizes) == pytest.approx(weight_bytes(model, "float16", 1), rel=0.01)
    assert weight_bytes(model, "float16", 1, 2) == max(sizes)


@pytest.mark.parametrize("is_whole", [False, True])
def test_data_parallel_replicas_share_their_experts(is_whole: bool) -> None:
    """vllm@0.11.0 fused_moe/config.py: experts are cut, or given out whole, over tensor x data parallel ranks."""
    model = load_model("Qwen/Qwen3-30B-A3B")
    alone = weight_bytes(model, "bfloat16", 1)
    experts = model.experts
    assert experts is not None
    routed = 2 * 48 * 3 * experts.num_experts * experts.intermediate_size * model.hidden_size
    for replicas in (2, 4):
        shared = weight_bytes(model, "bfloat16", 1, experts=ExpertSplit(replicas, is_whole))
        assert alone - shared == pytest.approx(routed * (1 - 1 / replicas), rel=0.001)
    dense = load_model("Qwen/Qwen3-8B")
    assert weight_bytes(dense, "bfloat16", 1, experts=ExpertSplit(4)) == weight_bytes(dense, "bfloat16", 1)

"""Weights of drafters against what real starts took beside their model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from planner.engine import parse_version, resolve, speculation_of
from planner.estimate.memory.drafter import draft_model, drafter_bytes
from planner.estimate.memory.weights import distinct_ranks
from planner.hardware import find_gpu
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.units import GIB

QWEN36_27B: dict[str, Any] = {
    "model_type": "qwen3_5_text", "num_hidden_layers": 64, "hidden_size": 5120, "intermediate_size": 17408,
    "num_attention_heads": 24, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248320,
    "linear_num_value_heads": 48, "mtp_num_hidden_layers": 1, "max_position_embeddings": 262144,
}  # fmt: skip


def added(target: ModelSpec, tp: int = 1, **config: Any) -> float:
    """GiB of the drafter on one rank."""
    gpu = find_gpu("H200")
    settings = {"speculative_config": json.dumps(config), "tensor_parallel_size": tp}
    engine = resolve(settings, target, gpu, parse_version("0.24.0"))
    (rank,) = distinct_ranks(target.num_hidden_layers, tp, 1, one_samples=False)
    return drafter_bytes(target, engine, rank) / GIB


def test_multi_token_prediction_adds_one_layer_in_16_bits() -> None:
    """Qwen3.6-27B-NVFP4 loads 19.78 GiB without and 20.57 with it (vLLM 0.23.1, logged)."""
    model = spec_from_config(QWEN36_27B, "m")
    assert added(model, method="mtp", num_speculative_tokens=2) == pytest.approx(20.57 - 19.78, abs=0.01)
    assert added(model, 2, method="mtp", num_speculative_tokens=2) == pytest.approx((20.57 - 19.78) / 2, abs=0.01)
    assert added(spec_from_config({**QWEN36_27B, "mtp_num_hidden_layers": 0}, "m"), method="mtp") == 0


def test_a_draft_model_weighs_what_it_weighs_alone() -> None:
    """Qwen3-8B loads 15.27 GiB alone and 16.38 with Qwen3-0.6B (vLLM 0.24.0 on an H200)."""
    found = added(load_model("Qwen/Qwen3-8B"), method="draft_model", model="Qwen/Qwen3-0.6B", num_speculative_tokens=4)
    assert found == pytest.approx(16.3798 - 15.2682, abs=0.02)


@pytest.mark.parametrize("config", [{"method": "ngram"}, {"method": "eagle3", "model": "/nowhere/else"}, {"model": 7}])
def test_a_drafter_that_is_not_at_hand_adds_nothing(config: dict[str, Any]) -> None:
    assert draft_model(speculation_of(json.dumps(config))) is None
    assert added(load_model("Qwen/Qwen3-8B"), **config) == 0

"""Weights of drafters against what real starts took beside their model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from planner.engine import parse_version, resolve, speculation_of
from planner.estimate.memory.drafter import draft_model, drafter_bytes
from planner.estimate.memory.weights import distinct_ranks
from planner.hardware import find_gpu
from planner.model.catalog import load_model, shipped_config
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.units import GIB

QWEN36_27B: dict[str, Any] = {
    "model_type": "qwen3_5_text", "num_hidden_layers": 64, "hidden_size": 5120, "intermediate_size": 17408,
    "num_attention_heads": 24, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 248320,
    "linear_num_value_heads": 48, "mtp_num_hidden_layers": 1, "max_position_embeddings": 262144,
}  # fmt: skip


QWEN3_8B = {key: value for key, value in shipped_config("Qwen/Qwen3-8B").items() if not key.startswith("_")}


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


@pytest.mark.parametrize("config", [{"method": "ngram"}, {"model": 7}])
def test_a_drafter_that_is_not_at_hand_adds_nothing(config: dict[str, Any]) -> None:
    assert draft_model(speculation_of(json.dumps(config))) is None
    assert added(load_model("Qwen/Qwen3-8B"), **config) == 0


def test_eagle_is_a_layer_and_a_projection_of_the_models_states(tmp_path: Path) -> None:
    """Qwen3-8B loads 15.2682 GiB alone and 15.7685 with EAGLE-3 of its own widths and head (vLLM 0.24.0 on an H200)."""
    model = load_model("Qwen/Qwen3-8B")
    logged = 15.7685 - 15.2682
    assert added(model, method="eagle3", model="/nowhere/else") == pytest.approx(logged, abs=0.002)
    config = {**QWEN3_8B, "num_hidden_layers": 1, "draft_vocab_size": 151936, "model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    same = added(model, method="eagle3", model=str(tmp_path))
    assert same == pytest.approx(logged, abs=0.002)
    short = tmp_path / "short"
    short.mkdir()
    (short / "config.json").write_text(json.dumps({**config, "draft_vocab_size": 32000}))
    head = (32000 * 4096 * 2 + 32000 * 8) / GIB
    assert added(model, method="eagle3", model=str(short)) == pytest.approx(same + head, abs=1e-6)
    assert added(model, method="eagle", model="/nowhere/else") < same


def test_a_block_diffusion_drafter_shares_embedding_and_head(tmp_path: Path) -> None:
    model = load_model("Qwen/Qwen3-8B")
    config = {**QWEN3_8B, "num_hidden_layers": 5, "dflash_config": {"target_layer_ids": [1, 9, 17, 25, 33]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    layer = 4096 * (6144 + 4096 + 3 * 12288)
    found = added(model, method="dflash", model=str(tmp_path), num_speculative_tokens=7)
    assert found == pytest.approx(2 * (5 * layer + 5 * 4096 * 4096) / GIB, rel=0.001)
    assert added(model, method="dflash", model="/nowhere/else") == pytest.approx(found, rel=0.001), "a guess of this"


def test_drafters_of_experts_are_guessed_without_experts() -> None:
    """A DFlash of Qwen3.6-35B-A3B weighed 0.97 GiB (0.20.1, logged), one of Gemma 4 26B 0.80, both in 16 bits."""
    for name, logged in (("Qwen/Qwen3.6-35B-A3B", 0.97), ("google/gemma-4-26B-A4B-it", 0.80)):
        model = load_model(name)
        assert logged / 2 < added(model, method="dflash", model="/nowhere/else") < 1.5 * logged
        assert 0 < added(model, method="eagle3", model="/nowhere/else") < logged

"""Live sets of Qwen's image towers, against the peaks that starts of 0.24 on H200 logged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.activations import cublas_bytes
from planner.estimate.memory.image_encoder import encoder_bytes, position_rows_bytes
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.units import GIB, MIB

H200 = find_gpu("H200")
QWEN3_5: dict[str, Any] = {
    "model_type": "qwen3_5",
    "text_config": {
        "model_type": "qwen3_5_text", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"], "num_attention_heads": 16,
        "num_key_value_heads": 4, "head_dim": 256, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
        "linear_num_value_heads": 32, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "vocab_size": 248320,
        "max_position_embeddings": 262144,
    },
    "vision_config": {
        "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "patch_size": 16, "deepstack_visual_indexes": [],
    },
}  # fmt: skip


def _peak_mib(model: ModelSpec, ranks: int = 1, **settings: object) -> float:
    asked = {"max_model_len": 32768, "max_num_batched_tokens": 8192, "tensor_parallel_size": ranks, **settings}
    engine = resolve(asked, model, H200, parse_version("0.24.0"))
    peak, _ = encoder_bytes(model, engine)
    return float(peak + cublas_bytes(H200)) / MIB


def test_the_largest_image_of_qwen3_5_takes_what_was_logged() -> None:
    assert _peak_mib(spec_from_config(QWEN3_5, "qwen3.5")) == pytest.approx(1961.98, rel=0.002)


def test_features_for_the_first_layers_wait_for_the_last_of_the_tower() -> None:
    """Qwen3-VL-8B's start took 384 MiB more: three levels of 16384 tokens of 4096 values."""
    config = {**QWEN3_5, "vision_config": {**QWEN3_5["vision_config"], "deepstack_visual_indexes": [8, 16, 24]}}
    assert _peak_mib(spec_from_config(config, "levels")) == pytest.approx(2345.98, rel=0.002)


def test_an_image_of_qwen2_5_vl_takes_what_was_logged_where_no_prompt_has_videos() -> None:
    model = load_model("qwen2.5-vl-7b-instruct")
    assert _peak_mib(model.without_videos()) == pytest.approx(2285.26, rel=0.01)
    assert _peak_mib(model) > 1.9 * _peak_mib(model.without_videos())


def test_ranks_split_the_projections_alone() -> None:
    model = spec_from_config(QWEN3_5, "qwen3.5")
    one, two = _peak_mib(model), _peak_mib(model, ranks=2)
    assert one - two == pytest.approx(65536 * 8 * 1152 / 2 * 2 / MIB)


@pytest.mark.parametrize(
    ("card", "version", "gib"), [("B200", "0.26.0", 3.85), ("RTX 3090", "0.26.0", 1.44), ("RTX 3090", "0.20.0", 3.85)]
)
def test_gemma_4_may_take_one_hot_rows_of_every_position(card: str, version: str, gib: float) -> None:
    """B300's start took 3.90 GiB, with pixels and cuBLAS; 12 frames at once fit a tenth of a 24 GB card."""
    model, gpu = load_model("google/gemma-3-12b-it"), find_gpu(card)
    engine = resolve({"max_model_len": 8192}, model, gpu, parse_version(version))
    assert position_rows_bytes(model, gpu, engine) == 0
    assert position_rows_bytes(replace(model, model_type="gemma4"), gpu, engine) / GIB == pytest.approx(gib, abs=0.01)

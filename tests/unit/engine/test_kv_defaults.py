"""Defaults of the KV cache that depend on the model: its dtype, its block, prefix caching, the largest video."""

from __future__ import annotations

from typing import Any

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.hardware.by_name import find_gpu
from planner.model import ModelSpec, load_model, spec_from_config

DENSE, HYBRID = load_model("Qwen/Qwen3-8B"), load_model("Qwen/Qwen3-Next-80B-A3B-Instruct")
LATENT = load_model("deepseek-ai/DeepSeek-V3")
LLAMA = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 128,
         "intermediate_size": 128, "max_position_embeddings": 4096}  # fmt: skip
SPARSE = spec_from_config(
    {**LLAMA, "model_type": "deepseek_v32", "kv_lora_rank": 512, "q_lora_rank": 64, "qk_rope_head_dim": 64,
     "qk_nope_head_dim": 128, "v_head_dim": 128, "index_topk": 2048, "index_n_heads": 64, "index_head_dim": 128},
    "sparse",
)  # fmt: skip
SCHEME = {"num_bits": 8, "type": "float", "dynamic": False}


def resolved(model: ModelSpec, gpu: str, version: str, **settings: Any) -> Any:
    return resolve(settings, model, find_gpu(gpu), parse_version(version))


def quantised(**config: Any) -> ModelSpec:
    return spec_from_config({**LLAMA, "quantization_config": config}, "quantised")


COMPRESSED = quantised(quant_method="compressed-tensors", kv_cache_scheme=SCHEME, config_groups={})
MODELOPT = quantised(quant_method="modelopt", quant_algo="FP8", kv_cache_scheme=SCHEME)


@pytest.mark.parametrize(
    ("model", "gpu", "version", "asked", "stored"),
    [
        (DENSE, "H100 80GB", "0.24.0", None, "auto"),
        (COMPRESSED, "H100 80GB", "0.24.0", None, "fp8"),
        (COMPRESSED, "H100 80GB", "0.14.1", None, "auto"),
        (COMPRESSED, "H100 80GB", "0.24.0", "bfloat16", "bfloat16"),
        (MODELOPT, "H100 80GB", "0.14.1", None, "fp8"),
        (MODELOPT, "H100 80GB", "0.11.2", None, "auto"),
        (quantised(quant_method="modelopt", quant_algo="FP8", kv_cache_scheme={"num_bits": 8, "type": "float"}),
         "H100 80GB", "0.24.0", None, "auto"),  # not said to be static
        (quantised(quant_method="modelopt", quant_algo="FP8", kv_cache_quant_algo="NVFP4"), "B200", "0.24.0", None,
         "nvfp4"),
        (quantised(quant_algo="FP8", producer={"name": "modelopt"}, kv_cache_quant_algo="FP8"), "H100 80GB", "0.24.0",
         None, "auto"),  # names no quant_method
        (quantised(quantization={"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}), "H100 80GB", "0.24.0", None,
         "auto"),  # an hf_quant_config.json that names no producer
        (quantised(producer={"name": "modelopt"}, quantization={"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}),
         "H100 80GB", "0.24.0", None, "fp8"),
        (SPARSE, "H100 80GB", "0.24.0", "fp8", "fp8_ds_mla"),
        (SPARSE, "B200", "0.24.0", "fp8", "fp8"),
        (SPARSE, "B200", "0.16.0", "fp8", "fp8_ds_mla"),
        (SPARSE, "H100 80GB", "0.24.0", None, "auto"),
    ],
)  # fmt: skip
def test_the_kv_cache_is_stored_as_flag_checkpoint_and_kernel_ask(
    model: ModelSpec, gpu: str, version: str, asked: str | None, stored: str
) -> None:
    assert resolved(model, gpu, version, kv_cache_dtype=asked).kv_cache_dtype == stored


@pytest.mark.parametrize(
    ("model", "gpu", "version", "kv_cache_dtype", "block"),
    [(DENSE, "H100 80GB", "0.24.0", None, 16), (LATENT, "H100 80GB", "0.8.5", None, 64),
     (LATENT, "H100 80GB", "0.24.0", None, 16), (LATENT, "H100 80GB", "0.24.0", "fp8", 64),
     (LATENT, "A100 80GB", "0.24.0", None, 16), (LATENT, "B200", "0.14.1", None, 128),
     (SPARSE, "H100 80GB", "0.24.0", None, 64)],
)  # fmt: skip
def test_latent_attention_has_blocks_of_its_kernel(
    model: ModelSpec, gpu: str, version: str, kv_cache_dtype: str | None, block: int
) -> None:
    assert resolved(model, gpu, version, kv_cache_dtype=kv_cache_dtype).block_size == block


@pytest.mark.parametrize(
    ("model", "version", "asked", "found"),
    [(DENSE, "0.24.0", None, True), (DENSE, "0.24.0", False, False), (HYBRID, "0.24.0", None, False),
     (HYBRID, "0.24.0", True, True), (HYBRID, "0.26.0", None, True), (HYBRID, "0.14.1", True, False)],
)  # fmt: skip
def test_hybrid_models_got_prefix_caching_late(model: ModelSpec, version: str, asked: bool | None, found: bool) -> None:
    assert resolved(model, "H100 80GB", version, enable_prefix_caching=asked).enable_prefix_caching == found


def test_the_default_batch_holds_a_video_of_a_model_that_sees_it_whole() -> None:
    gemma = spec_from_config(
        {"model_type": "gemma4", "vision_config": {"model_type": "gemma4_vision"},
         "text_config": {**LLAMA, "model_type": "gemma4_text", "num_key_value_heads": 2, "head_dim": 16,
                         "sliding_window": 512}}, "gemma")  # fmt: skip
    assert resolved(gemma, "L40S", "0.22.0").max_num_batched_tokens == 2496
    assert resolved(gemma, "L40S", "0.21.0").max_num_batched_tokens == 2048
    assert resolved(gemma, "H100 80GB", "0.22.0").max_num_batched_tokens == 8192
    assert resolved(gemma, "L40S", "0.22.0", max_num_batched_tokens=2048).max_num_batched_tokens == 2048

"""Bytes that a layer keeps: of a token by kv_cache_dtype, of a state, of the layers that draft."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from planner.engine.speculation import speculation_of
from planner.estimate.memory.kv_layers import KvFormat, drafter_is_guessed, head_bytes, layer_caches, state_bytes
from planner.model import ModelSpec, load_model, spec_from_config
from planner.model.layers import DeltaNet, LightningAttention, Mamba, ShortConvolution

BF16 = KvFormat("bfloat16", "auto", 1)
QWEN35_27B = DeltaNet(num_key_heads=16, key_head_dim=128, num_value_heads=48, value_head_dim=128, kernel_size=4,
                      state_dtype="float32")  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "num_bytes"),
    [("auto", 1024), ("bfloat16", 1024), ("fp8", 512), ("fp8_e5m2", 512), ("int8_per_token_head", 520),
     ("fp8_per_token_head", 520), ("int4_per_token_head", 264), ("nvfp4", 288), ("turboquant_k8v4", 388),
     ("turboquant_3bit_nc", 198)],
)  # fmt: skip
def test_bytes_of_one_head_and_token(kind: str, num_bytes: int) -> None:
    """A key and a value of 256. The figures of a 27B on a 5090: 4 heads x 17 layers make 69 632, 35 360, 17 952."""
    assert head_bytes(kind, "bfloat16", 256, 256) == num_bytes


@pytest.mark.parametrize(
    ("mixer", "tp", "drafts", "num_bytes"),
    [
        (QWEN35_27B, 1, 0, 48 * 128 * 128 * 4 + 3 * 10240 * 2),
        (QWEN35_27B, 2, 3, 24 * 128 * 128 * 4 + 6 * 5120 * 2),
        (msgspec.structs.replace(QWEN35_27B, state_dtype=None), 1, 0, 48 * 128 * 128 * 2 + 3 * 10240 * 2),
        (Mamba(version=2, inner=8192, state_size=128, kernel_size=4, num_heads=128), 4, 0,
         32 * 64 * 128 * 2 + (8192 + 2 * 4 * 128) // 4 * 3 * 2),  # one group for four ranks is copied
        (Mamba(version=1, inner=8192, state_size=16, kernel_size=4), 1, 3, 8192 * 16 * 2 + 8192 * 3 * 2),
        (ShortConvolution(width=2048, kernel_size=3), 2, 0, 1024 * 2 * 2),
        (LightningAttention(num_heads=64, head_dim=96), 4, 0, 16 * 96 * 96 * 2),
    ],
)  # fmt: skip
def test_bytes_of_one_state(mixer: Any, tp: int, drafts: int, num_bytes: int) -> None:
    speculation = speculation_of(f'{{"method": "mtp", "num_speculative_tokens": {drafts}}}') if drafts else None
    assert state_bytes(mixer, KvFormat("bfloat16", "auto", tp, speculation)) == num_bytes


DRAFTS_06B = '{"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3}'


def kinds(model: ModelSpec, form: KvFormat = BF16) -> Counter[tuple[str, int]]:
    """Number of layers by kind of cache and bytes of a token."""
    return Counter((cache.kind, cache.token_bytes) for cache in layer_caches(model, form))


LLAMA = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 128,
         "intermediate_size": 128, "max_position_embeddings": 4096, "head_dim": 16}  # fmt: skip


def test_layers_that_read_anothers_cache_and_encoders_keep_none() -> None:
    gemma = {**LLAMA, "model_type": "gemma4_text", "num_key_value_heads": 2, "num_global_key_value_heads": 1,
             "global_head_dim": 64, "attention_k_eq_v": True, "num_kv_shared_layers": 2, "sliding_window": 512,
             "layer_types": ["sliding_attention", "full_attention"] * 2}  # fmt: skip
    assert kinds(spec_from_config(gemma, "gemma")) == {("sliding", 128): 1, ("full", 256): 1}
    assert kinds(spec_from_config({**LLAMA, "model_type": "bert"}, "bert")) == {}


def test_the_indexer_has_a_cache_of_its_own() -> None:
    sparse = {**LLAMA, "model_type": "deepseek_v32", "kv_lora_rank": 512, "q_lora_rank": 64, "qk_rope_head_dim": 64,
              "qk_nope_head_dim": 128, "v_head_dim": 128, "index_topk": 2048, "index_n_heads": 64,
              "index_head_dim": 128}  # fmt: skip
    model = spec_from_config(sparse, "sparse")
    assert kinds(model) == {("full", 1152): 4, ("full", 132): 4}
    assert kinds(model, KvFormat("bfloat16", "fp8_ds_mla", 4)) == {("full", 656): 4, ("full", 132): 4}


@pytest.mark.parametrize(
    ("config", "more", "is_guessed"),
    [('{"method": "ngram", "num_speculative_tokens": 3}', {}, False),
     ('{"method": "mtp", "num_speculative_tokens": 3}', {("full", 4096): 1}, False),
     ('{"method": "mtp", "model": "an/assistant", "num_speculative_tokens": 3}', {}, False),
     ('{"method": "eagle3", "model": "an/eagle", "num_speculative_tokens": 3}', {("full", 4096): 1}, True),
     (DRAFTS_06B, {("full", 4096): 28}, False),
     ('{"method": "draft_model", "model": "who/knows", "num_speculative_tokens": 3}', {}, True),
     ('{"method": "dflash", "model": "a/DFlash", "num_speculative_tokens": 3}', {("full", 4096): 5}, True),
     ('{"method": "dflash", "model": "a/DFlash2", "num_speculative_tokens": 3}', {("sliding", 4096): 5}, True)],
)  # fmt: skip
def test_a_drafter_adds_its_layers(config: str, more: dict[tuple[str, int], int], is_guessed: bool) -> None:
    model, speculation = load_model("Qwen/Qwen3-8B"), speculation_of(config)
    plain, drafting = kinds(model), kinds(model, KvFormat("bfloat16", "auto", 1, speculation))
    assert drafting - plain == more
    assert drafter_is_guessed(speculation) == is_guessed

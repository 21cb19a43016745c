"""Which layers attend, slide, hold a state or route, under each family's own keys."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import InputError
from planner.model.config_json import spec_from_config
from planner.model.layers import Attention, DeltaNet, Experts, Layer, Mamba, Mlp, ShortConvolution
from planner.model.spec import ModelSpec

SIZES: dict[str, Any] = {
    "num_hidden_layers": 8, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000, "max_position_embeddings": 4096,
}  # fmt: skip
MAMBA2 = {"mamba_n_heads": 8, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_n_groups": 1}
LINEAR = {"linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_num_value_heads": 4, "linear_value_head_dim": 8}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def spec(**changes: Any) -> ModelSpec:
    return spec_from_config({**SIZES, **changes}, "m")


def letter(layer: Layer) -> str:
    """f, s, c for attention that is full, sliding or chunked; r for a state; d without a mixer. Upper case: experts."""
    mixer = layer.mixers[0] if layer.mixers else None
    found = "d" if mixer is None else mixer.reach[0] if isinstance(mixer, Attention) else "r"
    return found.upper() if any(isinstance(feed, Experts) for feed in layer.feed_forwards) else found


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"model_type": "gemma3_text", "sliding_window": 512, "num_hidden_layers": 7}, "sssssfs"),
        ({"model_type": "gemma2", "sliding_window": 512}, "sfsfsfsf"),
        ({"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2}, "SFSFSFSF"),
        ({"model_type": "qwen2", "sliding_window": 512}, "ffffffff"),  # use_sliding_window is off by default
        ({"model_type": "mistral", "sliding_window": None}, "ffffffff"),
        ({"model_type": "cohere2", "sliding_window": 512}, "sssfsssf"),
        ({"model_type": "mimo_v2_flash", "hybrid_layer_pattern": [0, 1, 1, 1] * 2, "moe_layer_freq": [0] + [1] * 7,
          "sliding_window_size": 128, "swa_num_key_value_heads": 4, **ROUTED}, "fSSSFSSS"),
        ({"model_type": "llama4_text", "num_local_experts": 4, "interleave_moe_layer_step": 2,
          "no_rope_layers": [1, 1, 1, 0] * 2}, "cCcFcCcF"),
        ({"model_type": "qwen3_next", **LINEAR, **ROUTED}, "RRRFRRRF"),
        ({"model_type": "qwen3_5_text", "layer_types": ["linear_attention", "full_attention"] * 4}, "rfrfrfrf"),
        ({"model_type": "jamba", "num_experts": 4, "num_experts_per_tok": 2, "attn_layer_period": 4,
          "attn_layer_offset": 2}, "rRfRrRfR"),
        ({"model_type": "bamba", "attn_layer_indices": [3], **MAMBA2}, "rrrfrrrr"),
        ({"model_type": "granitemoehybrid", "layer_types": ["mamba"] * 7 + ["attention"], "num_local_experts": 4,
          "num_experts_per_tok": 2, "shared_intermediate_size": 32, **MAMBA2}, "RRRRRRRF"),
        ({"model_type": "lfm2", "full_attn_idxs": [2, 5]}, "rrfrrfrr"),
        ({"model_type": "lfm2_moe", "layer_types": ["conv", "full_attention"] * 4, "num_dense_layers": 2,
          "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}, "rfRFRFRF"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "M-M*MEME", "n_routed_experts": 4,
          "num_experts_per_tok": 2, "mamba_num_heads": 8, "mamba_head_dim": 16, "ssm_state_size": 16, "n_groups": 2},
         "rdrfrDrD"),
        ({"model_type": "ernie4_5_moe", "moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 2}, "ffFFFFFF"),
        ({"model_type": "glm4_moe", "n_routed_experts": 4, "first_k_dense_replace": 3, "moe_intermediate_size": 32},
         "fffFFFFF"),
        ({"model_type": "laguna", "layer_types": ["full_attention", "sliding_attention"] * 4, "mlp_only_layers": [0],
          "sliding_window": 512, "num_attention_heads_per_layer": [4, 8] * 4, **ROUTED}, "fSFSFSFS"),
        ({"model_type": "falcon_h1", "mamba_d_ssm": 128, **MAMBA2}, "ffffffff"),
    ],
    ids=lambda value: value.get("model_type") if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_family_says_it_in_its_own_way(changes: dict[str, Any], kinds: str) -> None:
    assert "".join(letter(layer) for layer in spec(**changes).layers) == kinds


def test_a_layer_may_have_figures_of_its_own() -> None:
    laguna = spec(model_type="laguna", num_attention_heads_per_layer=[4, 8] * 4, sliding_window=512,
                  layer_types=["full_attention", "sliding_attention"] * 4, **ROUTED)  # fmt: skip
    assert [mixer.num_heads for layer in laguna.layers for mixer in layer.mixers if isinstance(mixer, Attention)] == [
        4,
        8,
    ] * 4
    mimo = spec(model_type="mimo_v2_flash", hybrid_layer_pattern=[0, 1] * 4, sliding_window_size=128,
                swa_num_key_value_heads=4, v_head_dim=8, moe_layer_freq=[0] * 8, **ROUTED)  # fmt: skip
    assert [(a.num_kv_heads, a.v_head_dim) for a in mimo.mixers(Attention)] == [(2, 8), (4, 8)]
    hunyuan = spec(model_type="hunyuan_v1_moe", num_experts=4, moe_topk=[1, 2] * 4, moe_intermediate_size=[32] * 8)
    assert {experts.num_experts_per_tok for experts in hunyuan.feed_forwards(Experts)} == {1, 2}


def test_gemma_4_has_wider_heads_in_full_layers_and_shares_caches() -> None:
    found = spec(
        model_type="gemma4_text", num_global_key_value_heads=1, global_head_dim=32, attention_k_eq_v=True,
        num_kv_shared_layers=2, sliding_window=512, hidden_size_per_layer_input=0,
    )  # fmt: skip
    kinds = [mixer for layer in found.layers for mixer in layer.mixers if isinstance(mixer, Attention)]
    assert [mixer.head_dim for mixer in kinds] == [16, 16, 16, 16, 16, 32, 16, 32]
    assert [mixer.shares_kv for mixer in kinds] == [False] * 6 + [True] * 2
    assert (kinds[5].num_kv_heads, kinds[5].keys_are_values, kinds[0].num_kv_heads) == (1, True, 2)


def test_states_take_the_figures_of_their_class() -> None:
    jamba = spec(model_type="jamba", num_experts=1, attn_layer_period=4, attn_layer_offset=2)
    (mamba,) = jamba.mixers(Mamba)
    assert (mamba.version, mamba.inner, mamba.dt_rank) == (1, 128, 4)
    (conv,) = spec(model_type="lfm2", full_attn_idxs=[2]).mixers(ShortConvolution)
    assert (conv.width, conv.kernel_size) == (64, 3)
    kimi = spec(
        model_type="kimi_linear", kv_lora_rank=16, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16,
        linear_attn_config={"full_attn_layers": [4, 8], "num_heads": 4, "head_dim": 16, "short_conv_kernel_size": 4},
    )  # fmt: skip
    assert kimi.count(DeltaNet) == 6
    assert next(kimi.mixers(DeltaNet)).is_kimi


def test_lfm2_and_granite_have_widths_of_their_own() -> None:
    mlp = next(spec(model_type="lfm2", full_attn_idxs=[2], intermediate_size=1536).feed_forwards(Mlp))
    assert mlp.intermediate_size == 1024  # two thirds, up to a multiple of 256
    granite = spec(model_type="granitemoehybrid", layer_types=["mamba"] * 8, num_local_experts=4,
                   num_experts_per_tok=2, shared_intermediate_size=32, **MAMBA2)  # fmt: skip
    assert [feed.name for feed in granite.layers[0].feed_forwards] == ["block_sparse_moe", "shared_mlp"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "qwen3", "layer_types": ["hyper_attention"] * 8},
            "this architecture is not modelled: layer_types",
        ),
        ({"model_type": "llama", "layer_types": ["full_attention"]}, "layer_types: 1 entries for 8 layers"),
        ({"model_type": "nemotron_h"}, "neither hybrid_override_pattern nor layers_block_type"),
        ({"model_type": "nemotron_h", "hybrid_override_pattern": "MMMMMMMX"}, "layer 'X' is not modelled"),
        ({"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": "2"}, "num_experts_per_tok: '2'"),
    ],
)
def test_what_is_not_understood_names_its_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        spec(**changes)
    assert message in str(caught.value)


def test_a_class_without_attention_has_no_heads_to_divide() -> None:
    alone = {"model_type": "mamba2", "num_heads": 8, "head_dim": 16, "state_size": 16, "n_groups": 1}
    found = spec(**{**SIZES, **alone, "num_attention_heads": None, "intermediate_size": None})
    assert not found.attends
    assert [letter(layer) for layer in found.layers] == ["r"] * 8
    assert spec(model_type="llama").attends


def test_a_type_that_is_not_known_is_read_as_a_decoder_whatever_its_words() -> None:
    found = spec(model_type="x", layer_types=["hyper_attention"] * 8, intermediate_size=None)
    assert not found.is_modelled
    assert {letter(layer) for layer in found.layers} == {"f"}
    assert found.intermediate_size == 4 * 64


def test_keys_of_low_rank_are_cached_for_every_head_in_minicpm3_only() -> None:
    ranks = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16}
    attention = next(spec(model_type="minicpm3", **ranks).mixers(Attention))
    assert (attention.num_kv_heads, attention.head_dim, attention.v_head_dim) == (4, 24, 24)
    assert spec(model_type="deepseek_v3", **ranks).latent_attention is not None

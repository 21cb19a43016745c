"""Read one layer's mixer from config.json: `attention_at(keys, family, index, reach)`, `state_mixer(keys, family)`.

In: `Keys` and the `Family`. Out: values of `layers.py`. Source: transformers' configuration classes for the keys,
vllm@0.32 model_executor/models/*.py for what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.model.families import Family
from planner.model.keys import WIDTHS, Keys
from planner.model.layers import (
    Attention,
    DeltaNet,
    Indexer,
    LatentAttention,
    LightningAttention,
    Mamba,
    Mixer,
    Reach,
    ShortConvolution,
)
from planner.model.words import STATE_DTYPES, refuse_other


def head_dim(keys: Keys) -> int:
    """Width of a head; hidden_size over the heads where config.json does not say."""
    named = keys.value("head_dim", "attention_head_dim", "kv_channels")
    if named is not None:
        return keys.number("head_dim", "attention_head_dim", "kv_channels")
    return max(1, keys.number(*WIDTHS) // num_heads(keys))


def num_heads(keys: Keys) -> int:
    """Query heads."""
    return keys.number("num_attention_heads", "n_head", "decoder_attention_heads", "n_heads")


def kv_heads(keys: Keys) -> int:
    """KV heads; as many as query heads where config.json does not say, one with `multi_query`."""
    if keys.flag("multi_query") and not keys.flag("new_decoder_architecture"):  # falcon, gpt_bigcode
        return 1
    only = num_heads(keys)
    return keys.number("num_key_value_heads", "num_kv_heads", "multi_query_group_num", default=only)


def attention_at(keys: Keys, family: Family, index: int, reach: Reach, has_rope: bool = True) -> Attention:
    """The attention of layer `index`."""
    swa = reach == "sliding" and keys.has("swa_num_attention_heads", "swa_head_dim", "swa_num_key_value_heads")
    heads = keys.number_at(index, "num_attention_heads_per_layer", default=num_heads(keys))
    width, groups = head_dim(keys), kv_heads(keys)
    if swa:  # MiMo-V2 gives its sliding layers heads of their own (models/mimo_v2.py)
        heads = keys.number("swa_num_attention_heads", default=heads)
        width, groups = (
            keys.number("swa_head_dim", default=width),
            keys.number("swa_num_key_value_heads", default=groups),
        )
    values = keys.number("swa_v_head_dim" if swa else "v_head_dim", "v_head_dim", default=width)
    rotary, theta, stretch = rope_of(keys, width, reach, family.rotary_share)
    has_norm = not family.qk_norm_key or keys.flag(family.qk_norm_key)
    return Attention(
        num_heads=heads,
        num_kv_heads=groups,
        head_dim=width,
        v_head_dim=values,
        reach=reach,
        window=window_of(keys, reach),
        has_bias=family.has_bias or keys.has("attention_bias_qkv", "qkv_bias", *family.bias_keys),
        has_output_bias=family.has_output_bias or keys.has("attention_out_bias", *family.output_bias_keys),
        qk_norm=family.qk_norm if has_norm else "none",
        gate_width=_gate_width(keys, family, heads, width),
        has_sinks=family.has_sinks or (swa and keys.flag("add_swa_attention_sink_bias")),
        rotary_dim=rotary if has_rope else 0,
        rope_theta=theta if has_rope else 0.0,
        rope_factor=stretch,
    )


def _gate_width(keys: Keys, family: Family, heads: int, width: int) -> int:
    """Outputs of the attention's gate: `gating` of Laguna (models/laguna.py), `attn_output_gate` of Qwen3.5."""
    if family.has_gate and keys.flag("attn_output_gate", default=True):
        return heads * width
    gating = keys.value("gating")
    if gating == "per-element":
        return heads * width
    return heads if gating in (True, "per-head") else 0


def window_of(keys: Keys, reach: Reach) -> int | None:
    """Tokens of the window of a reach; None where it has none."""
    if reach == "sliding":
        return keys.number("sliding_window", "sliding_window_size", "attention_window_size")
    return keys.number("attention_chunk_size", default=8192) if reach == "chunked" else None


def rope_of(keys: Keys, width: int, reach: Reach, share: float = 1.0) -> tuple[int, float, float]:
    """Width, base and stretch of the rotary table (layers/rotary_embedding/__init__.py:get_rope).

    `share`: part of the head that is rotated where config.json does not say.
    """
    parameters: Any = keys.value("rope_parameters", "rope_scaling") or {}
    if not isinstance(parameters, Mapping):
        return width, 0.0, 1.0
    name = "sliding_attention" if reach == "sliding" else "full_attention"
    own = parameters.get(name)
    parameters = own if isinstance(own, Mapping) else parameters
    theta = parameters.get("rope_theta") or keys.value("rope_theta") or 10000.0
    local = keys.value("rope_local_base_freq", "swa_rope_theta", "local_rope_theta")
    if reach == "sliding" and own is None and local is not None:
        theta, parameters = local, {}
    factor = parameters.get("partial_rotary_factor") or keys.value("partial_rotary_factor", "rotary_pct") or share
    rotary = keys.value("rotary_dim") or width * factor
    linear = parameters.get("rope_type", parameters.get("type")) in {"linear", "dynamic"}
    stretch = parameters.get("factor", 1.0) if linear else 1.0
    figures = (theta, rotary, stretch)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in figures):
        return width, 0.0, 1.0
    return max(0, min(int(rotary), width)), float(theta), float(stretch)


def latent_attention(keys: Keys, index: int) -> LatentAttention:
    """Multi-head latent attention of layer `index`, with DeepSeek-V3.2's indexer (models/deepseek_v2.py)."""
    indexer = None
    if keys.has("index_topk", "index_n_heads"):
        kinds = keys.value("indexer_types")
        shared = isinstance(kinds, list) and index < len(kinds) and kinds[index] == "shared"
        indexer = Indexer(
            num_heads=keys.number("index_n_heads"),
            head_dim=keys.number("index_head_dim"),
            topk=keys.number("index_topk"),
            is_shared=shared,
        )
    return LatentAttention(
        num_heads=num_heads(keys),
        kv_lora_rank=keys.number("kv_lora_rank"),
        q_lora_rank=keys.number("q_lora_rank") if keys.has("q_lora_rank") else None,
        qk_nope_head_dim=keys.number("qk_nope_head_dim"),
        qk_rope_head_dim=keys.number("qk_rope_head_dim"),
        v_head_dim=keys.number("v_head_dim"),
        indexer=indexer,
        has_rope=not keys.flag("mla_use_nope"),
    )


def expanded_attention(keys: Keys, index: int) -> Attention:
    """Latent attention whose cache holds keys and values of every head, both as wide as keys (models/minicpm3.py)."""
    own = latent_attention(keys, index)
    width = own.qk_nope_head_dim + own.qk_rope_head_dim
    _, theta, stretch = rope_of(keys, own.qk_rope_head_dim, "full")
    return Attention(
        num_heads=own.num_heads, num_kv_heads=own.num_heads, head_dim=width, v_head_dim=width, low_rank=own,
        rotary_dim=own.qk_rope_head_dim, rope_theta=theta, rope_factor=stretch,
    )  # fmt: skip


def state_mixer(keys: Keys, family: Family) -> Mixer:
    """What the layers are that are no attention."""
    match family.state:
        case "kimi":
            return _kimi(keys)
        case "mamba2":
            return _mamba2(keys, family)
        case "mamba1":
            return _mamba1_alone(keys) if family.shape == "mamba" else _mamba1(keys)
        case "conv":
            return ShortConvolution(
                width=keys.number("conv_dim", "hidden_size"),
                kernel_size=keys.number("conv_L_cache", default=3),
                has_bias=keys.flag("conv_bias"),
            )
        case "lightning":
            return LightningAttention(num_heads=num_heads(keys), head_dim=head_dim(keys))
        case _:
            return DeltaNet(
                num_key_heads=keys.number("linear_num_key_heads"),
                key_head_dim=keys.number("linear_key_head_dim"),
                num_value_heads=keys.number("linear_num_value_heads"),
                value_head_dim=keys.number("linear_value_head_dim"),
                kernel_size=keys.number("linear_conv_kernel_dim", default=4),
                state_dtype=_state_dtype(keys, "mamba_ssm_dtype"),
                is_interleaved=keys.value("model_type") == "qwen3_next",
            )


def _state_dtype(keys: Keys, key: str) -> str | None:
    """dtype of the states by config.json; vllm@0.24 models/config.py: Qwen3_5ForConditionalGenerationConfig and
    NemotronHForCausalLMConfig read it, other classes keep the model's."""
    named = keys.value(key)
    if named is None or named == "auto":
        return None
    refuse_other(named, STATE_DTYPES, f"{keys.name}: config.json: {key}")
    return str(named)


def _chunk_size(keys: Keys) -> int:
    """vllm@0.24 config/model.py:get_mamba_chunk_size."""
    return keys.number("mamba_chunk_size", "chunk_size", default=2048)


def _kimi(keys: Keys) -> DeltaNet:
    """Kimi delta attention; its figures are under linear_attn_config (layers/mamba/gdn/kimi_gdn_linear_attn.py)."""
    own = keys.value("linear_attn_config")
    inner = Keys(own if isinstance(own, Mapping) else {}, f"{keys.name}: linear_attn_config")
    heads, width = inner.number("num_heads"), inner.number("head_dim")
    return DeltaNet(
        num_key_heads=heads, key_head_dim=width, num_value_heads=heads, value_head_dim=width,
        kernel_size=inner.number("short_conv_kernel_size", default=4), is_kimi=True, state_dtype="float32",
        name="self_attn",
    )  # fmt: skip


def _mamba2(keys: Keys, family: Family) -> Mamba:
    """Mamba-2 by the keys of nemotron_h or mamba2, or of bamba, granitemoehybrid and falcon_h1 (models/*.py)."""
    hidden = keys.number("hidden_size")
    if family.shape in {"nemotron", "mamba"}:
        heads = keys.number("mamba_num_heads", "num_heads")
        state_dtype = "float32" if family.shape == "nemotron" else None
        return Mamba(
            version=2,
            inner=heads * keys.number("mamba_head_dim", "head_dim"),
            state_size=keys.number("ssm_state_size", "state_size"),
            kernel_size=keys.number("conv_kernel", default=4),
            num_heads=heads,
            num_groups=keys.number("n_groups", default=8),
            has_bias=keys.flag("use_bias"),
            has_conv_bias=keys.flag("use_conv_bias", default=True),
            state_dtype=_state_dtype(keys, "mamba_ssm_cache_dtype") or state_dtype,
            chunk_size=_chunk_size(keys),
        )
    named = keys.value("mamba_d_ssm")
    inner = keys.number("mamba_d_ssm") if named is not None else keys.number("mamba_expand", default=2) * hidden
    return Mamba(
        version=2,
        inner=inner,
        state_size=keys.number("mamba_d_state"),
        kernel_size=keys.number("mamba_d_conv", default=4),
        num_heads=keys.number("mamba_n_heads"),
        num_groups=keys.number("mamba_n_groups", default=1),
        has_bias=keys.flag("mamba_proj_bias"),
        has_conv_bias=keys.flag("mamba_conv_bias", default=True),
        has_gated_norm=keys.flag("mamba_rms_norm", default=True),
        chunk_size=_chunk_size(keys),
        name="mamba",
    )


def _mamba1(keys: Keys) -> Mamba:
    """Jamba's Mamba, with norms of time step, B and C (models/jamba.py); dt_rank "auto" is hidden_size / 16."""
    hidden = keys.number("hidden_size")
    rank = keys.value("mamba_dt_rank")
    return Mamba(
        version=1,
        inner=keys.number("mamba_expand", default=2) * hidden,
        state_size=keys.number("mamba_d_state", default=16),
        kernel_size=keys.number("mamba_d_conv", default=4),
        dt_rank=-(-hidden // 16) if rank in (None, "auto") else keys.number("mamba_dt_rank"),
        has_bias=keys.flag("mamba_proj_bias"),
        has_conv_bias=keys.flag("mamba_conv_bias", default=True),
        name="mamba",
    )


def _mamba1_alone(keys: Keys) -> Mamba:
    """Mamba by the keys of mamba and falcon_mamba; norms of time step, B and C have no weights (models/mamba.py)."""
    hidden = keys.number("hidden_size")
    rank = keys.value("time_step_rank")
    return Mamba(
        version=1,
        inner=keys.number("intermediate_size", default=keys.number("expand", default=2) * hidden),
        state_size=keys.number("state_size", default=16),
        kernel_size=keys.number("conv_kernel", default=4),
        dt_rank=-(-hidden // 16) if rank in (None, "auto") else keys.number("time_step_rank"),
        has_bias=keys.flag("use_bias"),
        has_conv_bias=keys.flag("use_conv_bias", default=True),
        has_gated_norm=False,
    )

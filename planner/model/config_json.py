"""`ModelSpec`: a model's architecture, read from a Hugging Face directory, a bare config.json or a shipped name.

In: a path or name. Out: a frozen value with the names of config.json. Knows nothing of GPUs, sharding or vLLM.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

from planner.errors import InputError
from planner.model.spec import DTYPE_BYTES, Experts, LatentAttention, LinearAttention, ModelSpec, Quantization
from planner.model.vision import FAMILIES as TOWERS
from planner.model.vision import vision_tower

GATED_FAMILIES = {
    "llama", "mistral", "mistral3", "ministral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3", "glm", "glm4",
    "granite", "internlm2", "internlm3", "olmo2", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_audio", "llava",
    "qwen3_5",
}  # fmt: skip
"""Dense architectures whose MLP has gate, up and down; by config.json's model_type without `_text`."""
PLAIN_FAMILIES = {"opt", "starcoder2", "gpt_neox", "falcon", "gpt_bigcode"}
"""Dense architectures whose MLP has two matrices, with biases."""
MOE_FAMILIES = {"qwen3_moe", "qwen2_moe", "mixtral", "gpt_oss", "deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe",
                "glm_moe_dsa", "qwen3_vl_moe", "qwen3_next", "qwen3_5_moe"}  # fmt: skip
KNOWN_FAMILIES = GATED_FAMILIES | PLAIN_FAMILIES | MOE_FAMILIES
QK_NORM_FAMILIES = {"qwen3", "qwen3_moe", "qwen3_vl", "qwen3_vl_moe", "gemma3", "qwen3_next", "qwen3_5", "qwen3_5_moe"}
QKV_BIAS_FAMILIES = {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl", "qwen2_audio", "opt", "starcoder2", "gpt_oss"}
FOUR_NORM_FAMILIES = {"gemma2", "gemma3"}
TIED_FAMILIES = {"opt", "gemma", "gemma2", "gemma3"}
"""Families that tie head and embedding even if their config.json does not say so."""
UNKNOWN_POSITIONS = 131072
"""Context length in tokens, assumed where config.json gives none."""


def spec_from_config(config: Mapping[str, Any], name: str, checkpoint_bytes: int | None = None) -> ModelSpec:
    """A spec from the mapping of a config.json. Raises InputError for a key that is missing or not understood."""
    try:
        return _spec(config, name, checkpoint_bytes)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{name}: config.json: a value has the wrong form: {error}") from None


def _spec(config: Mapping[str, Any], name: str, checkpoint_bytes: int | None) -> ModelSpec:
    has_vision_tower = "vision_config" in config or bool(config.get("vision_tower") or config.get("audio_tower"))
    outer_type = str(config.get("model_type", ""))
    outer, config = config, {**config, **config.get("text_config", {})}
    model_type = str(config.get("model_type") or _type_of(config.get("architectures") or outer.get("architectures")))
    family = model_type.removesuffix("_text")

    def number(key: str, default: int | None = None, least: int = 1) -> int:
        value = config.get(key)
        return _whole(
            default if value is None else value, f"{name}: config.json: {key}", least, MOST.get(key, MOST_SIZE)
        )

    heads = number("num_attention_heads")
    hidden = number("hidden_size")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    positions = number("max_position_embeddings", UNKNOWN_POSITIONS)
    if rope_type == "yarn":
        positions = _whole(
            scaling.get("original_max_position_embeddings", positions), f"{name}: config.json: original positions"
        )
    stretches = rope_type in {"yarn", "linear", "dynamic"}
    layers = number("num_hidden_layers")
    window, num_sliding = _sliding(config, number, layers)
    num_experts = next((number(key) for key in EXPERT_COUNTS if config.get(key)), 0)
    experts = _experts(number, num_experts) if num_experts or family in MOE_FAMILIES else None
    return ModelSpec(
        name=name,
        model_type=family,
        is_known=family in KNOWN_FAMILIES and config.get("max_position_embeddings") is not None,
        num_hidden_layers=layers,
        hidden_size=hidden,
        intermediate_size=number("ffn_dim" if config.get("ffn_dim") else "intermediate_size"),
        num_attention_heads=heads,
        num_key_value_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", hidden // heads),
        vocab_size=number("vocab_size"),
        max_position_embeddings=positions,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", family in TIED_FAMILIES)),
        torch_dtype=_torch_dtype(config.get("torch_dtype") or config.get("dtype") or outer.get("torch_dtype")),
        quantization=_quantization(config.get("quantization_config"), name),
        qk_norm=family in QK_NORM_FAMILIES,
        qkv_bias=family in QKV_BIAS_FAMILIES or any(config.get(key) for key in QKV_BIAS_KEYS),
        rope_factor=_factor(scaling.get("factor", 1.0), name) if stretches else 1.0,
        sliding_window=window,
        num_sliding_layers=num_sliding,
        experts=experts,
        latent_attention=_latent_attention(config, number) if config.get("kv_lora_rank") else None,
        linear_attention=_linear_attention(config, number, layers) if config.get("linear_num_value_heads") else None,
        has_gated_mlp=family not in PLAIN_FAMILIES,
        has_vision_tower=has_vision_tower,
        vision=vision_tower(config, outer_type if outer_type in TOWERS else family) if has_vision_tower else None,
        norms_per_layer=4 if family in FOUR_NORM_FAMILIES else 2,
        checkpoint_bytes=checkpoint_bytes,
    )


QKV_BIAS_KEYS = ("attention_bias", "attention_bias_qkv")
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")


MOST_SIZE = 1 << 26
"""Largest value accepted for any figure of config.json; the longest contexts have 10 million positions."""
MOST = {"num_hidden_layers": 1 << 12, "num_attention_heads": 1 << 14, "num_key_value_heads": 1 << 14,
        "head_dim": 1 << 14, "hidden_size": 1 << 20, "intermediate_size": 1 << 24, "moe_intermediate_size": 1 << 20,
        **dict.fromkeys(EXPERT_COUNTS, 1 << 16)}  # fmt: skip
"""Tighter limits for some keys: layers are counted one by one; products of the others must fit 64 bits."""
MOST_FACTOR = 1e4


def _whole(value: Any, where: str, least: int = 1, most: int = MOST_SIZE) -> int:
    """Return `value`. Raises InputError unless it is a whole number from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        kind = "a positive whole number" if least == 1 else f"a whole number from {least}"
        raise InputError(f"{where}: {reprlib.repr(value)} is not {kind}")
    if value > most:
        raise InputError(f"{where}: {reprlib.repr(value)} is more than any model has ({most})")
    return value


def _factor(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or not 0 < value <= MOST_FACTOR:
        raise InputError(
            f"{name}: config.json: rope_scaling.factor: {reprlib.repr(value)} is not from 0 to {MOST_FACTOR:g}"
        )
    return float(value)


def _torch_dtype(named: Any) -> str:
    """The dtype that weights are held in; bfloat16 for any name not in DTYPE_BYTES (fp8 checkpoints)."""
    text = str(named).removeprefix("torch.")
    return text if text in DTYPE_BYTES else "bfloat16"


def _type_of(architectures: Any) -> str:
    """`Qwen3MoeForCausalLM` -> `qwen3_moe`; empty if config.json names no architecture."""
    if not isinstance(architectures, list) or not architectures:
        return ""
    stem = re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", str(architectures[0]))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()


def _layers_of(config: Mapping[str, Any], kind: str, num_layers: int) -> int | None:
    """Number of layers of one kind; None if config.json does not list its layers."""
    if counts := config.get("layer_types_count"):
        count = dict(counts).get(kind, 0)
    elif isinstance(types := config.get("layer_types"), list):
        count = types.count(kind)
    else:
        return None
    return _whole(count, f"config.json: layers of {kind}", 0, num_layers)


def _sliding(config: Mapping[str, Any], number: Callable[..., int], num_layers: int) -> tuple[int | None, int]:
    """The window in tokens (None without) and the number of layers using it, from layer_types or the older keys."""
    if not config.get("sliding_window") or not config.get("use_sliding_window", True):
        return None, 0
    window, count = number("sliding_window"), _layers_of(config, "sliding_attention", num_layers)
    if count is not None:
        return window, count
    if config.get("sliding_window_pattern"):
        return window, num_layers - num_layers // number("sliding_window_pattern")
    return window, num_layers


def _experts(number: Callable[..., int], count: int) -> Experts:
    inner = number("moe_intermediate_size", 0, least=0) or number("intermediate_size")
    shared = number("shared_expert_intermediate_size", 0, least=0) or number("n_shared_experts", 0, least=0) * inner
    return Experts(
        num_experts=count or number("num_experts"),
        num_experts_per_tok=number("num_experts_per_tok"),
        intermediate_size=inner,
        shared_intermediate_size=shared,
        num_dense_layers=number("first_k_dense_replace", 0, least=0),
    )


def _latent_attention(config: Mapping[str, Any], number: Callable[..., int]) -> LatentAttention:
    return LatentAttention(
        kv_lora_rank=number("kv_lora_rank"),
        q_lora_rank=number("q_lora_rank") if config.get("q_lora_rank") else None,
        qk_nope_head_dim=number("qk_nope_head_dim"),
        qk_rope_head_dim=number("qk_rope_head_dim"),
        v_head_dim=number("v_head_dim"),
    )


def _linear_attention(config: Mapping[str, Any], number: Callable[..., int], num_layers: int) -> LinearAttention:
    interval = number("full_attention_interval", 4)
    listed = _layers_of(config, "linear_attention", num_layers)
    value_heads = number("linear_num_value_heads")
    return LinearAttention(
        num_layers=num_layers - num_layers // interval if listed is None else listed,
        key_width=number("linear_num_key_heads") * number("linear_key_head_dim"),
        value_width=value_heads * number("linear_value_head_dim"),
        num_value_heads=value_heads,
        kernel_size=number("linear_conv_kernel_dim", 4),
    )


def _quantization(config: Mapping[str, Any] | None, name: str) -> Quantization | None:
    """Read quantization_config; None without one. Raises InputError for a method that is not modelled."""
    if not config:
        return None
    method, where = config.get("quant_method"), f"{name}: config.json: quantization_config"
    if method in ("awq", "gptq"):
        bits = _whole(config.get("bits", 4), f"{where}.bits", 1, MOST_BITS)
        return Quantization(method=method, bits=bits, group_size=_group(config.get("group_size", 128), where))
    if method == "fp8":
        block = config.get("weight_block_size")
        rows, columns = block or (1, 1)
        sizes = (_whole(rows, f"{where}.weight_block_size"), _whole(columns, f"{where}.weight_block_size"))
        return Quantization(method="fp8", bits=8, group_size=-1, block_size=sizes if block else None)
    if method == "bitsandbytes":
        return Quantization(method=method, bits=8 if config.get("load_in_8bit") else 4, group_size=64)
    if method == "mxfp4":
        return Quantization(method=method, bits=4, group_size=32)
    if method == "modelopt":
        return Quantization(method=method, bits=4, group_size=16)
    if method == "compressed-tensors":
        groups = config.get("config_groups") or {}
        weights = next((group.get("weights") for group in groups.values() if group.get("weights")), None) or {}
        bits = _whole(weights.get("num_bits", 8), f"{where}: num_bits", 1, MOST_BITS)
        return Quantization(method=method, bits=bits, group_size=_group(weights.get("group_size") or -1, where))
    known = "awq, gptq, fp8, bitsandbytes, mxfp4, modelopt, compressed-tensors"
    raise InputError(f"{where}.quant_method: {reprlib.repr(method)}; known: {known}")


MOST_BITS = 32


def _group(value: Any, where: str) -> int:
    """Check a group size in weights; -1 means one scale per row."""
    return -1 if value == -1 else _whole(value, f"{where}: group_size")

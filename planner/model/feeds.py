"""Read one layer's feed-forward from config.json: `feed_forward_at(keys, family, index, num_layers)`.

In: `Keys` and the `Family`. Out: an `Mlp` or `Experts`. Which layers hold experts is said under a dozen names; each is
in `has_experts`. Source: transformers' configuration classes, vllm@0.32 model_executor/models/*.py.
"""

from __future__ import annotations

from planner.model.families import Family
from planner.model.keys import EXPERT_COUNTS, WIDTHS, Keys
from planner.model.layers import Experts, FeedForward, Mlp

EXPERTS_PER_TOKEN = (
    "num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "experts_per_token",
    "moe_top_k", "num_selected_experts",
)  # fmt: skip


def num_experts(keys: Keys, index: int = 0) -> int:
    """Routed experts of a layer; 0 in a dense model."""
    present = next((key for key in EXPERT_COUNTS if keys.has(key)), None)
    return keys.number_at(index, present) if present is not None else 0


def has_experts(keys: Keys, index: int, num_layers: int) -> bool:
    """Whether layer `index` is a mixture of experts."""
    if num_experts(keys, index) < 2:
        return False
    kinds = keys.list_of("mlp_layer_types", num_layers)
    if kinds is not None:
        return bool(kinds[index] == "sparse")
    listed = keys.list_of("moe_layer_freq", num_layers)
    if listed is not None:
        return bool(listed[index])
    layers = keys.value("moe_layers")
    if isinstance(layers, list):
        return index in layers
    if isinstance(dense := keys.value("mlp_only_layers"), list) and index in dense:
        return False
    first = keys.number("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index", default=0, least=0)
    if index < first:
        return False
    last = keys.value("moe_layer_end_index")
    if isinstance(last, int) and 0 <= last < index:
        return False
    return _is_in_step(keys, index)


def _is_in_step(keys: Keys, index: int) -> bool:
    """Whether the layer is one of every so many, for classes that give a period."""
    if keys.value("expert_layer_period") is not None:  # Jamba
        period = keys.number("expert_layer_period")
        return index % period == keys.number("expert_layer_offset", default=0, least=0)
    if keys.value("interleave_moe_layer_step") is not None:  # Llama 4
        step = keys.number("interleave_moe_layer_step", least=0)
        return step > 0 and (index + 1) % step == 0
    step = keys.number("decoder_sparse_step", "moe_layer_interval", default=1)
    if step > 1:
        return (index + 1) % step == 0
    return index % keys.number("moe_layer_freq", default=1) == 0


def mlp_width(keys: Keys, family: Family, index: int) -> int:
    """Width of a dense layer's MLP. LFM2 derives it from its own key (models/lfm2.py:Lfm2MLP)."""
    if keys.value("intermediate_size_mlp") is not None:  # Llama 4
        return keys.number("intermediate_size_mlp")
    names = ("ffn_dim", "intermediate_size", "n_inner", "block_ff_dim", "decoder_ffn_dim", "ffn_hidden_size")
    if keys.value(*names) is None:
        fourfold = _is_gpt(keys) or not family.is_known
        return keys.number_at(index, *names[1:2], default=4 * keys.number(*WIDTHS) if fourfold else None)
    width = keys.number_at(index, *names)
    if keys.value("block_auto_adjust_ff_dim") is not None:
        if not keys.flag("block_auto_adjust_ff_dim"):
            return width
        factor, multiple = keys.value("block_ffn_dim_multiplier"), keys.number("block_multiple_of", default=256)
        width = int(2 * width / 3)
        width = int(factor * width) if isinstance(factor, int | float) else width
        return -(-width // multiple) * multiple
    return width


def _is_gpt(keys: Keys) -> bool:
    """Whether the class takes four times hidden_size where it has no key for the MLP (falcon, gpt_bigcode)."""
    return keys.value("model_type") in {"falcon", "gpt_bigcode", "gpt2", "gptj", "bloom"}


def mlp_at(keys: Keys, family: Family, index: int) -> Mlp:
    """The dense MLP of layer `index`."""
    return Mlp(
        intermediate_size=mlp_width(keys, family, index),
        is_gated=family.is_gated,
        has_bias=family.has_mlp_bias or keys.has(*family.mlp_bias_keys),
        name=family.mlp_name,
    )


def experts_at(keys: Keys, family: Family, index: int) -> Experts:
    """The experts of layer `index` with router and shared experts."""
    inner = keys.number_at(
        index, "moe_intermediate_size", "expert_intermediate_size", "expert_hidden_dim", "intermediate_size"
    )
    score = family.score_bias_key
    has_score = score == "*" or (score == "topk_method" and _has_noaux(keys)) or (score != "" and keys.flag(score))
    return Experts(
        num_experts=num_experts(keys, index),
        num_experts_per_tok=keys.number_at(index, *EXPERTS_PER_TOKEN),
        intermediate_size=inner,
        shared_intermediate_size=_shared_width(keys, family, index, inner),
        is_gated=family.is_gated,
        has_bias=keys.value("model_type") == "gpt_oss",
        has_shared_gate=family.has_shared_gate,
        has_score_bias=has_score,
        router_itemsize=family.router_itemsize,
        latent_size=keys.number("moe_latent_size", "routed_expert_hidden_size", default=0, least=0),
        zero_experts=keys.number("zero_expert_num", default=0, least=0),
        name=family.experts_name,
        shared_name="shared_expert" if keys.has("shared_expert_intermediate_size") else "shared_experts",
    )


def _has_noaux(keys: Keys) -> bool:
    """Whether a DeepSeek router corrects its scores (models/deepseek_v2.py: topk_method == "noaux_tc")."""
    return keys.value("topk_method") == "noaux_tc"


def _shared_width(keys: Keys, family: Family, index: int, inner: int) -> int:
    """Total width of the shared experts; Granite 4's are an MLP of their own."""
    if family.mlp_name == "shared_mlp":
        return 0
    if keys.value("moe_shared_expert_intermediate_size") is not None:  # Nemotron-H
        return keys.number("moe_shared_expert_intermediate_size", least=0) * keys.number(
            "n_shared_experts", default=1, least=0
        )
    if keys.value("shared_expert_intermediate_size", "shared_intermediate_size") is not None:
        return keys.number("shared_expert_intermediate_size", "shared_intermediate_size", least=0)
    if family.experts_name == "feed_forward" and keys.value("interleave_moe_layer_step") is not None:
        return inner  # Llama 4 has one shared expert, always
    if not keys.flag("use_mixed_mlp_moe", default=True):  # Hunyuan
        return 0
    names = ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert")
    return keys.number_at(index, *names, default=0, least=0) * inner


def feed_forward_at(keys: Keys, family: Family, index: int, num_layers: int) -> tuple[FeedForward, ...]:
    """What layer `index` feeds forward through; Granite 4 has a shared MLP beside its experts (granitemoehybrid.py)."""
    if not has_experts(keys, index, num_layers):
        if family.mlp_name == "shared_mlp":
            return (Mlp(intermediate_size=keys.number("shared_intermediate_size"), name="shared_mlp"),)
        return (mlp_at(keys, family, index),)
    return (experts_at(keys, family, index),)

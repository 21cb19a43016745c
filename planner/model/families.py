"""What config.json does not say of a model's layers, by model_type: norms, biases, how the MLP is built.

In: model_type without `_text`. Out: a `Family`. Facts of vLLM's and transformers' classes, each family's file of
vllm@0.32 model_executor/models or of transformers 5 models/ (where vLLM runs transformers' own class) in its comment.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from planner.model.layers import QkNorm

State = Literal["none", "delta", "kimi", "mamba1", "mamba2", "conv", "lightning"]
"""What layers that are no attention are."""
Shape = Literal["decoder", "nemotron", "gemma4", "gemma3n", "bert", "whisper", "mamba"]
"""Which reader builds the layers; `decoder` serves nearly all."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    is_known: bool = True
    """False: the figures of an ordinary decoder, for a model_type that is not below; nothing exact follows."""
    qk_norm: QkNorm = "none"
    qk_norm_key: str = ""
    """Key of config.json that turns the norms on; empty: they are always there."""
    has_bias: bool = False
    """Whether queries, keys and values have biases whatever config.json says."""
    has_output_bias: bool = False
    bias_keys: tuple[str, ...] = ("attention_bias",)
    """Keys that give queries, keys and values biases."""
    output_bias_keys: tuple[str, ...] = ()
    """Keys that give the attention's output projection a bias."""
    mlp_bias_keys: tuple[str, ...] = ("mlp_bias",)
    is_gated: bool = True
    has_mlp_bias: bool = False
    num_norms: int = 2
    has_norm_bias: bool = False
    ties: bool = False
    """Whether head and embedding are one if config.json does not say so (transformers' class default)."""
    state: State = "none"
    shape: Shape = "decoder"
    has_gate: bool = False
    """Whether the attention's output is gated by as many values (Qwen3-Next)."""
    has_sinks: bool = False
    score_bias_key: str = ""
    """Key that gives the router a correction per expert; `*`: it always has one."""
    router_itemsize: int = 0
    has_shared_gate: bool = False
    experts_name: str = "mlp"
    mlp_name: str = "mlp"
    pattern: int = 0
    """Every so many layers one has full attention, the others slide, where config.json says nothing of it; 0: none."""
    has_learned_positions: bool = False
    expands_keys: bool = False
    """Whether latent attention caches the keys and values of every head (MiniCPM3)."""
    rotary_share: float = 1.0
    """Part of a head that is rotated where config.json says nothing of it."""


_DENSE = Family()
_HEAD = Family(qk_norm="head")
_BIAS = Family(has_bias=True)
_PLAIN = Family(is_gated=False, has_mlp_bias=True, has_output_bias=True, has_norm_bias=True)
_MLA = Family(score_bias_key="topk_method")
FAMILIES: dict[str, Family] = {
    # llama.py and classes that are like it
    **dict.fromkeys(("llama", "mistral", "mistral3", "ministral", "ministral3", "internlm2", "internlm3", "phi3",
                     "granite", "glm", "smollm3", "llava", "seed_oss", "ernie4_5", "minicpm", "mimo", "helium", "cwm"),
                    _DENSE),
    "gemma": Family(ties=True),
    "gemma2": Family(num_norms=4, ties=True, pattern=2),
    "gemma3": Family(num_norms=4, ties=True, qk_norm="head", pattern=6),
    **dict.fromkeys(("glm4", "glm4v"), Family(num_norms=4)),
    "olmo2": Family(qk_norm="row"),
    "olmo3": Family(qk_norm="row", pattern=4),
    "exaone4": Family(qk_norm="head"),
    "hunyuan_v1_dense": _HEAD,
    "cohere": Family(num_norms=1, ties=True, qk_norm="heads", qk_norm_key="use_qk_norm"),
    "cohere2": Family(num_norms=1, ties=True, pattern=4),
    **dict.fromkeys(("qwen2", "qwen2_vl", "qwen2_5_vl", "qwen2_audio", "qwen2_5_omni"), _BIAS),
    **dict.fromkeys(("qwen3", "qwen3_vl", "qwen3_asr"), _HEAD),
    # opt.py, starcoder2.py, gpt_neox.py, falcon.py
    "opt": Family(is_gated=False, has_mlp_bias=True, has_output_bias=True, has_bias=True, ties=True,
                  has_learned_positions=True),
    "starcoder2": Family(is_gated=False, has_mlp_bias=True, has_output_bias=True, has_bias=True, ties=True),
    "gpt_neox": Family(is_gated=False, has_mlp_bias=True, has_output_bias=True),
    "falcon": Family(is_gated=False, bias_keys=("bias",), mlp_bias_keys=("bias",), output_bias_keys=("bias",),
                     ties=True),
    "arcee": Family(is_gated=False),
    "apertus": Family(is_gated=False, qk_norm="head"),
    # mixtures of experts
    "qwen2_moe": Family(has_bias=True, has_shared_gate=True),
    **dict.fromkeys(("qwen3_moe", "qwen3_vl_moe", "qwen3_omni_moe"), _HEAD),
    "mixtral": Family(experts_name="block_sparse_moe"),
    "granitemoe": Family(experts_name="block_sparse_moe"),
    "olmoe": Family(qk_norm="row"),
    "gpt_oss": Family(has_bias=True, has_output_bias=True, has_sinks=True, pattern=2),
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "glm4_moe_lite"), _MLA),
    "glm_moe_dsa": _MLA,
    "minicpm3": Family(expands_keys=True, ties=True),
    **dict.fromkeys(("glm4_moe", "glm4v_moe"),
                    Family(qk_norm="head", qk_norm_key="use_qk_norm", score_bias_key="*", router_itemsize=4)),
    "minimax_m2": Family(qk_norm="row", score_bias_key="use_routing_bias", router_itemsize=4,
                         experts_name="block_sparse_moe"),
    "ernie4_5_moe": Family(bias_keys=("use_bias",), score_bias_key="*", router_itemsize=4, ties=True),
    "hunyuan_v1_moe": _HEAD,
    "llama4": Family(experts_name="feed_forward", mlp_name="feed_forward"),
    "laguna": Family(qk_norm="head", score_bias_key="*", output_bias_keys=("attention_bias",)),
    **dict.fromkeys(("mimo_v2", "mimo_v2_flash"), Family(score_bias_key="*")),
    # hybrids of attention and states
    **dict.fromkeys(("qwen3_next", "qwen3_5", "qwen3_5_moe"),
                    Family(qk_norm="head", state="delta", has_gate=True, has_shared_gate=True,
                           rotary_share=0.25)),
    "kimi_linear": Family(state="kimi", score_bias_key="*", experts_name="block_sparse_moe"),
    "nemotron_h": Family(shape="nemotron", state="mamba2", is_gated=False, score_bias_key="*", router_itemsize=2,
                         experts_name="mixer", mlp_name="mixer"),
    "granitemoehybrid": Family(state="mamba2", experts_name="block_sparse_moe", mlp_name="shared_mlp"),
    "bamba": Family(state="mamba2", mlp_name="feed_forward"),
    "falcon_h1": Family(state="mamba2", mlp_name="feed_forward"),
    "jamba": Family(state="mamba1", experts_name="feed_forward", mlp_name="feed_forward"),
    "lfm2": Family(state="conv", qk_norm="head", mlp_name="feed_forward", ties=True),
    "lfm2_moe": Family(state="conv", qk_norm="head", score_bias_key="use_expert_bias", experts_name="feed_forward",
                       mlp_name="feed_forward", ties=True),
    # classes with a reader of their own
    **dict.fromkeys(("gemma4", "gemma4_unified"), Family(shape="gemma4", num_norms=4, qk_norm="head", ties=True)),
    "gemma3n": Family(shape="gemma3n", num_norms=4, qk_norm="head", ties=True, pattern=5),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "modernbert"), Family(shape="bert")),
    "whisper": Family(shape="whisper"),
    **dict.fromkeys(("mamba", "falcon_mamba"), Family(shape="mamba", state="mamba1", ties=True)),
    "mamba2": Family(shape="mamba", state="mamba2"),
}  # fmt: skip
"""Known families; a model_type that is not here is counted as an ordinary decoder and never called exact."""

"""`ModelSpec`: the figures of a model that memory and speed follow from. Values only; nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass

from planner.model.vision import VisionTower

DTYPE_BYTES = {"float32": 4, "float16": 2, "half": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    method: str
    """quantization_config.quant_method, for example awq or fp8; never guessed from a repository's name."""
    bits: int = 4
    group_size: int = 128
    """Weights that share a scale along the inputs; -1: a whole row."""
    block_size: tuple[int, int] | None = None
    """FP8 scales per block of outputs x inputs; None: per tensor or row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The mixture-of-experts layers."""

    num_experts: int
    num_experts_per_tok: int
    intermediate_size: int
    shared_intermediate_size: int
    """Of the experts every token uses, all together; 0 without."""
    num_dense_layers: int
    """First layers with an ordinary MLP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): one compressed key-value vector for all heads."""

    kv_lora_rank: int
    q_lora_rank: int | None
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """Gated delta net layers (Qwen3-Next, arXiv:2412.06464): a state of fixed size instead of a KV cache."""

    num_layers: int
    key_width: int
    """Heads times width of the keys."""
    value_width: int
    num_value_heads: int
    kernel_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    name: str
    model_type: str
    is_known: bool
    """Whether the architecture is one this module knows; others are taken for ordinary decoders."""
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    torch_dtype: str
    quantization: Quantization | None
    qk_norm: bool
    """Whether queries and keys are normalised per head (Qwen3)."""
    qkv_bias: bool
    rope_factor: float
    """By how much rope scaling stretches the context (yarn, linear, dynamic); 1 without."""
    sliding_window: int | None
    num_sliding_layers: int
    """Layers that attend to the window only; the others attend to everything."""
    experts: Experts | None
    latent_attention: LatentAttention | None
    linear_attention: LinearAttention | None
    has_gated_mlp: bool
    has_vision_tower: bool
    """Weights beside the language model: a vision or audio tower."""
    vision: VisionTower | None
    """That tower, where its family is known."""
    norms_per_layer: int
    checkpoint_bytes: int | None
    """Bytes of all tensors, from the safetensors headers; None where only config.json is known."""

    @property
    def max_context_tokens(self) -> int:
        """vLLM's derived limit of max_model_len (vllm@0.8.5 config.py:_get_and_verify_max_len)."""
        return int(self.max_position_embeddings * self.rope_factor)

"""`ModelSpec`: the figures of a model that determine memory and speed. Values only; nothing is read here."""

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
    """Number of weights along the inputs that share one scale; -1: a whole row shares one."""
    block_size: tuple[int, int] | None = None
    """Block of outputs x inputs that shares one FP8 scale; None: one scale per tensor or row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The mixture-of-experts layers."""

    num_experts: int
    num_experts_per_tok: int
    intermediate_size: int
    shared_intermediate_size: int
    """Total MLP width of the shared experts, which every token uses; 0 if there are none."""
    num_dense_layers: int
    """Number of layers at the start that have an ordinary MLP."""


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
    """Number of key heads times the width of one."""
    value_width: int
    num_value_heads: int
    kernel_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    name: str
    model_type: str
    is_known: bool
    """Whether the architecture is one we know and config.json gives its context; others count as ordinary decoders."""
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
    """Factor by which rope scaling (yarn, linear, dynamic) extends the context; 1 without scaling."""
    sliding_window: int | None
    num_sliding_layers: int
    """Number of layers that attend only to the window; the others attend to everything."""
    experts: Experts | None
    latent_attention: LatentAttention | None
    linear_attention: LinearAttention | None
    has_gated_mlp: bool
    has_vision_tower: bool
    """Whether there are weights beside the language model: a vision or audio tower."""
    vision: VisionTower | None
    """The vision tower; None if there is none or its family is not known."""
    norms_per_layer: int
    checkpoint_bytes: int | None
    """Total bytes of all tensors, from the safetensors headers; None if only config.json is known."""

    @property
    def max_context_tokens(self) -> int:
        """vLLM's derived limit of max_model_len, in tokens (vllm@0.8.5 config.py:_get_and_verify_max_len)."""
        return int(self.max_position_embeddings * self.rope_factor)

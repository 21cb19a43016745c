"""A model's layers as values: what mixes tokens, what feeds forward, and the `LayerStack` that they make.

In: figures that `config_json` read. Out: frozen values with config.json's figures per layer. Weights follow from them
in `layer_modules.py`, the KV cache in `planner/estimate/memory/kv_cache.py`. Nothing is read or sharded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec import structs

from planner.model.modules import Module

PER_LAYER_INPUTS = "embed_tokens_per_layer"
"""Module that embeds the layers' own inputs (Gemma 3n and 4)."""
Reach = Literal["full", "sliding", "chunked", "encoder", "cross"]
"""Tokens that an attention layer looks at: all before; those in a window; those of its chunk; all of the input at once,
without a KV cache (encoders); another model's output (Whisper's decoder), with a KV cache of its length."""
QkNorm = Literal["none", "head", "heads", "row"]
"""Norms of queries and keys: none; one vector of head_dim for all heads; one per head; one over the whole row."""


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Attention with a key and a value per KV head and token."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    v_head_dim: int
    """Width of one value head; head_dim in nearly every model."""
    reach: Reach = "full"
    window: int | None = None
    """Tokens of the sliding window or of the chunk; None where the reach has none."""
    has_bias: bool = False
    """Whether queries, keys and values have biases."""
    has_output_bias: bool = False
    qk_norm: QkNorm = "none"
    gate_width: int = 0
    """Outputs of the gate on the attention's output: the queries' width (Qwen3-Next), one per head (Laguna) or 0."""
    has_sinks: bool = False
    """Whether each head has a learned sink (gpt-oss)."""
    shares_kv: bool = False
    """Whether it reads the KV cache of an earlier layer (Gemma 3n and 4)."""
    keeps_keys: bool = False
    """Whether it has projections of keys and values though it reads another layer's cache (Gemma 3n)."""
    keys_are_values: bool = False
    """Whether one projection gives keys and values; the cache holds both all the same (Gemma 4's full layers)."""
    rotary_dim: int = 0
    """Width of the rotary embedding's table; 0: none."""
    rope_theta: float = 0.0
    """Base of the rotary embedding; layers with the same base and width share one table."""
    rope_factor: float = 1.0
    """Times the positions of its table exceed the model's own, by linear scaling (Gemma 3's full layers)."""
    low_rank: LatentAttention | None = None
    """Its projections where they go through low ranks though the cache holds every head's keys (MiniCPM3)."""
    name: str = "self_attn"
    """Module of the layer that holds it, as the checkpoint spells it; so for all mixers and feed-forwards."""


class LatentAttention(msgspec.Struct, frozen=True, kw_only=True):
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): one compressed key-value vector for all heads."""

    num_heads: int
    kv_lora_rank: int
    q_lora_rank: int | None
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    indexer: Indexer | None = None
    """Chooses the tokens that it attends to; has a cache of its own. None without."""
    has_rope: bool = True
    """False: positions are not rotated though the width stays (Kimi-Linear)."""
    name: str = "self_attn"


class Indexer(msgspec.Struct, frozen=True, kw_only=True):
    """The lightning indexer of sparse attention (DeepSeek-V3.2, GLM-5; vllm@0.33 models/deepseek_v2.py:Indexer)."""

    num_heads: int
    head_dim: int
    topk: int
    is_shared: bool = False
    """Whether it takes the choice of an earlier layer, and has neither weights nor cache (GLM-5.2)."""


class DeltaNet(msgspec.Struct, frozen=True, kw_only=True):
    """A gated delta net (Qwen3-Next, arXiv:2412.06464) or Kimi delta attention: a state of fixed size per request."""

    num_key_heads: int
    key_head_dim: int
    num_value_heads: int
    value_head_dim: int
    kernel_size: int
    """Tokens under the short convolution; the state keeps one less."""
    is_kimi: bool = False
    """Kimi delta attention: convolutions of queries, keys and values apart, gates through a low rank."""
    state_dtype: str | None = None
    """dtype of the recurrent state; None: as the model's."""
    is_interleaved: bool = False
    """Whether projections lie interleaved by group of heads (Qwen3-Next), not one after the other (Qwen3.5)."""
    name: str = "linear_attn"

    @property
    def key_width(self) -> int:
        """Number of key heads times the width of one."""
        return self.num_key_heads * self.key_head_dim

    @property
    def value_width(self) -> int:
        """Number of value heads times the width of one."""
        return self.num_value_heads * self.value_head_dim


class Mamba(msgspec.Struct, frozen=True, kw_only=True):
    """A Mamba (arXiv:2312.00752) or Mamba-2 (arXiv:2405.21060) state space: a state of fixed size per request."""

    version: Literal[1, 2]
    inner: int
    """Width that it works in: heads times head_dim (Mamba-2), expand times hidden_size (Mamba)."""
    state_size: int
    kernel_size: int
    num_heads: int = 1
    num_groups: int = 1
    """Groups of heads that share B and C (Mamba-2)."""
    dt_rank: int = 0
    """Rank of the time step's projection (Mamba)."""
    has_bias: bool = False
    has_conv_bias: bool = True
    has_gated_norm: bool = True
    state_dtype: str | None = None
    """dtype of the recurrent state; None: as the model's."""
    chunk_size: int = 2048
    """Tokens that the kernel takes at once; mamba_cache_mode `all` keeps a state at multiples of it."""
    name: str = "mixer"

    @property
    def head_dim(self) -> int:
        return self.inner // self.num_heads

    @property
    def conv_width(self) -> int:
        """Channels of the convolution: x, and in Mamba-2 also B and C of every group."""
        return self.inner + (2 * self.num_groups * self.state_size if self.version == 2 else 0)


class ShortConvolution(msgspec.Struct, frozen=True, kw_only=True):
    """A gated short convolution (LFM2): a state of kernel_size - 1 tokens per request."""

    width: int
    kernel_size: int
    has_bias: bool = False
    name: str = "conv"


class LightningAttention(msgspec.Struct, frozen=True, kw_only=True):
    """Linear attention with a fixed decay (MiniMax-01): a state of heads x head_dim x head_dim per request."""

    num_heads: int
    head_dim: int
    name: str = "self_attn"


State = DeltaNet | Mamba | ShortConvolution | LightningAttention
"""Mixers that keep a state of fixed size per request instead of a key and a value per token."""
Mixer = Attention | LatentAttention | State


class Mlp(msgspec.Struct, frozen=True, kw_only=True):
    """A dense feed-forward: gate, up and down, or up and down only."""

    intermediate_size: int
    is_gated: bool = True
    has_bias: bool = False
    name: str = "mlp"


class Experts(msgspec.Struct, frozen=True, kw_only=True):
    """A mixture of experts with its router and shared experts."""

    num_experts: int
    num_experts_per_tok: int
    intermediate_size: int
    shared_intermediate_size: int
    """Total MLP width of the shared experts, which every token uses; 0 if there are none."""
    is_gated: bool = True
    """False: an expert has two matrices (Nemotron 3)."""
    has_bias: bool = False
    """Whether experts have biases (gpt-oss)."""
    has_shared_gate: bool = False
    """Whether the shared expert's output is weighted by a gate of one output (Qwen)."""
    has_score_bias: bool = False
    """Whether the router keeps a correction per expert (e_score_correction_bias, DeepSeek-V3)."""
    latent_size: int = 0
    """Width that routed experts work in, where they do not work in hidden_size (Nemotron 3 Super); 0 otherwise."""
    router_itemsize: int = 0
    """Bytes of an element of the router's weight; 0: as the model's dtype."""
    zero_experts: int = 0
    """Experts without weights that a token may be sent to (LongCat); the router has an output for each."""
    name: str = "mlp"
    """Module that holds router (`gate`) and `experts`."""
    router: str = "gate"
    shared_name: str = "shared_experts"


FeedForward = Mlp | Experts


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    mixers: tuple[Mixer, ...]
    """One in most models; two side by side in Falcon-H1; none in a layer that only feeds forward (Nemotron-H)."""
    feed_forwards: tuple[FeedForward, ...]
    """One in most models; a dense one beside the experts in Gemma 4; none in a layer that only mixes."""
    num_norms: int = 2
    """Norms over hidden_size."""
    has_norm_bias: bool = False
    """Whether these norms have a bias (LayerNorm) besides the weight."""
    extra: tuple[Module, ...] = ()
    """Further weights (Gemma's per-layer input, Gemma 3n's AltUp)."""


class LayerStack(msgspec.Struct, frozen=True):
    """Layers in order: the different kinds, and one number per layer, so that a hundred equal ones cost as one."""

    kinds: tuple[Layer, ...]
    order: tuple[int, ...]
    """Index into `kinds` of each layer."""

    @classmethod
    def of(cls, layers: Iterable[Layer]) -> LayerStack:
        """The stack of some layers; equal ones become one kind."""
        numbers: dict[Layer, int] = {}
        order = tuple(numbers.setdefault(layer, len(numbers)) for layer in layers)
        return cls(tuple(numbers), order)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Layer]:
        return (self.kinds[number] for number in self.order)

    def __getitem__(self, index: int) -> Layer:
        return self.kinds[self.order[index]]

    def part(self, first: int, count: int) -> LayerStack:
        """`count` layers from `first` on, as one pipeline stage holds them."""
        return LayerStack(self.kinds, self.order[first : first + count])

    def counts(self) -> list[tuple[Layer, int]]:
        """Each kind with the number of its layers."""
        return [(kind, self.order.count(number)) for number, kind in enumerate(self.kinds)]


@lru_cache(maxsize=16)
def without_shared_keys(layers: LayerStack) -> LayerStack:
    """The stack without the projections of keys and values that a layer has no use for, as it reads another's cache."""
    return LayerStack(tuple(map(_without_keys, layers.kinds)), layers.order)


def _without_keys(layer: Layer) -> Layer:
    mixers = tuple(
        structs.replace(mixer, keeps_keys=False) if isinstance(mixer, Attention) else mixer for mixer in layer.mixers
    )
    return structs.replace(layer, mixers=mixers)

"""What each layer keeps in the KV cache on one rank: `layer_caches(model, ...)`, one entry per cache, in layer order.

In: a model, dtypes, the tensor parallel size, speculative decoding. Out: bytes of a token, or of a state that a request
keeps whatever its length. Knows nothing of blocks. Source: vllm@0.32 layers/attention/attention.py, mla_attention.py,
cross_attention.py: get_kv_cache_spec; layers/mamba/mamba_utils.py:MambaStateShapeCalculator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from planner.engine import Speculation
from planner.estimate.memory.drafter import GUESSED_HEADS, GUESSED_LAYERS, GUESSED_WIDTH, draft_model
from planner.model import (
    DTYPE_BYTES,
    Attention,
    DeltaNet,
    LatentAttention,
    LightningAttention,
    Mamba,
    ModelSpec,
    ShortConvolution,
    State,
)

CacheKind = Literal["full", "sliding", "cross", "state"]
"""Tokens that are kept: all, those of a window, an encoder's output, or a state instead. Chunked attention counts as
full: vLLM turns its hybrid manager off for it (config/vllm.py, VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE)."""


@dataclass(frozen=True, slots=True)
class LayerCache:
    """One layer's cache. Layers with equal ones share block tables; `shape` tells apart what only looks alike."""

    kind: CacheKind
    token_bytes: int = 0
    """Bytes of one token; 0 for a state."""
    state_bytes: int = 0
    window: int = 0
    """Tokens of the sliding window; 0 for other kinds."""
    shape: tuple[int, ...] = ()
    layer: int = 0
    """Index of the layer; a drafter's layers come after the model's."""

    @property
    def bucket(self) -> tuple[object, ...]:
        """What decides which layers may share a group."""
        return self.kind, self.token_bytes, self.state_bytes, self.window, self.shape


@dataclass(frozen=True, slots=True)
class KvFormat:
    """How values are stored: the model's dtype, kv_cache_dtype, ranks, and rows that speculation adds to states."""

    dtype: str
    kv_cache_dtype: str
    tensor_parallel_size: int
    speculation: Speculation | None = None

    @property
    def num_speculative_tokens(self) -> int:
        return self.speculation.num_tokens if self.speculation is not None else 0


def head_bytes(kv_cache_dtype: str, dtype: str, width: int, value_width: int) -> int:
    """Bytes of the key and the value of one KV head and token, scales included.

    Source: vllm@0.32 v1/attention/backends/{triton_attn,flashinfer,turboquant_attn}.py:customize_spec,
    layers/quantization/turboquant/config.py, utils/torch_utils.py:nvfp4_kv_cache_full_dim.
    """
    both = width + value_width
    if kv_cache_dtype in TURBOQUANT_BITS:
        key_bits, value_bits = TURBOQUANT_BITS[kv_cache_dtype]
        key = width if key_bits == 8 else -(-width * key_bits // 8) + 2  # and its norm
        slot = key + -(-value_width * value_bits // 8) + 4  # and scale and zero
        return slot + slot % 2
    if kv_cache_dtype == "int4_per_token_head":
        return width // 2 + value_width // 2 + 2 * SCALE_BYTES
    if kv_cache_dtype.endswith("_per_token_head"):
        return both + 2 * SCALE_BYTES
    if kv_cache_dtype.startswith("nvfp4") or kv_cache_dtype == "ultraquant_4bit":  # 4 bits, 8 for 16 or 32 of them
        return sum(part // 2 + part // 16 for part in (width, value_width))
    if kv_cache_dtype.startswith("fp8"):
        return both
    return both * DTYPE_BYTES.get(kv_cache_dtype, DTYPE_BYTES[dtype])


TURBOQUANT_BITS = {"turboquant_k8v4": (8, 4), "turboquant_4bit_nc": (4, 4), "turboquant_k3v4_nc": (3, 4),
                   "turboquant_3bit_nc": (3, 3)}  # fmt: skip
"""Bits of keys and values (layers/quantization/turboquant/config.py:TQ_PRESETS)."""
SCALE_BYTES = 4
ROW_BYTES = {"fp8_ds_mla": 656, "nvfp4_ds_mla": 352}
"""Bytes of a token of sparse latent attention (layers/attention/mla_attention.py:get_kv_cache_spec)."""
INDEX_QUANT_BLOCK = 128
"""Values of the indexer's key that share a scale (models/deepseek_v2.py:Indexer)."""


@lru_cache(maxsize=256)
def layer_caches(model: ModelSpec, form: KvFormat) -> tuple[LayerCache, ...]:
    """Every cache in layer order, the drafter's last. Encoders and layers that read another's have none."""
    found = [
        cache
        for index, layer in enumerate(model.layers)
        for mixer in layer.mixers
        for cache in _caches(mixer, form, index)
    ]
    return (*found, *_drafter_caches(model, form, len(model.layers)))


def _caches(mixer: Attention | LatentAttention | State, form: KvFormat, layer: int) -> list[LayerCache]:
    if isinstance(mixer, LatentAttention):
        return _latent(mixer, form, layer)
    if not isinstance(mixer, Attention):
        return [LayerCache("state", state_bytes=state_bytes(mixer, form), layer=layer)]
    if mixer.shares_kv or mixer.reach == "encoder":
        return []
    heads = max(1, mixer.num_kv_heads // form.tensor_parallel_size)
    token = heads * head_bytes(form.kv_cache_dtype, form.dtype, mixer.head_dim, mixer.v_head_dim)
    shape = (heads, mixer.head_dim, mixer.v_head_dim)
    if mixer.reach == "sliding" and mixer.window:
        return [LayerCache("sliding", token, window=mixer.window, shape=shape, layer=layer)]
    return [LayerCache("cross" if mixer.reach == "cross" else "full", token, shape=shape, layer=layer)]


def _latent(mixer: LatentAttention, form: KvFormat, layer: int) -> list[LayerCache]:
    """One vector for all heads, the same on every rank; the indexer keeps a key of its own in fp8."""
    width = mixer.kv_lora_rank + mixer.qk_rope_head_dim
    token = ROW_BYTES.get(form.kv_cache_dtype) or head_bytes(form.kv_cache_dtype, form.dtype, width, 0)
    found = [LayerCache("full", token, shape=(width,), layer=layer)]
    indexer = mixer.indexer
    if indexer is not None and not indexer.is_shared:
        row = indexer.head_dim + indexer.head_dim // INDEX_QUANT_BLOCK * SCALE_BYTES
        found.append(LayerCache("full", row, shape=(indexer.head_dim, 0), layer=layer))
    return found


def state_bytes(mixer: State, form: KvFormat) -> int:
    """Bytes of one state on one rank: rows of the convolution, one more per speculative token, and the recurrence.

    Mamba-1 has no speculation. Mamba-2's groups are shared by ranks: where there are fewer, each rank holds one.
    """
    tp, own = form.tensor_parallel_size, DTYPE_BYTES[form.dtype]
    rows = form.num_speculative_tokens
    match mixer:
        case DeltaNet():
            width = 2 * mixer.key_width + mixer.value_width
            kept = mixer.num_value_heads // tp * mixer.key_head_dim * mixer.value_head_dim
            rows += mixer.kernel_size - 1
        case Mamba(version=2):
            groups = mixer.num_groups if mixer.num_groups % tp == 0 else tp
            width = mixer.inner + 2 * groups * mixer.state_size
            kept = mixer.num_heads // tp * mixer.head_dim * mixer.state_size
            rows += mixer.kernel_size - 1
        case Mamba():
            width, kept, rows = mixer.inner, mixer.inner // tp * mixer.state_size, mixer.kernel_size - 1
        case ShortConvolution():
            width, kept, rows = mixer.width, 0, mixer.kernel_size - 1
        case LightningAttention():
            width, rows, kept = 0, 0, mixer.num_heads // tp * mixer.head_dim**2
    named = mixer.state_dtype if isinstance(mixer, DeltaNet | Mamba) else None
    return width // tp * rows * own + kept * DTYPE_BYTES[named or form.dtype]


# --- speculative decoding ---

GUESSED_WINDOW = 2048
"""Tokens of DFlash2's window, where its config.json is not at hand. A guess."""


def drafter_is_guessed(speculation: Speculation | None) -> bool:
    """Whether the drafter's layers are assumed, as neither a directory nor a shipped name says what they are."""
    if speculation is None or speculation.model is None or speculation.drafting in ("none", "mtp"):
        return False
    return draft_model(speculation) is None


def _drafter_caches(model: ModelSpec, form: KvFormat, first: int) -> list[LayerCache]:
    """Caches of the layers that draft, from the drafter's config.json where it is at hand."""
    speculation = form.speculation
    if speculation is None or speculation.drafting == "none":
        return []
    known = draft_model(speculation)
    if known is not None:
        plain = replace(form, speculation=None)
        return [replace(cache, layer=first + cache.layer) for cache in layer_caches(known, plain)]
    own = next((found for found in reversed(_attending(model, form)) if found[0].kind == "full"), [])
    match speculation.drafting:
        case "mtp" if speculation.model is None:
            return [replace(cache, layer=first + number) for number in range(max(1, model.num_mtp_layers))
                    for cache in own]  # fmt: skip
        case "eagle":  # one layer of other heads than the model's
            return [replace(cache, layer=first, shape=(*cache.shape, 1)) for cache in own[:1]]
        case "dflash" | "dflash2":
            return [replace(_guessed(form, speculation), layer=first + number) for number in range(GUESSED_LAYERS)]
        case _:  # an assistant for multi-token prediction reads the model's own cache (Gemma 4)
            return []


def _guessed(form: KvFormat, speculation: Speculation) -> LayerCache:
    heads = max(1, GUESSED_HEADS // form.tensor_parallel_size)
    token = heads * head_bytes(form.kv_cache_dtype, form.dtype, GUESSED_WIDTH, GUESSED_WIDTH)
    shape = (heads, GUESSED_WIDTH, GUESSED_WIDTH)
    if speculation.drafting == "dflash2":
        return LayerCache("sliding", token, window=GUESSED_WINDOW, shape=shape)
    return LayerCache("full", token, shape=shape)


def _attending(model: ModelSpec, form: KvFormat) -> list[list[LayerCache]]:
    """Caches of each layer that keeps tokens."""
    per_layer = ([c for mixer in layer.mixers for c in _caches(mixer, form, 0) if c.token_bytes]
                 for layer in model.layers)  # fmt: skip
    return [caches for caches in per_layer if caches]

"""How the engine divides the KV cache: bytes of a block, groups of layers, blocks of one request.

Source: vllm@0.8.5 worker/cache_engine.py:get_cache_block_size; vllm@0.10.2 v1/core/kv_cache_utils.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner import arrays as columns
from planner.arrays import IntColumn
from planner.engine import HYBRID_KV_SINCE, ResolvedEngine
from planner.estimate.memory.weights import kv_heads_per_rank, layers_per_stage
from planner.model import DTYPE_BYTES, DeltaNet, ModelSpec


@dataclass(frozen=True, slots=True)
class KvGroup:
    """Division of the KV cache on one rank.

    `block_bytes`: one block over the layers of a group. `request_blocks`: blocks of one request of max_model_len
    tokens, over all groups.
    """

    block_bytes: IntColumn
    num_groups: int
    request_blocks: IntColumn


def kv_bytes_per_token_and_layer(model: ModelSpec, engine: ResolvedEngine) -> int:
    """Bytes of key and value of one token in one layer on one rank; MLA keeps one vector, the same on every rank."""
    itemsize = 1 if engine.kv_cache_dtype.startswith("fp8") else DTYPE_BYTES[engine.dtype]
    mla = model.latent_attention
    if mla is not None:
        return (mla.kv_lora_rank + mla.qk_rope_head_dim) * itemsize
    return 2 * kv_heads_per_rank(model, engine.tensor_parallel_size) * model.head_dim * itemsize


def kv_bytes_per_token(model: ModelSpec, engine: ResolvedEngine) -> int:
    """Bytes of one token over the layers of the fullest pipeline stage, as if all had full attention."""
    layers = max(layers_per_stage(model.num_hidden_layers, engine.pipeline_parallel_size))
    return layers * kv_bytes_per_token_and_layer(model, engine)


def kv_group(model: ModelSpec, engine: ResolvedEngine, num_layers: int) -> KvGroup:
    """Division of the KV cache on a rank that holds `num_layers` layers.

    Since 0.10, layers of different kinds share one pool, in groups of equally many layers; the rarest kind sets how
    many. Before, and on V0, every attention layer is allocated as full attention. A linear-attention layer holds one
    block per request. Source: vllm@0.10.2 v1/core/kv_cache_utils.py:_get_kv_cache_groups_uniform_page_size.
    """
    block, length = engine.block_size, engine.max_model_len
    full_blocks = -(-length // block)
    linear = model.count(DeltaNet)
    attending = model.num_hidden_layers - linear
    splits_windows = engine.generation == "V1" and engine.version >= HYBRID_KV_SINCE
    sliding = model.num_sliding_layers if splits_windows and model.num_sliding_layers < attending else 0
    counts = [count for count in (attending - sliding, sliding, linear) if count]
    if len(counts) == 1:
        return KvGroup(num_layers * kv_bytes_per_token_and_layer(model, engine) * block, 1, full_blocks)
    per_group = min(counts)
    full_groups, sliding_groups, linear_groups = (-(-n // per_group) for n in (attending - sliding, sliding, linear))
    in_window = columns.minimum((model.sliding_window or 0) - 1 + engine.max_num_batched_tokens, length)
    window_blocks = -(-in_window // block) + 1
    return KvGroup(
        kv_bytes_per_token_and_layer(model, engine) * -(-per_group * num_layers // model.num_hidden_layers) * block,
        full_groups + sliding_groups + linear_groups,
        full_groups * full_blocks + sliding_groups * window_blocks + linear_groups,
    )

"""How the engine divides the KV cache: `kv_division(model, engine, rank)`, bytes of a block, blocks of one request.

Layers of one kind share block tables in groups of equally many layers; all groups draw equal blocks from one pool.
In: what each layer keeps (`kv_layers.py`). Settings may be NumPy columns; the model and the dtypes are not.

Source: vllm@0.8.5 worker/cache_engine.py:get_cache_block_size; vllm@0.10.2..0.33.0 v1/core/kv_cache_utils.py and
kv_cache_planning.py: get_kv_cache_groups, unify_kv_cache_spec_page_size, _get_kv_cache_groups_uniform_page_size;
v1/kv_cache_interface.py: max_memory_usage_bytes; platforms/interface.py:_align_hybrid_block_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Any, Literal

from planner import arrays as columns
from planner.arrays import FloatColumn, IntColumn
from planner.engine import (
    BATCHES_IN_FLIGHT_SINCE,
    BLOCK_ALIGNED_BY_SIZE_SINCE,
    CONCURRENCY_BY_BLOCKS_SINCE,
    DELTA_CHECKPOINT_SINCE,
    HYBRID_KV_SINCE,
    KV_SIZE_BY_REQUESTS_SINCE,
    MAMBA2_CHECKPOINT_SINCE,
    MAMBA_ALIGN_SINCE,
    MLA_HYBRID_BLOCK_SINCE,
    WIDE_GROUPS_SINCE,
    WIDER_GROUPS_SINCE,
    ResolvedEngine,
    keeps_state_per_block,
)
from planner.estimate.memory.kv_layers import KvFormat, LayerCache, layer_caches
from planner.estimate.memory.runners import uses_second_runner
from planner.estimate.memory.weights import Rank, layers_per_stage
from planner.model import DeltaNet, Mamba, ModelSpec

KERNEL_BLOCK = 16
"""Tokens of the smallest block that attention kernels take."""
MLA_KERNEL_BLOCK, MLA_HYBRID_BLOCK = 64, 128
"""The same for latent attention in hybrid models, at first and since MLA_HYBRID_BLOCK_SINCE."""


SizeMeaning = Literal["tokens", "blocks", "requests"]
"""What this version's log calls the KV cache's size and its concurrency: tokens of all blocks, and these over
max_model_len; blocks over groups times the smallest block, and blocks over those of a request; that concurrency times
max_model_len, and the concurrency."""


@dataclass(frozen=True, slots=True)
class KvDivision:
    """Division of the KV cache on one rank."""

    block_bytes: IntColumn
    """Bytes of one block over the layers of a group; 0 if the model keeps no KV cache."""
    num_groups: int
    request_blocks: IntColumn
    """Blocks of one request of max_model_len tokens, over all groups."""
    block_size: IntColumn
    """Tokens of the smallest block of attention; a hybrid model's is raised until it holds a state."""
    has_states: bool
    """Whether each request keeps states in blocks of their own (Mamba, gated delta nets, short convolutions)."""
    size_means: SizeMeaning


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Layers with equal caches."""

    cache: LayerCache
    layers: tuple[int, ...]


def kv_format(engine: ResolvedEngine) -> KvFormat:
    """The parts of the settings that decide what a layer keeps."""
    return KvFormat(engine.dtype, engine.kv_cache_dtype, engine.tensor_parallel_size, engine.speculation)


def kv_bytes_per_token(model: ModelSpec, engine: ResolvedEngine) -> FloatColumn:
    """Bytes of one token over the layers of the fullest pipeline stage, as if all that attend had full attention."""
    caches = layer_caches(model, replace(kv_format(engine), speculation=None))
    share = max(layers_per_stage(len(model.layers), engine.pipeline_parallel_size)) / len(model.layers)
    return share * sum(cache.token_bytes for cache in caches)


def kv_division(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> KvDivision:
    """Division of the KV cache on a rank; groups are formed over the layers of all pipeline stages."""
    means = size_meaning(engine)
    buckets = _buckets(layer_caches(model, kv_format(engine)), engine)
    has_states = any(bucket.cache.kind == "state" for bucket in buckets)
    if not buckets:
        return KvDivision(0, 1, 0, engine.block_size, has_states, means)
    block = _block_size(model, engine, buckets)
    page = max(bucket.cache.token_bytes for bucket in buckets)
    if _is_uniform(buckets):
        token_bytes = sum(b.cache.token_bytes * _on_rank(b.layers, model, rank) for b in buckets)
        states = sum(b.cache.state_bytes * _on_rank(b.layers, model, rank) for b in buckets)
        need = _request_blocks(buckets[0].cache, block, model, engine)
        return KvDivision(token_bytes * block + states, 1, need, block, has_states, means)
    sizes = [_tokens_of_block(bucket.cache, page, block) for bucket in buckets]
    needs = [_request_blocks(bucket.cache, size, model, engine) for bucket, size in zip(buckets, sizes, strict=True)]
    width = _group_width([len(bucket.layers) for bucket in buckets], engine)
    groups = [(bucket, -(-len(bucket.layers) // width)) for bucket in buckets]
    widest = max(
        _on_rank(bucket.layers[start::count], model, rank) for bucket, count in groups for start in range(count)
    )
    needed: Any = sum(count * need for (_, count), need in zip(groups, needs, strict=True))
    attention = [size for bucket, size in zip(buckets, sizes, strict=True) if bucket.cache.token_bytes]
    return KvDivision(
        block_bytes=widest * page * block,
        num_groups=sum(count for _, count in groups),
        request_blocks=needed,
        block_size=_least(attention),
        has_states=has_states,
        size_means=means,
    )


def size_meaning(engine: ResolvedEngine) -> SizeMeaning:
    """What the log of this version means by "GPU KV cache size"."""
    if engine.generation == "V0" or engine.version < CONCURRENCY_BY_BLOCKS_SINCE:
        return "tokens"
    return "requests" if engine.version >= KV_SIZE_BY_REQUESTS_SINCE else "blocks"


def _buckets(caches: Sequence[LayerCache], engine: ResolvedEngine) -> list[_Bucket]:
    """Layers by what they keep. V0, and V1 before 0.10, know only full attention and keep states elsewhere."""
    if engine.generation == "V0" or engine.version < HYBRID_KV_SINCE:
        caches = [replace(cache, kind="full", window=0) for cache in caches if cache.kind != "state"]
    found: dict[tuple[object, ...], list[LayerCache]] = {}
    for cache in caches:
        found.setdefault(cache.bucket, []).append(cache)
    return [_Bucket(same[0], tuple(cache.layer for cache in same)) for same in found.values()]


def _is_uniform(buckets: Sequence[_Bucket]) -> bool:
    """Whether every layer needs the same blocks, so that all are one group (UniformTypeKVCacheSpecs)."""
    kinds = {(bucket.cache.kind, bucket.cache.window) for bucket in buckets}
    return len(kinds) == 1


def _on_rank(layers: Sequence[int], model: ModelSpec, rank: Rank) -> int:
    """How many of these layers the rank holds; a drafter is on the last stage."""
    end = rank.first_layer + rank.num_layers
    return sum(rank.first_layer <= layer < end or (rank.is_last and layer >= len(model.layers)) for layer in layers)


def _group_width(counts: Sequence[int], engine: ResolvedEngine) -> int:
    """Layers of a group: those of the rarest kind, or of the commonest if that is little more; others are padded."""
    least, most = min(counts), max(counts)
    if engine.version < WIDE_GROUPS_SINCE:
        return least
    ratio = 1.25 if engine.version < WIDER_GROUPS_SINCE else 1.5
    return most if most < least * ratio else least


def _block_size(model: ModelSpec, engine: ResolvedEngine, buckets: Sequence[_Bucket]) -> IntColumn:
    """Tokens of a block of attention: block_size, raised in hybrid models until a block holds a state."""
    state = max((bucket.cache.state_bytes for bucket in buckets), default=0)
    own = layer_caches(model, replace(kv_format(engine), speculation=None))
    token = max((cache.token_bytes for cache in own), default=0)
    if not state or not token:
        return engine.block_size
    least = KERNEL_BLOCK
    if model.latent_attention is not None:
        least = MLA_HYBRID_BLOCK if engine.version >= MLA_HYBRID_BLOCK_SINCE else MLA_KERNEL_BLOCK
    step: Any = least
    if engine.version >= BLOCK_ALIGNED_BY_SIZE_SINCE:
        step = columns.maximum(least, engine.block_size)
    raised = step * -(-state // (step * token))
    if keeps_state_per_block(model, engine.version) and columns.any_of(engine.enable_prefix_caching):
        chunk, tokens = lcm(next(model.mixers(Mamba)).chunk_size, least), -(-state // token)
        raised = columns.where(engine.enable_prefix_caching, chunk * -(-tokens // chunk), raised)
    return columns.maximum(engine.block_size, raised)


def _tokens_of_block(cache: LayerCache, page: int, block: IntColumn) -> IntColumn:
    """Tokens of one block of a layer when all pages have one size: more where the page is a multiple, else padded."""
    if cache.token_bytes and page % cache.token_bytes == 0:
        return block * (page // cache.token_bytes)
    return block


def _request_blocks(cache: LayerCache, block: IntColumn, model: ModelSpec, engine: ResolvedEngine) -> Any:
    """Blocks that one request of max_model_len tokens takes in one group."""
    length, batch = engine.max_model_len, engine.max_num_batched_tokens
    match cache.kind:
        case "state":
            return _states(block, model, engine)
        case "sliding":
            kept = columns.minimum(cache.window - 1 + batch * _batches_in_flight(model, engine), length)
            return -(-kept // block) + 1  # a window may begin within a block
        case "cross":  # an encoder's output fills a batch at most
            return -(-batch // block)
        case _:
            return -(-length // block)


def _batches_in_flight(model: ModelSpec, engine: ResolvedEngine) -> Any:
    """Batches whose tokens a window reserves room for (vllm@0.32 config/vllm.py:max_concurrent_batches)."""
    if engine.version < BATCHES_IN_FLIGHT_SINCE:
        return 1
    stages = engine.pipeline_parallel_size
    ahead = stages + 1 if uses_second_runner(model, engine) else max(2, stages)
    return columns.where(engine.async_scheduling, ahead, stages)


def _states(block: IntColumn, model: ModelSpec, engine: ResolvedEngine) -> Any:
    """States that a request keeps in each layer: one, two with prefix caching, and one per speculative token."""
    if engine.version < MAMBA_ALIGN_SINCE and not keeps_state_per_block(model, engine.version):
        return 1
    speculation = engine.speculation
    drafts = speculation.num_tokens if speculation is not None and engine.version >= MAMBA_ALIGN_SINCE else 0
    if keeps_state_per_block(model, engine.version):
        cached = -(-engine.max_model_len // block)
    else:
        is_mamba2 = any(mixer.version == 2 for mixer in model.mixers(Mamba))
        is_delta = any(not mixer.is_kimi for mixer in model.mixers(DeltaNet))
        more = (is_mamba2 and engine.version >= MAMBA2_CHECKPOINT_SINCE) or (
            is_delta and engine.version >= DELTA_CHECKPOINT_SINCE
        )
        cached = 2 + more + drafts
    return columns.where(engine.enable_prefix_caching, cached, 1 + drafts)


def _least(values: Sequence[IntColumn]) -> IntColumn:
    least: Any = values[0]
    for value in values[1:]:
        least = columns.minimum(least, value)
    found: IntColumn = least
    return found

"""Memory outside torch's allocator: non-torch memory, the CUDA context, CUDA graphs. Figures are from real starts."""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn, IntColumn
from planner.engine import (
    CONTEXT_IN_BUDGET_UNTIL,
    FULL_GRAPHS_SINCE,
    GRAPHS_FOLLOW_DRAFTS_SINCE,
    LORA_GRAPHS_SINCE,
    MORE_OUTSIDE_TORCH_SINCE,
    SNAPSHOT_AFTER_NCCL_SINCE,
    ResolvedEngine,
)
from planner.estimate.memory.graph_sizes import (
    decoded_at_once,
    listed_up_to,
    num_listed,
    num_rounded_sizes,
    tokens_of_full_batch,
)
from planner.estimate.memory.host_memory import pinned_bytes
from planner.hardware import Placement
from planner.model import ModelSpec
from planner.units import GIB, MIB

# Non-torch memory of rank 0 since the first snapshot, from real starts. One process: lazily loaded kernels, up to
# 0.16 GiB. NCCL over PCIe adds little, over NVLink much (buffers per peer), unless the snapshot comes after NCCL.
_ALONE_BYTES = 0.05 * GIB
_ALONE_ON_HOPPER_LATER_BYTES = 0.22 * GIB
_ALONE_ON_HOPPER_BYTES = 0.16 * GIB
_PCIE_BYTES = 0.20 * GIB
_NVLINK_BYTES = {2: 1.82 * GIB, 4: 2.91 * GIB, 8: 2.35 * GIB}
_NVLINK_OTHER_RANKS_BYTES = {2: 1.57 * GIB, 4: 2.13 * GIB}
"""Non-torch memory of ranks other than 0, which hold less of NCCL's buffers."""
_AFTER_NCCL_BYTES = {"pcie": 0.10 * GIB, "nvlink": 0.55 * GIB}
HOST_BYTES = 2.0 * GIB
"""What the host's processes take between the engine's two snapshots, where the card's memory is the host's: free memory
is then the host's available memory (vllm@0.24.0 utils/mem_utils.py:MemorySnapshot.measure), so kernels, compilers and
pinned buffers count. Median of nine starts on GB10 of 0.18 to 0.25 with up to 8192 tokens a step: 1.2 to 3.7 GiB; two
starts of the same settings were 3.4 GiB apart."""
CONTEXT_BYTES = 0.30 * GIB
"""CUDA context of one process; only V1 of 0.8 subtracts it from the budget, elsewhere it must fit outside."""


_CONTEXT_ON_HOPPER_BYTES = 0.50 * GIB
_NCCL_BEFORE_SNAPSHOT_BYTES = 1.00 * GIB
"""NVLink buffers allocated before the first snapshot since 0.11: 138.3 GiB free at it on 2 or 4 H200, 139.3 on one."""


def context_in_budget(engine: ResolvedEngine) -> bool:
    """Whether the engine subtracts the CUDA context from its budget (V1 of 0.8 only)."""
    return engine.generation == "V1" and engine.version < CONTEXT_IN_BUDGET_UNTIL


def context_bytes(placement: Placement, engine: ResolvedEngine) -> float:
    """Bytes on the card before the engine's first snapshot: other processes', the CUDA context, NCCL's since 0.11."""
    context = _CONTEXT_ON_HOPPER_BYTES if placement.gpu.compute_capability >= (9, 0) else CONTEXT_BYTES
    if engine.world_size > 1 and placement.bridged(engine.world_size) and engine.version >= SNAPSHOT_AFTER_NCCL_SINCE:
        context += _NCCL_BEFORE_SNAPSHOT_BYTES
    return context + placement.used_bytes


def non_torch_bytes(
    model: ModelSpec, placement: Placement, engine: ResolvedEngine, is_rank_0: bool = True
) -> FloatColumn:
    """Bytes that a rank's process takes outside torch after the engine's first snapshot."""
    outside = _process_bytes(placement, engine, is_rank_0)
    if placement.gpu.shares_host_memory:
        outside = outside + pinned_bytes(model, engine)
    return outside


def _process_bytes(placement: Placement, engine: ResolvedEngine, is_rank_0: bool) -> FloatColumn:
    context = CONTEXT_BYTES + placement.used_bytes if context_in_budget(engine) else 0.0
    if placement.gpu.shares_host_memory and engine.generation == "V1":
        context += HOST_BYTES
    if engine.world_size == 1:
        on_hopper = placement.gpu.compute_capability >= (9, 0)
        if engine.version >= MORE_OUTSIDE_TORCH_SINCE and on_hopper:
            return context + _ALONE_ON_HOPPER_LATER_BYTES
        return context + (_ALONE_ON_HOPPER_BYTES if on_hopper else _ALONE_BYTES)
    bridged = placement.bridged(engine.world_size)
    if engine.version >= SNAPSHOT_AFTER_NCCL_SINCE:
        return context + _AFTER_NCCL_BYTES["nvlink" if bridged else "pcie"]
    if not bridged:
        return context + _PCIE_BYTES
    most = _NVLINK_BYTES.get(engine.world_size, 2.91 * GIB)
    return context + (most if is_rank_0 else _NVLINK_OTHER_RANKS_BYTES.get(engine.world_size, most))


def largest_graph_tokens(engine: ResolvedEngine, model: ModelSpec | None = None) -> IntColumn:
    """Largest batch in tokens that V1 captures a graph for; max_cudagraph_capture_size sets another one if `model`.

    Source: vllm@0.8.5 config.py:_set_cudagraph_sizes; vllm@0.11.2 config/vllm.py:_set_cudagraph_sizes;
    models/config.py:GptOssForCausalLMConfig.
    """
    if engine.compilation.sizes is not None:
        return listed_up_to(engine)
    largest: IntColumn = LARGEST_GRAPH_TOKENS
    asked = engine.max_cudagraph_capture_size if model is not None else None
    if engine.graphs_follow_max_num_seqs and asked is not None:
        largest = asked
    elif model is not None and model.model_type == "gpt_oss" and engine.graphs_follow_max_num_seqs:
        largest = LARGEST_GPT_OSS_GRAPH_TOKENS
    elif engine.graphs_follow_max_num_seqs:
        largest = columns.minimum(2 * tokens_of_full_batch(engine), largest)
    fits: IntColumn = columns.minimum(largest, engine.max_num_batched_tokens)
    return fits


def num_cuda_graphs(engine: ResolvedEngine) -> IntColumn:
    """Number of CUDA graphs that the engine captures; 0 with enforce_eager.

    V0 captures one for each batch size up to max_num_seqs, V1 one for each up to `largest_graph_tokens`. Since 0.11
    these are piecewise graphs for mixed batches, and full graphs for decoding up to max_num_seqs come on top; with LoRA
    each is captured with and without adapters.
    """
    piecewise, full = captured_sizes(engine)
    counts: IntColumn = piecewise + full
    return counts


def captured_sizes(engine: ResolvedEngine, model: ModelSpec | None = None) -> tuple[IntColumn, IntColumn]:
    """Number of piecewise graphs (in V0 of all), and of full graphs; `FULL` captures every batch as a full one."""
    piecewise: Any
    full: Any
    if engine.generation == "V0":
        listed = engine.compilation.sizes is not None
        piecewise, full = num_listed(engine, engine.max_num_seqs) if listed else _num_sizes(engine.max_num_seqs), 0
    else:
        piecewise, full = _sizes_of_v1(engine, model)
        if engine.graphs == "FULL":
            piecewise, full = 0, piecewise
        elif engine.graphs is not None:
            piecewise = piecewise if engine.graphs in {"PIECEWISE", "FULL_AND_PIECEWISE"} else 0
            full = full if engine.graphs in {"FULL_DECODE_ONLY", "FULL_AND_PIECEWISE"} else 0
        if engine.lora is not None and engine.version >= LORA_GRAPHS_SINCE:
            piecewise, full = 2 * piecewise, 2 * full
    return columns.where(engine.has_graphs, piecewise, 0), columns.where(engine.has_graphs, full, 0)


def _sizes_of_v1(engine: ResolvedEngine, model: ModelSpec | None) -> tuple[Any, Any]:
    """Number of batches with piecewise graphs, and of those with full graphs for decoding, by default."""
    seqs, at_once, full = engine.max_num_seqs, decoded_at_once(engine), 0
    largest: Any = largest_graph_tokens(engine, model)
    if engine.compilation.sizes is not None:
        has_full = engine.version >= FULL_GRAPHS_SINCE
        return num_listed(engine, largest), num_listed(engine, seqs * at_once) if has_full else 0
    if engine.graphs_follow_max_num_seqs and engine.max_cudagraph_capture_size is not None:
        largest = columns.minimum(engine.max_cudagraph_capture_size, engine.max_num_batched_tokens)
    piecewise = _num_sizes(largest)
    if engine.version >= FULL_GRAPHS_SINCE:
        full = _num_sizes(columns.minimum(seqs, largest))
        if at_once > 1:
            full = num_rounded_sizes(engine, at_once, columns.minimum(seqs * at_once, largest))
            if engine.version >= GRAPHS_FOLLOW_DRAFTS_SINCE:
                piecewise = num_rounded_sizes(engine, 1, largest)
    return piecewise, full


def _num_sizes(largest: Any) -> Any:
    """Number of captured sizes up to `largest`: 1, 2, 4, multiples of 8 up to 256, multiples of 16 beyond."""
    small = columns.minimum(columns.ceil(columns.log2(columns.maximum(largest, 1))), 2) + 1
    middle = columns.ceil(columns.clip(largest - 4, 0, 252) / 8)
    return small + middle + columns.ceil(columns.maximum(largest - 256, 0) / 16)


LARGEST_GRAPH_TOKENS, LARGEST_GPT_OSS_GRAPH_TOKENS = 512, 1024
"""Largest captured batches, in tokens; gpt-oss has its own, whatever max_num_seqs is."""
GRAPH_BYTES_PER_LAYER = {"V0": 0.2 * MIB, "V1": 0.22 * MIB}
"""Bytes of one graph per layer, from real starts: 0.26 GiB for 35 graphs of 36 layers (V0), 0.15-1.01 GiB (V1)."""
NCCL_GRAPH_BYTES = {"V0": 23 * MIB, "V1": 11 * MIB}
"""Additional bytes of each graph that holds NCCL all-reduces; custom all-reduce needs none."""


def nccl_graph_bytes(placement: Placement, engine: ResolvedEngine) -> FloatColumn:
    """Bytes that NCCL's all-reduces add to each graph; 0 where the custom all-reduce serves.

    Without NVLink it is off above two ranks; V0 was seen with NCCL's share on two ranks as well. With
    disable_custom_all_reduce a start of Qwen3-8B on two H200 took 0.55 GiB for 30 graphs (0.24.0), about 0.2 without.
    """
    ranks, share = engine.tensor_parallel_size, NCCL_GRAPH_BYTES[engine.generation]
    if ranks > (1 if engine.generation == "V0" else 2) and not placement.bridged(ranks):
        return share
    return columns.where(engine.disable_custom_all_reduce, share, 0) if ranks > 1 else 0


def graph_bytes(model: ModelSpec, placement: Placement, engine: ResolvedEngine) -> FloatColumn:
    """Bytes of the CUDA graphs: a share per graph and layer, on V0 also the paged-attention scratch of a batch."""
    graphs = num_cuda_graphs(engine)
    layers = model.num_hidden_layers / engine.pipeline_parallel_size
    per_graph: FloatColumn = layers * GRAPH_BYTES_PER_LAYER[engine.generation]
    if engine.generation == "V0":
        per_graph = per_graph / columns.sqrt(engine.tensor_parallel_size)
    per_graph = per_graph + nccl_graph_bytes(placement, engine)
    scratch: Any = 0
    if engine.generation == "V0":
        heads = model.num_attention_heads // engine.tensor_parallel_size
        partitions = columns.ceil(engine.max_seq_len_to_capture / 512)
        scratch = engine.max_num_seqs * heads * partitions * model.head_dim * 2
    return columns.where(graphs > 0, graphs * per_graph + scratch, 0.0)

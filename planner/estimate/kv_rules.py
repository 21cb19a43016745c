"""Rules of the KV cache's blocks: what is lacking for one request, for V0's watermark, for the states of a batch.

In: a deployment, one candidate or arrays. Out: an excess as in `rules.py`, and the words of vLLM's refusals.
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.engine import MAMBA_BLOCKS_CHECKED_SINCE, WHOLE_MODEL_CHECKED
from planner.estimate.deployment import Deployment
from planner.estimate.memory.per_gpu import WATERMARK_FRACTION
from planner.units import format_gib


def no_blocks(d: Deployment) -> Any:
    return 1 - d.memory.num_blocks


def lacks_one_request(d: Deployment) -> Any:
    if not columns.is_array(d.memory.kv_block_bytes) and not d.memory.kv_block_bytes:
        return 0  # encoders keep no KV cache
    if d.engine.generation == "V1":
        return d.memory.request_blocks * stages_counted(d) - d.memory.num_blocks
    return d.engine.max_model_len - capacity_tokens(d)


def stages_counted(d: Deployment) -> int:
    """Number of pipeline stages whose layers V1's check counts on one rank: 1, or all in versions with a regression.

    Source: vllm@0.14.0..0.16.0 v1/core/kv_cache_utils.py:get_kv_cache_configs.
    """
    first, until = WHOLE_MODEL_CHECKED
    return d.engine.pipeline_parallel_size if first <= d.engine.version < until else 1


def capacity_tokens(d: Deployment) -> Any:
    return d.memory.num_blocks // d.engine.pipeline_parallel_size * d.engine.block_size


def under_watermark(d: Deployment) -> Any:
    """Blocks that a full-length prompt lacks: V0 admits a prompt only into 99 % of the blocks (A2.9)."""
    is_kept = columns.is_array(d.memory.kv_block_bytes) or d.memory.kv_block_bytes
    if d.engine.generation != "V0" or not is_kept:
        return 0
    needed = columns.ceil(d.engine.max_model_len / d.engine.block_size)
    return needed - columns.floor((1 - WATERMARK_FRACTION) * d.memory.num_blocks)


def capacity_message(d: Deployment) -> str:
    length, stored = d.engine.max_model_len, capacity_tokens(d)
    if d.engine.generation == "V0":
        return (
            f"The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in "
            f"KV cache ({stored}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`"
        )
    needed = float(d.memory.request_blocks) * float(d.memory.kv_block_bytes) * stages_counted(d)
    return (
        f"To serve at least one request with the models's max seq len ({length}), ({format_gib(needed)} KV cache is "
        f"needed, which is larger than the available KV cache memory ({format_gib(d.memory.kv_cache_bytes)})."
    )


def states_without_block(d: Deployment) -> Any:
    """Sequences without a block for their state: each takes one while CUDA graphs of decoding are captured.

    Source: vllm@0.20.0..0.33.0 config/compilation.py:resolve_cudagraph_mode_and_sizes. 0.19 captures fewer graphs.
    """
    if not d.memory.has_states or d.gpu.is_cpu or d.engine.version < MAMBA_BLOCKS_CHECKED_SINCE:
        return 0
    if d.engine.graphs == "PIECEWISE":
        return 0
    return columns.where(d.engine.has_graphs, d.engine.max_num_seqs - d.memory.num_blocks, 0)

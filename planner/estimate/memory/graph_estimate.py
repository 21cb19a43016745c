"""What the first runner subtracts from the budget for CUDA graphs before it captures them, in bytes.

Since 0.20 it captures the two largest graphs of each kind and extrapolates: the larger of the two first captures, and
one further graph's bytes times the number of the others. Formulas over arrays of candidates.

Source: vllm@0.24.0 v1/worker/gpu_model_runner.py:profile_cudagraph_memory, the same rule in 0.20.0 and 0.22.0. The
figures are from the debug lines of eleven starts of 0.24 on H200, of nine models.
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import GRAPHS_IN_BUDGET_SINCE, SECOND_RUNNER_GRAPHS_SINCE, ResolvedEngine
from planner.estimate.memory.activations import cublas_bytes
from planner.estimate.memory.graph_sizes import decoded_at_once
from planner.estimate.memory.live_sets import layer_bytes
from planner.estimate.memory.overheads import captured_sizes, largest_graph_tokens, nccl_graph_bytes
from planner.estimate.memory.runners import uses_second_runner
from planner.hardware import Placement
from planner.model import Attention, ModelSpec
from planner.units import MIB

PIECEWISE_BYTES_PER_LAYER = 0.125 * MIB
"""Bytes of one further piecewise graph per layer, before rounding: 4 MiB were logged for 24 to 36 layers, 6 for 40 and
48, 4 and 8 for Nemotron's layers, which only mix or only feed forward."""
FULL_BYTES_PER_LAYER = 0.04 * MIB
"""Bytes of one further full graph per layer, before rounding: 2 MiB were logged for 30 to 52 layers, less for 24, 28
and 56."""
DRIVER_STEP_BYTES = 2 * MIB
"""What the driver gives out at once."""
LEAST_GRAPH_BYTES = 1 * MIB
"""What the engine counts for a further graph at least."""
FIRST_SEGMENT_BYTES = 22 * MIB
"""A segment for large tensors and one for small, which the first capture takes at least."""
MOST_SPLITS = 32
"""Parts that FlashAttention 3 splits a sequence into while graphs are captured, each with an fp32 output
(flash_attn_max_num_splits_for_cuda_graph)."""
MOST_SPLIT_ROWS = 512
"""Rows up to which it does so: exact in eight starts with 64 to 256 sequences; absent in one with 1024."""


def charges_graphs(model: ModelSpec, engine: ResolvedEngine) -> bool:
    """Whether the engine subtracts its own estimate of the CUDA graphs from the budget."""
    return engine.version >= GRAPHS_IN_BUDGET_SINCE and (
        not uses_second_runner(model, engine) or engine.version >= SECOND_RUNNER_GRAPHS_SINCE
    )


def estimated_graph_bytes(model: ModelSpec, placement: Placement, engine: ResolvedEngine) -> FloatColumn:
    """The first runner's own estimate of its CUDA graphs; 0 with enforce_eager."""
    piecewise, full = captured_sizes(engine, model)
    layers = model.num_hidden_layers / engine.pipeline_parallel_size
    nccl = nccl_graph_bytes(placement, engine)
    further_piecewise = _further_bytes(layers * PIECEWISE_BYTES_PER_LAYER) + nccl
    further_full = _further_bytes(layers * FULL_BYTES_PER_LAYER) + nccl
    first = layer_bytes(model, engine, largest_graph_tokens(engine, model)) + further_piecewise
    first = first + FIRST_SEGMENT_BYTES + cublas_bytes(placement.gpu)
    shared = columns.maximum(first, _split_bytes(model, placement, engine))
    further = further_piecewise * columns.maximum(piecewise - 1, 0) + further_full * columns.maximum(full - 1, 0)
    return columns.where(piecewise + full > 0, shared + further, 0.0)


def _further_bytes(bytes_of_graph: float) -> float:
    """What one more graph takes of the driver, on average, and at least what the engine counts."""
    return max(LEAST_GRAPH_BYTES, int(bytes_of_graph / DRIVER_STEP_BYTES + 0.5) * DRIVER_STEP_BYTES)


def _split_bytes(model: ModelSpec, placement: Placement, engine: ResolvedEngine) -> Any:
    """Bytes of the split outputs of the largest decoding batch; only FlashAttention 3 has them."""
    if placement.gpu.compute_capability[0] != 9 or engine.attention_backend not in {"FLASH_ATTN", "FLASH_ATTN_VLLM_V1"}:
        return 0.0
    rows = columns.minimum(engine.max_num_seqs * decoded_at_once(engine), largest_graph_tokens(engine, model))
    mixers = [mixer for mixer in model.mixers(Attention) if mixer.head_dim <= MOST_HEAD_DIM]
    width = max((mixer.num_heads * mixer.head_dim for mixer in mixers), default=0) // engine.tensor_parallel_size
    return columns.where(rows <= MOST_SPLIT_ROWS, 4.0 * MOST_SPLITS * rows * width, 0.0)


MOST_HEAD_DIM = 256
"""Widest head that FlashAttention takes."""

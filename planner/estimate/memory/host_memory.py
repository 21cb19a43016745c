"""Pinned host memory that grows with the batch, where it is the card's own: `pinned_bytes(model, engine)`.

On a card that shares the host's memory (GB10, Thor) it is taken from the card's free memory, so it counts as non-torch
memory. Formulas over arrays of candidates; what does not grow with the batch is overheads.HOST_BYTES.
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import ResolvedEngine
from planner.estimate.memory.image_encoder import is_counted, pixels_bytes, profiled_items
from planner.estimate.memory.runners import uses_second_runner
from planner.model import DTYPE_BYTES, ModelSpec


def pinned_bytes(model: ModelSpec, engine: ResolvedEngine) -> FloatColumn:
    """Bytes that the first model runner pins for max_num_batched_tokens, and for the items of its profile run.

    It keeps the embeddings of a whole batch on the host too, and joins the pixels of several items there before it
    copies them. torch rounds pinned memory up to a power of two and keeps it. Source: vllm@0.24.0
    v1/worker/gpu_model_runner.py (inputs_embeds, _get_mm_dummy_batch), v1/utils.py:CpuGpuBuffer; vllm@0.32
    multimodal/inputs.py:MultiModalFlatField; torch aten/src/ATen/core/CachingHostAllocator.h.
    """
    if engine.generation != "V1" or uses_second_runner(model, engine):
        return 0.0
    embeddings = engine.max_num_batched_tokens * model.hidden_size * DTYPE_BYTES[engine.dtype]
    pinned: Any = _power_of_two(embeddings)
    if model.vision is not None and is_counted(model.vision, engine):
        items, _ = profiled_items(model.vision, engine)
        pinned = pinned + columns.where(items > 1, _power_of_two(pixels_bytes(model.vision, engine)), 0)
    return pinned


def _power_of_two(num_bytes: Any) -> Any:
    """The bytes rounded up to a power of two; they must be positive."""
    return 2 ** columns.ceil(columns.log2(num_bytes))

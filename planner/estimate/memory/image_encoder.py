"""Memory of the profile run's largest images, in bytes: `encoder_bytes(model, engine) -> (peak, kept)`.

The engine profiles with items of the largest size that the processor allows, so a long context can cost gigabytes that
no text request ever uses. Formulas over arrays of candidates.

Source: vllm@0.12.0 v1/worker/gpu_model_runner.py:profile_run, v1/core/encoder_cache_manager.py:
compute_mm_encoder_budget, models/qwen2_vl.py, models/qwen3_vl.py; vllm@0.8.5 worker/model_runner.py:profile_run.
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.engine import (
    FUSED_ROTARY_SINCE,
    IMAGE_FITS_CONTEXT_UNTIL,
    TIMESTAMPED_VIDEO,
    VIDEO_ALONE_SINCE,
    ResolvedEngine,
)
from planner.model import DTYPE_BYTES, ModelSpec, VisionTower

_QWEN3_VIDEO_TOKENS = 12288
"""Tokens at the longest_edge of Qwen3-VL's video processor: 24576 x 32 x 32 pixels, one token per two frames."""
_TIMESTAMP_FACTOR = 12.5
"""Times the profile counts every video token if videos are timestamped; it keeps an embedding for each."""
_WHOLE_WIDTHS = 2
"""Number of the patches' hidden states that every rank holds whole: the residual and the normed input."""
_ROTARY_WIDTHS, _FUSED_ROTARY_WIDTHS = 32, 15
"""Part of a layer's live set that is split over the ranks, in hidden states. Qwen's towers rotate queries and keys in
fp32, since 0.11 in a fused kernel. Rough: from one to three starts each."""
_PLAIN_WIDTHS = 12
"""Live set of other towers, in hidden states; whole on every rank (one start of Gemma 3)."""


def encoder_bytes(model: ModelSpec, engine: ResolvedEngine) -> tuple[Any, Any]:
    """(peak, kept) in bytes on a rank: the tower's widest layer, and the embeddings kept while the text model runs."""
    tower, itemsize = model.vision, DTYPE_BYTES[engine.dtype]
    if tower is None:
        return 0.0, 0.0
    item_tokens = _item_tokens(tower, engine)
    items = columns.maximum(engine.max_num_batched_tokens // item_tokens, 1)
    if engine.generation == "V0":
        items = columns.minimum(items, engine.max_num_seqs)
    tokens = items * item_tokens
    widths: float = _PLAIN_WIDTHS
    if tower.video_frames:
        cut = _FUSED_ROTARY_WIDTHS if engine.version >= FUSED_ROTARY_SINCE else _ROTARY_WIDTHS
        widths = _WHOLE_WIDTHS + cut / engine.tensor_parallel_size
    peak = tokens * tower.merged_patches * tower.hidden_size * itemsize * widths
    width = model.hidden_size * (1 + tower.deepstack_levels) * itemsize
    first, until = TIMESTAMPED_VIDEO
    if tower.deepstack_levels and first <= engine.version < until:
        return peak, (_TIMESTAMP_FACTOR + 1) * _QWEN3_VIDEO_TOKENS * width
    return peak, tokens * width


def _item_tokens(tower: VisionTower, engine: ResolvedEngine) -> Any:
    """Tokens of the profile's item: V1 uses the larger of image and video, V0 always an image."""
    image, length = tower.item_patches // tower.merged_patches, engine.max_model_len
    if engine.version < IMAGE_FITS_CONTEXT_UNTIL:
        return columns.minimum(image, length)
    if not tower.video_frames or engine.generation == "V0":
        return image
    left = length - (image if engine.version < VIDEO_ALONE_SINCE else 0)
    return image * columns.clip(left // image, 1, tower.video_frames // 2)  # a token covers two frames

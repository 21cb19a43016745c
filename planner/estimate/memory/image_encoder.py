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
    GEMMA4_CHUNKS_SINCE,
    IMAGE_FITS_CONTEXT_UNTIL,
    TIMESTAMPED_VIDEO,
    VIDEO_ALONE_SINCE,
    ResolvedEngine,
)
from planner.hardware import GpuSpec
from planner.model import DTYPE_BYTES, ModelSpec, VisionTower

_QWEN3_VIDEO_TOKENS = 12288
"""Tokens at the longest_edge of Qwen3-VL's video processor: 24576 x 32 x 32 pixels, one token per two frames."""
_TIMESTAMP_FACTOR = 12.5
"""Times the profile counts every video token if videos are timestamped; it keeps an embedding for each."""
_WHOLE_WIDTHS, _ROTARY_WIDTHS = 2, 32
"""Live set of Qwen's towers before 0.11, in hidden states of all patches: held whole by every rank, and split over the
ranks. They rotated queries and keys in fp32. Rough: from one to three starts."""
_PLAIN_WIDTHS = 12
"""Live set of other towers, in hidden states; whole on every rank (one start of Gemma 3)."""


def encoder_bytes(model: ModelSpec, engine: ResolvedEngine) -> tuple[Any, Any]:
    """(peak, kept) in bytes on a rank: the tower's widest layer, and the embeddings kept while the text model runs."""
    tower, itemsize = model.vision, DTYPE_BYTES[engine.dtype]
    if tower is None:
        return 0.0, 0.0
    items, item_tokens = profiled_items(tower, engine)
    tokens = items * item_tokens
    patches = tokens * tower.merged_patches
    width = model.hidden_size * (1 + tower.deepstack_levels) * itemsize
    if is_counted(tower, engine):
        peak = patches * _values_per_patch(tower, engine.tensor_parallel_size) * itemsize
        peak = peak + tokens * (width - model.hidden_size * itemsize)  # features for the first layers wait for the last
    else:
        widths: float = _PLAIN_WIDTHS
        if tower.video_frames:
            widths = _WHOLE_WIDTHS + _ROTARY_WIDTHS / engine.tensor_parallel_size
        peak = patches * tower.hidden_size * itemsize * widths
    first, until = TIMESTAMPED_VIDEO
    if tower.deepstack_levels and first <= engine.version < until:
        return peak, (_TIMESTAMP_FACTOR + 1) * _QWEN3_VIDEO_TOKENS * width
    return peak, tokens * width


def profiled_items(tower: VisionTower, engine: ResolvedEngine) -> tuple[Any, Any]:
    """Number of items of the largest size that the profile run encodes at once, and the tokens of one."""
    item_tokens = _item_tokens(tower, engine)
    items = columns.maximum(engine.max_num_batched_tokens // item_tokens, 1)
    if engine.generation == "V0":
        items = columns.minimum(items, engine.max_num_seqs)
    return items, item_tokens


def pixels_bytes(tower: VisionTower, engine: ResolvedEngine) -> Any:
    """Bytes of the pixels of all items that the profile run encodes, as one of Qwen's towers reads them."""
    items, item_tokens = profiled_items(tower, engine)
    per_patch = _COLOURS * _FRAMES_PER_PATCH * tower.patch_size**2
    return items * item_tokens * tower.merged_patches * per_patch * DTYPE_BYTES[engine.dtype]


def position_rows_bytes(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine) -> float:
    """Bytes that Gemma 4's tower takes at most to look up where patches lie; 0 for other towers.

    Releases of transformers differ: some make one-hot rows of every position, of 8 bytes and again of 2, others look
    them up. A video of the profile has 32 frames of 630 patches; since 0.22 vLLM takes as many frames at once as fit a
    tenth of the card (models/gemma4_mm.py:_encoder_chunk). 3.90 GiB in a start on B300; two starts of the same settings
    on GB10 were 3.4 GiB apart.
    """
    if model.vision is None or model.model_type != "gemma4":
        return 0.0
    per_frame = _GEMMA4_FRAME_PATCHES * 2 * _GEMMA4_POSITIONS
    frames = _GEMMA4_FRAMES
    if engine.version >= GEMMA4_CHUNKS_SINCE:
        frames = max(1, min(frames, int(gpu.memory_bytes / 10 / (2 * 8 * per_frame))))
    return float(frames * per_frame * (8 + 2))


_GEMMA4_FRAMES, _GEMMA4_FRAME_PATCHES, _GEMMA4_POSITIONS = 32, 630, 10240


def is_counted(tower: VisionTower, engine: ResolvedEngine) -> bool:
    """Whether the tower's live set is counted tensor by tensor, not taken from a few starts."""
    return tower.video_frames > 0 and engine.version >= FUSED_ROTARY_SINCE


_FRAMES_PER_PATCH, _COLOURS = 2, 3
_HEADS = 16
"""Heads of every tower of Qwen; the rotary tables hold a sine and a cosine per two values of one."""


def _values_per_patch(tower: VisionTower, ranks: int) -> float:
    """Values alive per patch in one of Qwen's towers, at the attention or at the MLP, whichever holds more.

    Whole on every rank: the pixels, the positions, the layer's input, its norm and its output; Qwen2.5-VL's fused norm
    keeps two more. Split: the fused projection (3), its queries and keys before and after the rotation (4) and the
    attention's output (1); or the MLP's projections. Source: vllm@0.24.0 models/qwen2_5_vl.py:Qwen2_5_VisionAttention
    and Qwen2_5_VisionBlock, models/qwen3_vl.py; 0.1 % off in six starts of 0.24 of three models, 0.6 % in a seventh.
    """
    hidden, inner = tower.hidden_size, tower.intermediate_size
    pixels = _COLOURS * _FRAMES_PER_PATCH * tower.patch_size**2
    whole = pixels + hidden / _HEADS + hidden * (3 + tower.has_positions)
    attention = whole + 8 * hidden / ranks
    mlp = whole + (2 * hidden + 3 * inner / ranks if tower.is_gated else 2 * inner / ranks)
    return max(attention, mlp)


def _item_tokens(tower: VisionTower, engine: ResolvedEngine) -> Any:
    """Tokens of the profile's item: V1 uses the larger of image and video, V0 always an image."""
    image, length = tower.item_patches // tower.merged_patches, engine.max_model_len
    if engine.version < IMAGE_FITS_CONTEXT_UNTIL:
        return columns.minimum(image, length)
    if not tower.video_frames or engine.generation == "V0":
        return image
    left = length - (image if engine.version < VIDEO_ALONE_SINCE else 0)
    return image * columns.clip(left // image, 1, tower.video_frames // 2)  # a token covers two frames

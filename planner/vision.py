"""Vision towers: their weights, and what the profile run's largest images take: `VisionTower`, `encoder_bytes(...)`.

In: config.json's `vision_config`, or what is known of the family. The profile feeds items of the largest size a
processor lets through, so a context of 32k can cost gigabytes that no text request ever uses. Formulas over arrays.

Source: vllm@0.12.0 v1/worker/gpu_model_runner.py:profile_run, v1/core/encoder_cache_manager.py:
compute_mm_encoder_budget, models/qwen2_vl.py, models/qwen3_vl.py; vllm@0.8.5 worker/model_runner.py:profile_run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from packaging.version import Version

from planner.units import MIB

if TYPE_CHECKING:
    from planner.defaults import ResolvedEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionTower:
    hidden_size: int
    depth: int
    intermediate_size: int
    is_gated: bool
    patch_size: int
    merged_patches: int
    """Patches that become one token."""
    item_patches: int
    """Patches of the largest image that the processor lets through."""
    deepstack_levels: int = 0
    """Layers whose features are handed to the language model besides the last (Qwen3-VL)."""
    video_frames: int = 0
    """Most frames of the video in the profile run, each as large as the largest image; 0: takes no video."""


_QWEN2 = VisionTower(
    hidden_size=1280, depth=32, intermediate_size=5120, is_gated=False, patch_size=14,
    merged_patches=4, item_patches=65536, video_frames=16,
)  # fmt: skip
_SIGLIP = VisionTower(
    hidden_size=1152, depth=27, intermediate_size=4304, is_gated=False, patch_size=14, merged_patches=16,
    item_patches=4096,
)  # fmt: skip
_PIXTRAL = VisionTower(
    hidden_size=1024, depth=24, intermediate_size=4096, is_gated=True, patch_size=14, merged_patches=4,
    item_patches=12100,
)  # fmt: skip
_QWEN3 = replace(  # its processor bounds a whole video, below the largest image: as if of two frames
    _QWEN2, hidden_size=1152, depth=27, intermediate_size=4304, patch_size=16, deepstack_levels=3, video_frames=2
)
_CLIP = replace(_PIXTRAL, is_gated=False, merged_patches=1, item_patches=576)
FAMILIES: dict[str, VisionTower] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": replace(_QWEN2, intermediate_size=3420, is_gated=True),
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "qwen3_5": replace(_QWEN3, deepstack_levels=0),
    "qwen3_5_moe": replace(_QWEN3, deepstack_levels=0),
    "gemma3": _SIGLIP,
    "mistral3": _PIXTRAL,
    "llava": _CLIP,
}
"""What a family's processor and tower are where config.json leaves them out (preprocessor_config.json as published)."""

_QWEN3_VIDEO_TOKENS = 12288
"""longest_edge of Qwen3-VL's video processor, 24576 x 32 x 32 pixels of two frames a token."""
_TIMESTAMPED_VERSIONS = (Version("0.11.0"), Version("0.13.0"))
_TIMESTAMP_FACTOR = 12.5
"""There every video token was counted as 12.5, and the profile kept an embedding for each (get_max_video_tokens)."""
_WHOLE_WIDTHS = 2
"""Hidden states of the patches that every rank holds whole: the residual and the normed input."""
_ROTARY_WIDTHS, _FUSED_ROTARY_WIDTHS = 32, 15
"""What is cut over the ranks of a layer's live set. Qwen's towers turn queries and keys in fp32, since 0.11 in a fused
kernel. Rough: from one to three starts each."""
_PLAIN_WIDTHS = 12
"""Live set of other towers, whole on every rank (one start of Gemma 3)."""
_FUSED_ROTARY_SINCE = Version("0.11.0")
_IMAGE_FITS_CONTEXT_UNTIL = Version("0.7.0")
"""Before, an image larger than the context was refused, so it had been made smaller (mm_processor_kwargs)."""
_VIDEO_ALONE_SINCE = Version("0.10.0")
"""Since when the profile's video may fill the whole context; before, what one image leaves of it."""


def vision_tower(config: Mapping[str, Any], model_type: str) -> VisionTower | None:
    """The tower of a config.json; None where its family is not known, whose values `vision_config` may leave out."""
    known = FAMILIES.get(model_type)
    named = config.get("vision_config")
    if known is None or not isinstance(named, Mapping):
        return known
    patch = _whole(named.get("patch_size") or named.get("spatial_patch_size"), known.patch_size)
    tower = replace(
        known,
        hidden_size=_whole(named.get("embed_dim") or named.get("hidden_size"), known.hidden_size),
        depth=_whole(named.get("depth") or named.get("num_hidden_layers"), known.depth),
        patch_size=patch,
    )
    width = named.get("intermediate_size") or tower.hidden_size * known.intermediate_size // known.hidden_size
    tower = replace(tower, intermediate_size=_whole(width, known.intermediate_size))
    levels = named.get("deepstack_visual_indexes")
    if isinstance(levels, list):
        tower = replace(tower, deepstack_levels=len(levels))
    if isinstance(size := named.get("image_size"), int) and not tower.video_frames:
        tower = replace(tower, item_patches=(size // patch) ** 2)
    return tower


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def tower_bytes(tower: VisionTower, text_hidden_size: int, itemsize: int) -> int:
    """Weights of the whole tower: layers, patch embedding, the merger to the language model's width."""
    hidden, inner = tower.hidden_size, tower.intermediate_size
    layer = 4 * hidden**2 + (3 if tower.is_gated else 2) * hidden * inner
    embedding = 3 * tower.patch_size**2 * hidden * (2 if tower.video_frames else 1)
    if tower.video_frames:
        merged = hidden * tower.merged_patches
        merger = (merged**2 + merged * text_hidden_size) * (1 + tower.deepstack_levels)
    else:
        merger = hidden * text_hidden_size + text_hidden_size**2
    return (tower.depth * layer + embedding + merger) * itemsize


def encoder_bytes(
    tower: VisionTower,
    text_hidden_size: int,
    itemsize: int,
    engine: ResolvedEngine,
) -> tuple[Any, Any]:
    """(peak, kept) in bytes: of the tower's widest layer on a rank, and of the embeddings kept for the text model."""
    item_tokens = _item_tokens(tower, engine)
    items = np.maximum(np.asarray(engine.max_num_batched_tokens) // item_tokens, 1)
    if engine.generation == "V0":
        items = np.minimum(items, engine.max_num_seqs)
    tokens = items * item_tokens
    widths: float = _PLAIN_WIDTHS
    if tower.video_frames:
        cut = _FUSED_ROTARY_WIDTHS if engine.version >= _FUSED_ROTARY_SINCE else _ROTARY_WIDTHS
        widths = _WHOLE_WIDTHS + cut / engine.tensor_parallel_size
    peak = tokens * tower.merged_patches * tower.hidden_size * itemsize * widths
    width = text_hidden_size * (1 + tower.deepstack_levels) * itemsize
    first, until = _TIMESTAMPED_VERSIONS
    if tower.deepstack_levels and first <= engine.version < until:
        return peak, (_TIMESTAMP_FACTOR + 1) * _QWEN3_VIDEO_TOKENS * width
    return peak, tokens * width


def _item_tokens(tower: VisionTower, engine: ResolvedEngine) -> Any:
    """Tokens of the profile's item: V1 takes the kind with more of them, V0 feeds the image."""
    image, length = tower.item_patches // tower.merged_patches, np.asarray(engine.max_model_len)
    if engine.version < _IMAGE_FITS_CONTEXT_UNTIL:
        return np.minimum(image, length)
    if not tower.video_frames or engine.generation == "V0":
        return np.full_like(length, image)
    left = length - (image if engine.version < _VIDEO_ALONE_SINCE else 0)
    return image * np.clip(left // image, 1, tower.video_frames // 2)  # a token covers two frames


ENLARGED_ROPE_FACTOR = 4
"""MRotaryEmbedding holds four times the positions since 0.7 (layers/rotary_embedding.py:cache_max_position_num)."""
UNKNOWN_TOWER_DOUBT_BYTES = 6144 * MIB
"""Where the tower is not known: profile runs of 1 to 6 GiB were seen."""

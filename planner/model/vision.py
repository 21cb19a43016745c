"""Vision towers: their figures, from config.json's `vision_config` or the family, and their weights.

Source: preprocessor_config.json and config.json as published; vllm@0.12.0 models/qwen2_vl.py, models/qwen3_vl.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionTower:
    hidden_size: int
    depth: int
    intermediate_size: int
    is_gated: bool
    patch_size: int
    merged_patches: int
    """Number of patches merged into one token."""
    item_patches: int
    """Number of patches in the largest image that the processor lets through."""
    deepstack_levels: int = 0
    """Number of layers besides the last whose features go to the language model (Qwen3-VL)."""
    has_plain_rope: bool = False
    """Whether the language model's rotary tables are not enlarged, in releases that know of it (Qwen3-VL, 3.5)."""
    video_frames: int = 0
    """Most frames in the profile run's video, each as large as the largest image; 0: the model takes no video."""
    has_positions: bool = False
    """Whether it adds a learned embedding of each patch's position, interpolated to the image (Qwen3-VL)."""


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
_QWEN3 = replace(  # its processor limits a whole video to less than the largest image; modelled as two frames
    _QWEN2, hidden_size=1152, depth=27, intermediate_size=4304, patch_size=16, deepstack_levels=3, video_frames=2,
    has_positions=True, has_plain_rope=True,
)  # fmt: skip
_CLIP = replace(_PIXTRAL, is_gated=False, merged_patches=1, item_patches=576)
FAMILIES: dict[str, VisionTower] = {
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": replace(_QWEN2, intermediate_size=3420, is_gated=True),
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    "qwen3_5": replace(_QWEN3, deepstack_levels=0),
    "qwen3_5_moe": replace(_QWEN3, deepstack_levels=0),
    "gemma3": _SIGLIP,
    "gemma4": replace(_SIGLIP, is_gated=True, patch_size=16, merged_patches=9, item_patches=2520),
    "mistral3": _PIXTRAL,
    "llava": _CLIP,
    "internvl": replace(_CLIP, merged_patches=4, item_patches=1024),
    "internvl_chat": replace(_CLIP, merged_patches=4, item_patches=1024),
}
"""Processor and tower of each family where config.json leaves them out (preprocessor_config.json as published)."""


def vision_tower(config: Mapping[str, Any], model_type: str) -> VisionTower | None:
    """The tower of a config.json; None if its family is not known, as `vision_config` may leave out needed values."""
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
    width = named.get("intermediate_size") or max(1, tower.hidden_size * known.intermediate_size // known.hidden_size)
    tower = replace(tower, intermediate_size=_whole(width, known.intermediate_size))
    levels = named.get("deepstack_visual_indexes")
    if isinstance(levels, list):
        tower = replace(tower, deepstack_levels=min(len(levels), tower.depth))
    if (size := _whole(named.get("image_size"), 0)) and not tower.video_frames:
        tower = replace(tower, item_patches=max(1, size // patch) ** 2)
    return tower


MOST = 1 << 20
"""Largest plausible figure of a tower; a larger one is taken for a mistake and replaced by the default."""


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST else default


ENLARGED_ROPE_FACTOR = 4
"""MRotaryEmbedding has four times the positions since vLLM 0.7 (layers/rotary_embedding.py:cache_max_position_num)."""

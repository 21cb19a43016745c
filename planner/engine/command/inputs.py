"""What flags say of the inputs besides text: the kinds that no prompt has, and the size of images that are profiled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from planner.engine.command.words import GivenFlag

INPUTS = frozenset({"image", "video", "audio"})
LIMITS = "limit_mm_per_prompt"


def left_out(given: Sequence[GivenFlag]) -> frozenset[str]:
    """Kinds of input that limit_mm_per_prompt sets to 0; all with language_model_only."""
    if any(one.flag.field == "language_model_only" and not one.is_off for one in given):
        return INPUTS
    limits = _limits(given)
    return frozenset(kind for kind in INPUTS if limits.get(kind, {}).get("count") == 0)


def image_size(given: Sequence[GivenFlag]) -> tuple[int, int] | None:
    """Width and height in pixels that limit_mm_per_prompt says of images; None if it does not say both."""
    image = _limits(given).get("image", {})
    width, height = image.get("width"), image.get("height")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    return None


def _limits(given: Sequence[GivenFlag]) -> dict[str, dict[str, Any]]:
    """Options by kind of input, of the last flag; a number is the count (vllm@0.12.0 config/multimodal.py)."""
    last = next((one for one in reversed(given) if one.flag.field == LIMITS and one.values), None)
    try:
        written = {} if last is None else json.loads(last.values[-1])
    except ValueError:
        return {}
    limits = written if isinstance(written, dict) else {}
    return {kind: limit if isinstance(limit, dict) else {"count": limit} for kind, limit in limits.items()}

"""What vLLM's flags leave of a model, and what loading it takes: `loaded_model(...)`, `loading_danger(...)`.

In: the model, the flags beside the settings, the release. Out: the model as its weights are loaded, or the sentence
that says why loading them may fail though the loaded weights fit.
"""

from __future__ import annotations

from dataclasses import replace

from packaging.version import Version

from planner.engine import TOWER_LEFT_OUT_SINCE, VllmFlags, flag
from planner.estimate.deployment import Deployment
from planner.estimate.risks import Danger
from planner.model import ModelSpec
from planner.units import format_gib

KEEPS_FREED = tuple(map(flag, ("enable_sleep_mode", "enable_cumem_allocator")))
"""Flags whose allocator gives nothing back while the weights are loaded (vllm@0.24.0 device_allocator/cumem.py:
use_memory_pool releases what was freed only when it ends)."""


def loaded_model(model: ModelSpec, flags: VllmFlags, version: Version) -> ModelSpec:
    """The model without its tower, if no prompt may have what the tower reads; with images alone, if no videos.

    Without its head if it pools. Images alone are profiled in the size that limit_mm_per_prompt says, if it is smaller
    than the largest.
    """
    if flags.traits.pools:
        model = replace(model, has_head=False)
    vision, without, size = model.vision, flags.traits.without, flags.traits.image_size
    read = {"image"} | ({"video"} if vision is not None and vision.video_frames else set())
    read |= {"audio"} if model.is_tower_rough else set()
    leaves_out = version >= TOWER_LEFT_OUT_SINCE and read <= without
    if leaves_out and model.has_vision_tower:
        return model.without_tower()
    if "video" not in without:
        return model
    return model.without_videos() if size is None else model.without_videos().with_images(*size)


def loading_danger(d: Deployment, flags: VllmFlags) -> Danger | None:
    """The danger that weights which are repacked or quantised while loading do not fit twice; None without it.

    Up to a second copy of them stays until all are loaded; what a release really keeps lies between none and all.
    """
    names = [name for doubt in flags.doubts for name in doubt.flags if name in KEEPS_FREED]
    is_repacked = d.model.quantization is not None or d.engine.quantization is not None
    weights, room = float(d.memory.fullest_weight_bytes), d.memory.total_bytes - d.memory.context_bytes
    if not names or not is_repacked or d.gpu.is_cpu or 2 * weights <= room:
        return None
    words = f"{names[0]} keeps what is freed while quantised weights are repacked: {format_gib(weights)} to"
    return Danger("weights while loading", f"{words} {format_gib(2 * weights)} on a card of {format_gib(room)}")

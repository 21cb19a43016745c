"""Bytes that torch's CUDA caching allocator counts as allocated for a sequence of tensors, none of them freed.

vLLM's `Model loading took x GiB` is torch's *allocated* counter. It counts whole blocks: a tensor of 15.6 MiB gets a
segment of 16 MiB, and a remainder of up to 1 MiB is never split off. Over 64 layers this adds 0.05-0.13 GiB that
parameter counts alone miss.

Source: pytorch c10/cuda/CUDACachingAllocator.cpp (round_size, get_allocation_size, should_split, get_free_block).
Ignores: tensors that are freed while loading, expandable segments.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from planner.units import MIB

_SMALL = 1 * MIB
_SMALL_SEGMENT = 2 * MIB
_LARGE_SEGMENT = 20 * MIB
_MIN_LARGE_SEGMENT = 10 * MIB
_ROUND_LARGE = 2 * MIB
_MIN_BLOCK = 512


def allocated_bytes(tensor_bytes: Iterable[int]) -> int:
    """Torch's allocated counter after allocating tensors of these sizes, in this order, freeing none."""
    total = 0
    free_small: list[int] = []
    free_large: list[int] = []
    for requested in tensor_bytes:
        size = max(_MIN_BLOCK, -(-requested // _MIN_BLOCK) * _MIN_BLOCK)
        is_small = size <= _SMALL
        free = free_small if is_small else free_large
        at = bisect.bisect_left(free, size)  # the smallest free block that holds it
        block = free.pop(at) if at < len(free) else _segment_bytes(size)
        rest = block - size
        if rest >= _MIN_BLOCK if is_small else rest > _SMALL:
            bisect.insort(free, rest)
            block = size
        total += block
    return total


def _segment_bytes(size: int) -> int:
    if size <= _SMALL:
        return _SMALL_SEGMENT
    if size < _MIN_LARGE_SEGMENT:
        return _LARGE_SEGMENT
    return -(-size // _ROUND_LARGE) * _ROUND_LARGE

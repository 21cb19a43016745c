"""Torch's allocated counter, worked out by hand from c10/cuda/CUDACachingAllocator.cpp."""

from __future__ import annotations

import pytest

from planner.estimate.memory.allocator import allocated_bytes
from planner.units import MIB


@pytest.mark.parametrize(
    ("tensors", "total"),
    [
        ([], 0),
        ([1], 512),
        ([512, 513], 512 + 1024),
        ([MIB] * 3, 3 * MIB),  # two segments of 2 MiB, shared
        ([round(15.6 * MIB)], 16 * MIB),  # a rest under 1 MiB is never split off
        ([5 * MIB], 5 * MIB),  # from a segment of 20 MiB
        ([5 * MIB, 14 * MIB], 5 * MIB + 15 * MIB),  # the rest of that segment, whole
        ([5 * MIB, 13 * MIB], 18 * MIB),
        ([10 * MIB], 10 * MIB),  # 10 MiB and more: segments of even MiB
        ([11 * MIB], 12 * MIB),
        ([13 * MIB, 12 * MIB], 14 * MIB + 12 * MIB),
    ],
)
def test_known_answers(tensors: list[int], total: int) -> None:
    assert allocated_bytes(tensors) == total

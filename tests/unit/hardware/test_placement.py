"""Which groups of cards NVLink joins."""

from __future__ import annotations

import pytest

from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import Interconnect
from planner.hardware.placement import Placement


@pytest.mark.parametrize(
    ("interconnect", "bridged"),
    [
        ("pcie", {2: False, 4: False}),
        ("none", {2: False, 4: False}),
        ("nvlink", {2: True, 4: True}),
        ("nvlink-pairs", {2: True, 4: False}),
    ],
)
def test_bridges_join_two_and_two(interconnect: Interconnect, bridged: dict[int, bool]) -> None:
    placement = Placement(find_gpu("RTX 2080 Ti 22GB"), 4, interconnect)
    assert {ranks: placement.bridged(ranks) for ranks in bridged} == bridged

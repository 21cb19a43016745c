"""Cards named together: different ones of one host."""

from __future__ import annotations

import pytest

from planner.errors import InputError
from planner.hardware.by_name import GpuRequest, card_of, find_gpu


def test_different_cards_of_one_host_are_as_able_as_the_weakest_of_them() -> None:
    both, small, old = (
        find_gpu(name) for name in ("RTX 3080 10GB + rtx 2080 ti 22GB", "RTX 3080 10GB", "RTX 2080 Ti 22GB")
    )
    assert both.name == "RTX 3080 10GB + RTX 2080 Ti 22GB"
    assert both.memory_bytes == small.memory_bytes
    assert both.compute_capability == old.compute_capability
    assert both.peak_flop_per_s == min(small.peak_flop_per_s, old.peak_flop_per_s)
    assert find_gpu(both.name) == both
    with pytest.raises(InputError, match="GPU '' is not known"):
        find_gpu("RTX 3080 10GB +")


@pytest.mark.parametrize("name", ["Jetson AGX Thor", "AGX Thor", "DGX Spark"])
def test_machines_are_named_in_requests_too(name: str) -> None:
    card, notes = card_of(GpuRequest(name=name))
    assert (card, notes) == (find_gpu(name), [])

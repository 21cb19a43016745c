"""Memory outside torch's allocator: what a bridge between two cards changes."""

from __future__ import annotations

from typing import get_args

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.overheads import context_bytes, graph_bytes, non_torch_bytes
from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import Interconnect
from planner.hardware.placement import Placement
from planner.model.catalog import load_model


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(("gpu", "version"), [("RTX 2080 Ti 22GB", "0.8.5"), ("H200", "0.10.2"), ("H200", "0.24.0")])
def test_a_bridged_pair_of_two_is_nvlink_and_of_four_is_not(gpu: str, version: str, ranks: int) -> None:
    card, model = find_gpu(gpu), load_model("qwen3-8b")
    engine = resolve({"tensor_parallel_size": ranks, "dtype": "half"}, model, card, parse_version(version))
    found = {}
    for joined in get_args(Interconnect):
        placement = Placement(card, ranks, joined)
        found[joined] = (
            context_bytes(placement, engine),
            non_torch_bytes(model, placement, engine),
            float(graph_bytes(model, placement, engine)),
        )
    assert found["nvlink-pairs"] == found["nvlink" if ranks == 2 else "pcie"]
    assert found["nvlink"] != found["pcie"] == found["none"]

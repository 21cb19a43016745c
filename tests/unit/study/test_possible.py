"""What leaves a search space before the grid is made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from planner.hardware import find_gpu
from planner.hardware.gpus import Interconnect
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.model.spec import ModelSpec
from planner.study.candidate import Layout
from planner.study.possible import possible_values

NGRAM = '{"method": "ngram", "num_speculative_tokens": 4}'
MTP = '{"method": "mtp", "num_speculative_tokens": 1}'
OUTSIDE = '{"method": "mtp", "model": "/srv/drafter", "num_speculative_tokens": 1}'
ONE = Layout(1, 1)


@pytest.fixture(scope="module")
def plain() -> ModelSpec:
    model = load_model("Qwen/Qwen3-8B")
    assert model.num_mtp_layers == 0
    return model


def placement(num_gpus: int = 1, interconnect: Interconnect = "pcie") -> Placement:
    return Placement(find_gpu("A100 80GB"), num_gpus, interconnect)


def test_drafts_of_own_layers_need_a_model_with_them(plain: ModelSpec) -> None:
    asked = {"speculative_config": [None, NGRAM, MTP, OUTSIDE], "max_num_seqs": [8]}
    left, words = possible_values(asked, [plain], placement(), ONE)
    assert left == {"speculative_config": [None, NGRAM, OUTSIDE], "max_num_seqs": [8]}
    assert words == ("speculative_config with mtp: the model has no layers for multi-token prediction",)
    for able in (replace(plain, num_mtp_layers=1), replace(plain, is_known=False)):
        assert possible_values(asked, [plain, able], placement(), ONE) == (asked, ())


def test_where_only_the_default_is_left_nothing_is_searched(plain: ModelSpec) -> None:
    left, words = possible_values({"speculative_config": [None, MTP]}, [plain], placement(), ONE)
    assert (left, len(words)) == ({}, 1)


@pytest.mark.parametrize(
    ("layouts", "cards", "interconnect", "is_kept"),
    [
        ([], 1, "pcie", False),
        (["1xtp4"], 4, "pcie", False),
        (["1xtp4", "2xtp2"], 4, "pcie", True),
        (["1xtp4"], 4, "nvlink", True),
        (["1xtp4", "4xtp1"], 4, "nvlink-pairs", False),
    ],
)
def test_the_all_reduce_needs_a_pair_or_nvlink(
    plain: ModelSpec, layouts: list[str], cards: int, interconnect: Interconnect, is_kept: bool
) -> None:
    asked = {"disable_custom_all_reduce": [None, True], **({"layout": layouts} if layouts else {})}
    left, words = possible_values(asked, [plain], placement(cards, interconnect), ONE)
    assert ("disable_custom_all_reduce" in left, not words) == (is_kept, is_kept)

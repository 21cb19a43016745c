"""Pinned host memory on cards that share it: what grows with the batch, and where it does not count."""

from __future__ import annotations

import numpy as np
import pytest

from planner.engine.defaults import ResolvedEngine, resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.host_memory import pinned_bytes
from planner.estimate.memory.overheads import non_torch_bytes
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB, MIB

GB10 = find_gpu("GB10")


def _engine(name: str, tokens: int, version: str = "0.24.0") -> ResolvedEngine:
    settings = {"max_model_len": 32768, "max_num_seqs": 8, "max_num_batched_tokens": tokens}
    return resolve(settings, load_model(name), GB10, parse_version(version))


@pytest.mark.parametrize(
    ("name", "tokens", "expected"),
    [
        ("Qwen/Qwen3-30B-A3B", 8192, 32 * MIB),  # 8192 x 2048 x 2 bytes
        ("Qwen/Qwen3.5-27B", 2048, 32 * MIB),  # 20 MiB rounded up; one image is not joined with others
        (
            "Qwen/Qwen3.5-27B",
            65536,
            GIB + GIB,
        ),  # 0.625 GiB, and four images of 65536 patches x 1536 x 2 bytes, 0.75 GiB
    ],
)
def test_a_batch_pins_its_embeddings_and_several_images_their_pixels(name: str, tokens: int, expected: int) -> None:
    model = load_model(name)
    assert pinned_bytes(model, _engine(name, tokens)) == expected


def test_it_counts_where_the_card_has_no_memory_of_its_own() -> None:
    model = load_model("Qwen/Qwen3.5-27B")
    small, large = (_engine("Qwen/Qwen3.5-27B", tokens) for tokens in (2048, 65536))
    for card, grows in ((GB10, 2 * GIB - 32 * MIB), (find_gpu("H200"), 0)):
        place = Placement(card, 1, "pcie")
        assert non_torch_bytes(model, place, large) - non_torch_bytes(model, place, small) == pytest.approx(grows)


def test_the_second_runner_keeps_embeddings_on_the_card_alone() -> None:
    model = load_model("Qwen/Qwen3-8B")
    assert pinned_bytes(model, _engine("Qwen/Qwen3-8B", 8192, "0.20.0")) == 64 * MIB
    assert pinned_bytes(model, _engine("Qwen/Qwen3-8B", 8192, "0.24.0")) == 0


def test_columns_give_what_single_candidates_give() -> None:
    name, tokens = "Qwen/Qwen3.5-27B", np.array([2048, 16384, 65536])
    model = load_model(name)
    alone = [float(pinned_bytes(model, _engine(name, int(one)))) for one in tokens]
    engine = resolve(
        {"max_model_len": 32768, "max_num_seqs": np.array([8, 8, 8]), "max_num_batched_tokens": tokens},
        model,
        GB10,
        parse_version("0.24.0"),
    )
    assert np.asarray(pinned_bytes(model, engine)).tolist() == alone

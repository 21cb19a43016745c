"""The engine's own estimate of its CUDA graphs, against the debug lines of starts of 0.24 on H200."""

from __future__ import annotations

import pytest

from planner.engine.defaults import ResolvedEngine, resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.graph_estimate import charges_graphs, estimated_graph_bytes
from planner.estimate.memory.overheads import captured_sizes
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.model.spec import ModelSpec
from planner.units import MIB

H200 = find_gpu("H200")


def _engine(model: ModelSpec, version: str = "0.24.0", **settings: object) -> ResolvedEngine:
    return resolve({"max_model_len": 16384, **settings}, model, H200, parse_version(version))


@pytest.mark.parametrize(
    ("name", "seqs", "tokens", "sizes", "logged_mib"),
    [
        ("qwen3-30b-a3b", 256, 8192, (51, 35), 134 + 50 * 6 + 34 * 2),
        ("qwen3-30b-a3b", 64, 2048, (19, 11), 66 + 18 * 6 + 10 * 2),
        ("qwen3-8b", 64, 2048, (19, 11), 64 + 18 * 4 + 10 * 2),
        ("gpt-oss-20b", 64, 2048, (83, 11), 160 + 82 * 4 + 10 * 1),
        ("gpt-oss-20b", 1024, 8192, (83, 83), 180 + 82 * 4 + 82 * 1),
        ("qwen2.5-vl-7b-instruct", 64, 8192, (19, 11), 62 + 18 * 4 + 10 * 1),
    ],
)
def test_the_estimate_is_what_the_engine_logged(
    name: str, seqs: int, tokens: int, sizes: tuple[int, int], logged_mib: int
) -> None:
    """First capture, further piecewise graphs and further full graphs in MiB, as the log says them."""
    model = load_model(name)
    engine = _engine(model, max_num_seqs=seqs, max_num_batched_tokens=tokens)
    assert captured_sizes(engine, model) == sizes
    assert estimated_graph_bytes(model, Placement(H200, 1, "pcie"), engine) / MIB == pytest.approx(logged_mib, rel=0.2)


def test_only_flash_attention_3_has_split_outputs() -> None:
    model, card = load_model("qwen3-30b-a3b"), find_gpu("RTX 4090")
    many = _engine(model, max_num_seqs=256, max_num_batched_tokens=8192)
    on_hopper = estimated_graph_bytes(model, Placement(H200, 1, "pcie"), many)
    elsewhere = estimated_graph_bytes(model, Placement(card, 1, "pcie"), many)
    splits = 32 * 256 * 32 * 128 * 4
    assert on_hopper == splits + (50 * 6 + 34 * 2) * MIB
    assert on_hopper - elsewhere > 50 * MIB


def test_eager_engines_estimate_none_and_a_given_size_limits_them() -> None:
    model = load_model("qwen3-8b")
    place = Placement(H200, 1, "pcie")
    assert estimated_graph_bytes(model, place, _engine(model, enforce_eager=True)) == 0
    assert captured_sizes(_engine(model, max_cudagraph_capture_size=1), model) == (1, 1)


@pytest.mark.parametrize(
    ("version", "name", "charged"),
    [("0.19.0", "qwen3-8b", False), ("0.20.0", "qwen3-8b", True), ("0.24.0", "qwen3-8b", False),
     ("0.24.0", "gpt-oss-20b", True), ("0.28.0", "qwen3-8b", False), ("0.29.0", "qwen3-8b", True)],
)  # fmt: skip
def test_the_second_runner_charges_nothing_before_0_29(version: str, name: str, charged: bool) -> None:
    model = load_model(name)
    assert charges_graphs(model, _engine(model, version)) is charged

"""Captured batches with drafted tokens and adapters, against what engines logged and what their sources do."""

from __future__ import annotations

import pytest

from planner.engine.adapters import Lora
from planner.engine.defaults import ResolvedEngine, resolve
from planner.engine.traits import Compilation, EngineTraits
from planner.engine.versions import parse_version
from planner.estimate.memory.graph_estimate import charges_graphs, estimated_graph_bytes
from planner.estimate.memory.graph_sizes import decoded_at_once, num_rounded_sizes, tokens_of_full_batch
from planner.estimate.memory.overheads import captured_sizes, largest_graph_tokens
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import MIB

MODEL = load_model("qwen3-8b")
H200 = find_gpu("H200")
ADAPTERS = EngineTraits(lora=Lora(1, 16))
DRAFT = '{"method": "draft_model", "model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 4}'


def _engine(version: str = "0.24.0", **settings: object) -> ResolvedEngine:
    settings = {"max_model_len": 16384, "max_num_seqs": 64, "max_num_batched_tokens": 2048, **settings}
    return resolve(settings, MODEL, H200, parse_version(version))


def test_sizes_are_multiples_of_what_a_request_decodes_at_once() -> None:
    """A start of 0.24 on H200 with a draft model of 4 tokens and 64 sequences logged PIECEWISE=48 (largest=500),
    FULL=37 (largest=320), and 132 + 47 x 4 MiB and 160 + 36 x 1 MiB for them."""
    engine = _engine(speculative_config=DRAFT)
    assert decoded_at_once(engine) == 5
    assert captured_sizes(engine, MODEL) == (48, 37)
    assert charges_graphs(MODEL, engine)
    logged_mib = 160 + 47 * 4 + 36 * 1
    assert estimated_graph_bytes(MODEL, Placement(H200, 1, "pcie"), engine) / MIB == pytest.approx(logged_mib, rel=0.1)


@pytest.mark.parametrize(("version", "largest"), [("0.12.0", 128), ("0.13.0", 512), ("0.24.0", 512)])
def test_drafted_tokens_raise_the_largest_size_since_0_13(version: str, largest: int) -> None:
    engine = _engine(version, speculative_config=DRAFT)
    assert tokens_of_full_batch(engine) == (64 if version == "0.12.0" else 320)
    assert largest_graph_tokens(engine, MODEL) == largest


def test_few_requests_with_drafts_capture_few_sizes() -> None:
    """Two requests of 4 tokens: 1, 2, 4 become 4; 8 and 16 stay."""
    three = '{"method": "mtp", "num_speculative_tokens": 3}'
    assert captured_sizes(_engine(speculative_config=three, max_num_seqs=2), MODEL) == (3, 2)
    assert num_rounded_sizes(_engine(speculative_config=three), 4, 16) == 3


def test_sizes_of_whole_requests_are_captured_since_0_29() -> None:
    """Five tokens a request: the list rounded up is 5, 10, 20, 25, 35, 40 ...; since 0.29 5 x 1, 2, 4, 8 ... too."""
    before, since = (_engine(version, speculative_config=DRAFT) for version in ("0.28.0", "0.29.0"))
    assert num_rounded_sizes(before, 1, 40) == len({5, 10, 20, 25, 35, 40})
    assert num_rounded_sizes(since, 1, 40) == num_rounded_sizes(before, 1, 40)  # 40 is both
    assert num_rounded_sizes(since, 1, 1024) > num_rounded_sizes(before, 1, 1024)


def test_adapters_double_the_graphs_since_0_11_1() -> None:
    plain, adapters = captured_sizes(_engine(), MODEL), captured_sizes(_engine(traits=ADAPTERS), MODEL)
    assert adapters == tuple(2 * count for count in plain)
    old = captured_sizes(_engine("0.11.0", traits=ADAPTERS), MODEL)
    assert old == captured_sizes(_engine("0.11.0"), MODEL)


@pytest.mark.parametrize(
    ("compilation", "sizes"),
    [
        (Compilation(), (19, 11)),
        (Compilation(mode="NONE"), (0, 0)),
        (Compilation(mode="PIECEWISE"), (19, 0)),
        (Compilation(mode="FULL_DECODE_ONLY"), (0, 11)),
        (Compilation(mode="FULL"), (0, 19)),
        (Compilation(sizes=(1, 32, 64, 100, 4096)), (4, 3)),
        (Compilation(mode="PIECEWISE", sizes=(1, 2)), (2, 0)),
        (Compilation(largest=8), (4, 4)),
        (Compilation(compiles=False, mode="FULL_DECODE_ONLY"), (0, 11)),
    ],
)
def test_graphs_that_a_compilation_config_asks_for(compilation: Compilation, sizes: tuple[int, int]) -> None:
    """64 sequences: 1, 2, 4, 8, 16 ... 128 piecewise, up to 64 full; listed sizes above max_num_batched_tokens fall
    away (vllm@0.24.0 config/vllm.py:_set_cudagraph_sizes)."""
    engine = _engine(traits=EngineTraits(compilation=compilation))
    assert captured_sizes(engine, MODEL) == sizes
    old = _engine("0.10.2", traits=EngineTraits(compilation=compilation))
    assert captured_sizes(old, MODEL)[1] == 0, "before 0.11 there are no full graphs by default"


def test_listed_sizes_are_whole_requests_with_drafts() -> None:
    listed = EngineTraits(compilation=Compilation(sizes=(1, 4, 8, 20)))
    engine = _engine(traits=listed, speculative_config=DRAFT)
    assert captured_sizes(engine, MODEL) == (3, 3)  # 5, 10, 20
    assert largest_graph_tokens(engine, MODEL) == 20

"""The memory model against what engines said of themselves, and against live sets worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.deployment import Deployment
from planner.estimate.memory.per_gpu import MemoryEstimate, as_served, estimate_memory
from planner.estimate.rules import check
from planner.hardware.by_name import find_gpu
from planner.hardware.gpus import Interconnect
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB, MIB
from tests.places import GOLDEN

STARTS: list[dict[str, Any]] = json.loads((GOLDEN / "starts" / "vllm-0.8.5-v0.json").read_text("utf-8"))
TURING = "RTX 2080 Ti 22GB"
V085 = parse_version("0.8.5")


def _deployment(start: dict[str, Any]) -> Deployment:
    gpu = replace(find_gpu(start["gpu"]), memory_bytes=round(start["gpu_total_gib"] * GIB))
    model = load_model(start["model"])
    engine = resolve(start["settings"], model, gpu, V085)
    return Deployment.of(model, Placement(gpu, engine.world_size, start["interconnect"]), engine)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start["id"])
def test_real_starts(start: dict[str, Any]) -> None:
    d, observed = _deployment(start), start["observed"]
    memory = d.memory
    assert d.engine.generation == "V0"
    assert memory.num_blocks == pytest.approx(observed["gpu_blocks"], rel=0.02)
    assert memory.activation_bytes / GIB == pytest.approx(observed["activation_peak_gib"], abs=0.04)
    assert memory.weight_bytes / GIB == pytest.approx(observed["weights_gib"], abs=0.001)
    assert memory.non_torch_bytes / GIB == pytest.approx(observed["non_torch_gib"], abs=0.015)
    assert memory.kv_cache_bytes / GIB == pytest.approx(observed["kv_cache_gib"], abs=0.05)
    assert memory.max_concurrency == pytest.approx(observed["max_concurrency"], rel=0.02)
    assert memory.graph_bytes / GIB == pytest.approx(observed["cudagraph_gib"] or 0.0, abs=0.06)
    assert memory.pinned_host_bytes / d.engine.world_size / memory.kv_block_bytes == observed["cpu_blocks"]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start["id"])
def test_real_verdicts(start: dict[str, Any]) -> None:
    violated = check(_deployment(start))
    if start["observed"]["outcome"] == "ok":
        assert violated == ()
    else:
        assert violated[0].name == "KV cache holds one request"
        assert violated[0].message.startswith("The model's max seq len (32768) is larger than the maximum number of")


def test_the_golden_starts_are_the_six_that_were_recorded() -> None:
    assert len(STARTS) == 6
    assert {start["observed"]["outcome"] for start in STARTS} == {"ok", "kv_too_small"}


def _estimate(
    model: str = "Qwen/Qwen3-32B-AWQ", gpu: str = TURING, version: str = "0.8.5", **flags: Any
) -> MemoryEstimate:
    spec, card = load_model(model), find_gpu(gpu)
    engine = resolve({"dtype": "half", **flags}, spec, card, parse_version(version))
    return estimate_memory(spec, Placement(card), engine)


@pytest.mark.parametrize(
    ("model", "tp", "tokens", "seqs", "num_bytes"),
    [
        # MLP: the all-reduce is the widest step at tp 4, the down projection of dequantised AWQ at tp 1 and 2
        ("Qwen/Qwen3-32B-AWQ", 4, 32768, 64, 2_936_012_800),
        ("Qwen/Qwen3-32B-AWQ", 4, 8192, 64, 734_003_200),
        ("Qwen/Qwen3-32B-AWQ", 1, 8192, 64, round(1.729 * GIB)),
        ("Qwen/Qwen3-32B-AWQ", 2, 32768, 64, round(3.906 * GIB)),
        ("Qwen/Qwen3-32B-AWQ", 8, 32768, 64, round(2.148 * GIB)),
        ("Qwen/Qwen3-32B", 1, 8192, 64, round(1.484 * GIB)),
        ("Qwen/Qwen3-32B", 2, 8192, 64, round(0.977 * GIB)),
        # the sampler's sort: hungrier below 128 rows
        ("Qwen/Qwen3-32B-AWQ", 4, 2048, 64, 509_111_500),
        ("Qwen/Qwen3-32B-AWQ", 4, 2048, 256, 1_499_004_928),
        ("Qwen/Qwen3-32B-AWQ", 4, 8192, 256, 1_561_919_488),
    ],
)
def test_activation_peak_by_hand(model: str, tp: int, tokens: int, seqs: int, num_bytes: int) -> None:
    memory = _estimate(model, tensor_parallel_size=tp, max_num_batched_tokens=tokens, max_num_seqs=seqs)
    workspace = 8 * MIB  # cuBLAS below compute capability 9
    assert memory.activation_bytes == pytest.approx(num_bytes + workspace, rel=0.001)


def test_127_sequences_cost_more_than_128() -> None:
    few, many = (
        _estimate(tensor_parallel_size=4, max_num_batched_tokens=2048, max_num_seqs=seqs).activation_bytes
        for seqs in (127, 128)
    )
    assert few > many + 200 * MIB


@pytest.mark.parametrize(("tp", "mib"), [(1, 4), (2, 2), (4, 1), (8, 0.5), (16, 0.5)])
def test_a_kv_block_is_shared_out_until_every_rank_has_one_head(tp: int, mib: float) -> None:
    assert _estimate(tensor_parallel_size=tp).kv_block_bytes == mib * MIB


def test_fp8_halves_and_a_pipeline_divides_a_kv_block() -> None:
    assert _estimate(kv_cache_dtype="fp8_e5m2").kv_block_bytes == 2 * MIB
    assert _estimate(pipeline_parallel_size=2).kv_block_bytes == 2 * MIB
    assert _estimate(block_size=32).kv_block_bytes == 8 * MIB


def test_graphs_cost_memory_until_eager_mode_is_enforced() -> None:
    few, many, eager = (
        _estimate(tensor_parallel_size=4, max_num_seqs=seqs, enforce_eager=eager).graph_bytes
        for seqs, eager in ((64, False), (256, False), (256, True))
    )
    assert 0.3 * GIB < few < many < 1.5 * GIB
    assert eager == 0


def test_a_card_that_is_too_small_has_no_blocks_rather_than_negative_ones() -> None:
    memory = _estimate("Qwen/Qwen3-0.6B", gpu_memory_utilization=0.01)
    assert (memory.num_blocks, memory.kv_cache_bytes, memory.kv_tokens) == (0, 0, 0)


def test_only_v0_pins_host_memory() -> None:
    assert _estimate(tensor_parallel_size=2, swap_space=4).pinned_host_bytes == pytest.approx(8 * GIB, rel=0.001)
    assert _estimate(swap_space=0).pinned_host_bytes == 0
    assert _estimate(gpu="H100 80GB", swap_space=4).pinned_host_bytes == 0


def test_four_cards_in_bridged_pairs_are_as_uncertain_as_over_pcie() -> None:
    """NCCL's ring of four goes over PCIe there, in the figure as in its interval."""
    model, gpu = load_model("Qwen/Qwen3-8B"), find_gpu("RTX 3090")
    engine = resolve({"tensor_parallel_size": 4}, model, gpu, parse_version("0.10.2"))
    over: dict[Interconnect, MemoryEstimate] = {
        link: estimate_memory(model, Placement(gpu, 4, link), engine) for link in get_args(Interconnect)
    }
    assert over["nvlink-pairs"] == over["none"] == over["pcie"]
    assert over["nvlink"].doubts.non_torch > over["pcie"].doubts.non_torch


def test_an_explicit_cache_size_is_taken_as_it_is() -> None:
    per_token = 2 * 28 * 8 * 128 * 2
    on_gpu = _estimate("Qwen/Qwen3-0.6B", "T4", "0.14.1", kv_cache_memory_bytes=2 * GIB)
    on_cpu = _estimate("Qwen/Qwen3-0.6B", "CPU", "0.32.0", kv_cache_memory_bytes=GIB)
    assert on_gpu.num_blocks == 2 * GIB // (16 * per_token)
    assert on_cpu.kv_tokens == GIB // (128 * per_token) * 128


def test_the_rank_with_the_least_room_decides_the_blocks() -> None:
    """The last stage of a pipeline holds the head and runs the sampler."""
    model, gpu = load_model("Qwen/Qwen3-8B"), find_gpu("RTX 4090")
    engine = resolve({"pipeline_parallel_size": 2, "max_num_seqs": 512}, model, gpu, parse_version("0.10.2"))
    memory = estimate_memory(model, Placement(gpu), engine)
    first, last = memory.ranks
    assert last.activation_bytes > first.activation_bytes
    assert memory.num_blocks == last.available_bytes // last.block_bytes < first.available_bytes // first.block_bytes


def test_rotary_tables_of_qwen3_vl_have_a_row_per_position_since_0_32() -> None:
    card = find_gpu("H200")

    def factor(name: str, version: str) -> int:
        model = load_model(name)
        return as_served(model, resolve({}, model, card, parse_version(version)), card).rope_table_factor

    assert [factor("Qwen/Qwen3-VL-30B-A3B-Instruct", version) for version in ("0.31.0", "0.32.0")] == [4, 1]
    assert factor("Qwen/Qwen2.5-VL-7B-Instruct", "0.32.0") == 4

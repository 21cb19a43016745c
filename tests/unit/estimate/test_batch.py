"""`planner estimate --requests`: cards, flags, errors on their own line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.errors import InputError
from planner.estimate.batch import answer, answer_lines
from planner.hardware.by_name import GpuRequest, card_of, interconnect_of
from planner.units import GIB

QWEN = {
    "model_type": "qwen3",
    "hidden_size": 4096,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}


def request(**changes: Any) -> dict[str, Any]:
    base = {"id": "r", "model": QWEN, "gpu": {"name": "L4"}, "num_gpus": 1, "vllm_version": "0.9.2",
            "engine": {"max-model-len": 8192}}  # fmt: skip
    return {**base, **changes}


def test_a_mapping_and_a_shipped_name_give_the_same_answer() -> None:
    assert answer(request()) == answer(request(model="Qwen/Qwen3-8B"))


def test_underscores_and_dashes_and_null_are_the_same_flag() -> None:
    assert answer(request()) == answer(request(engine={"max_model_len": 8192, "max_num_seqs": None}))


@pytest.mark.parametrize(
    ("name", "memory_gib", "card", "gib", "capability"),
    [
        ("NVIDIA GeForce RTX 2080 Ti 22GB", None, "RTX 2080 Ti 22GB", 21.48, (7, 5)),
        ("NVIDIA GeForce RTX 2080 Ti", 21.66, "RTX 2080 Ti 22GB", 21.66, (7, 5)),
        ("NVIDIA H100 80GB HBM3", None, "H100 80GB", 79.18, (9, 0)),
        ("NVIDIA A100-PCIE-40GB", 39.39, "A100 40GB", 39.39, (8, 0)),
        ("NVIDIA A100-SXM4-80GB", None, "A100 80GB", 79.25, (8, 0)),
        ("Tesla V100-SXM2-32GB", None, "V100 32GB", 31.74, (7, 0)),
        ("RTX 4090", 48, "RTX 4090 48GB", 48 * 0.98, (8, 9)),
        ("NVIDIA GeForce RTX 3070 Laptop GPU", 7.65, "NVIDIA GeForce RTX 3070 Laptop GPU", 7.65, (8, 6)),
        ("NVIDIA RTX 6000 Ada Generation", 47.4, "RTX 6000 Ada", 47.4, (8, 9)),
        (None, 22.06, "a GPU", 22.06, (8, 0)),
        (None, 24, "a GPU", 24 * 0.98, (8, 0)),
    ],
)
def test_cards_by_name_and_memory(
    name: str | None, memory_gib: float | None, card: str, gib: float, capability: tuple[int, int]
) -> None:
    found, _ = card_of(GpuRequest(name=name, memory_gib=memory_gib))
    assert (found.name, found.compute_capability) == (card, capability)
    assert found.memory_bytes / GIB == pytest.approx(gib, abs=1e-6)


def test_an_unknown_card_needs_its_memory() -> None:
    with pytest.raises(InputError, match="give memory_gib"):
        card_of(GpuRequest(name="Quantum Card 9000"))


def test_a_named_capability_wins() -> None:
    found, notes = card_of(GpuRequest(memory_gib=15.5, compute_capability="7.5"))
    assert (found.compute_capability, notes) == ((7, 5), [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("NVIDIA H100 80GB HBM3", "nvlink"), ("NVIDIA H100 PCIe", "pcie"), ("NVIDIA H100 NVL", "nvlink-pairs"),
     ("NVIDIA A100-PCIE-40GB", "pcie"), ("NVIDIA A100-SXM4-80GB", "nvlink"), ("RTX 4090", "pcie"), ("", "pcie")],
)  # fmt: skip
def test_the_usual_interconnect(name: str, expected: str) -> None:
    assert interconnect_of(name) == expected


def test_flags_have_the_effects_that_they_have_on_a_command_line() -> None:
    engine = {"max-model-len": "16k", "port": 8000, "enable_lora": True, "limit_mm_per_prompt": {"image": 1}}
    found = answer(request(engine=engine, vllm_version="0.24.0"))
    assert found["set_aside"] == ["--port"]
    assert [doubt["flags"] for doubt in found["doubts"]] == [["--enable-lora"]]  # this model reads no images
    plain = answer(request(engine={"max-model-len": "16k"}, vllm_version="0.24.0"))
    assert "doubts" not in plain
    assert found["kv_cache_gib_interval"][0] < plain["kv_cache_gib_interval"][0]
    assert found["weights_gib"] - plain["weights_gib"] == pytest.approx(0.09, abs=0.02)
    assert found["kv_cache_gib"] == pytest.approx(plain["kv_cache_gib"] - 0.09, abs=0.02)


def test_a_context_of_auto_is_what_fits() -> None:
    small = {"gpu_memory_utilization": 0.85}
    full = answer(request(engine=small, vllm_version="0.24.0"))
    found = answer(request(engine={**small, "max_model_len": "auto"}, vllm_version="0.24.0"))
    assert full["verdict"] == "will not start"
    assert found["verdict"] == "starts"
    (words,) = [reason for reason in found["reasons"] if reason.startswith("max_model_len auto: ")]
    assert words == f"max_model_len auto: {found['kv_tokens']} of 40960 tokens fit"


def test_a_value_out_of_range_will_not_start() -> None:
    found = answer(request(engine={"gpu_memory_utilization": 1.2}))
    assert found["verdict"] == "will not start"
    assert "gpu_memory_utilization" in found["reasons"][0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"id": 1}, "missing required field `model`"),
        (request(vllm_version="new"), "is not a version"),
        (request(model={"model_type": "llama"}), "num_hidden_layers"),
        (request(model="no/such-model"), "no such directory"),
        (request(engine={"max_num_batch_tokens": 2048}), "max_num_batched_tokens is meant?"),
        (request(engine={"max_num_seqs": "many"}), "engine.max_num_seqs"),
        (request(engine={"max-num-seqs": 1, "max_num_seqs": 2}), "max-num-seqs and max_num_seqs are one flag"),
        (request(engine={"": 1}), "is no name of a flag"),
        (request(engine={"VLLM_USE_V1": "maybe"}), "VLLM_USE_V1: 'maybe': allowed are 0 and 1"),
        (request(gpu={"memory": 24}), "unknown field `memory`"),
        (request(extra=1), "unknown field `extra`"),
        (7, "Expected `object`"),
    ],
)
def test_bad_requests_give_one_line(bad: Any, message: str) -> None:
    found = answer(bad)
    assert set(found) == {"id", "error"}
    assert message in found["error"]
    assert "\n" not in found["error"]


def test_bad_lines_do_not_stop_the_others() -> None:
    lines = [json.dumps(request(id=1)), "", "{not json", json.dumps({"id": 2}), json.dumps(request(id=3))]
    found = [json.loads(line) for line in answer_lines(lines)]
    assert [document["id"] for document in found] == [1, None, 2, 3]
    assert ["error" in document for document in found] == [False, True, True, False]


def test_infinity_in_a_config_is_read_as_in_its_file() -> None:
    """Mamba models' config.json has time_step_limit: [0.0, Infinity]."""
    odd = {**QWEN, "time_step_limit": [0.0, float("inf")]}
    plain, infinite = (json.loads(next(answer_lines([json.dumps(request(model=one))]))) for one in (QWEN, odd))
    assert infinite == plain
    assert json.loads(next(answer_lines(['{"id": 1, "model": NaN']))).keys() == {"id", "error"}


@given(
    st.dictionaries(st.sampled_from(sorted(QWEN)), st.one_of(st.none(), st.integers(-3, 99), st.text(max_size=3))),
)
def test_garbage_configs_give_an_answer_or_one_line(changes: dict[str, Any]) -> None:
    found = answer(request(model={**QWEN, **changes}))
    assert "verdict" in found or "\n" not in found["error"]


def test_the_command_reads_a_file_and_exits_with_0(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(request(id=1)) + "\nnonsense\n", "utf-8")
    command = [sys.executable, "-c", "from planner.cli.main import main; main()", "estimate", "--requests", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [1, None]


def test_variables_choose_the_engine() -> None:
    """Qwen3-8B on an H200 with vLLM 0.24.0: the first runner charges 0.15 GiB of graphs to the budget and leaves 5.83
    GiB, logged; the second charges none."""
    engine = {
        "gpu_memory_utilization": 0.1622,
        "max_model_len": 16384,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
    }
    asked = {"id": 1, "model": "Qwen/Qwen3-8B", "gpu": {"name": "H200", "memory_gib": 139.8}, "vllm_version": "0.24.0"}
    first, second = (answer({**asked, "engine": {**engine, "VLLM_USE_V2_MODEL_RUNNER": runner}}) for runner in "01")
    assert first["kv_cache_gib"] == pytest.approx(5.8273, rel=0.005)
    assert second["kv_cache_gib"] == answer({**asked, "engine": engine})["kv_cache_gib"] > first["kv_cache_gib"]
    assert "allowed are 0 and 1" in answer(request(engine={"VLLM_USE_V2_MODEL_RUNNER": "yes"}))["error"]

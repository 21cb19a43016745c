"""The nearest fixes: what they change, what they buy, that they keep their word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from packaging.version import Version

from planner.estimate.answer import Setup, unknown_flags
from planner.estimate.fixes import Fix, nearest_fixes
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model
from planner.units import GIB, to_gib

TARGET = {"tensor_parallel_size": 4, "dtype": "half", "max_model_len": 32768}


def setup_for(model: str = "Qwen/Qwen3-32B-AWQ", gpu: str = "RTX 2080 Ti 22GB", num_gpus: int = 4,
              version: str = "0.8.5", host_gib: int | None = None, **settings: Any) -> Setup:  # fmt: skip
    return Setup(
        model=load_model(model),
        placement=Placement(find_gpu(gpu), num_gpus, "pcie", None if host_gib is None else host_gib * GIB),
        version=Version(version),
        settings=settings,
        refused=tuple(unknown_flags(settings, Version(version))),
    )


def keeps_its_word(setup: Setup, fix: Fix) -> bool:
    """Whether a start with the changed settings is judged as the fix says."""
    settings = {name: value for name, value in {**setup.settings, **fix.changes}.items() if value is not None}
    answer = replace(setup, settings=settings, refused=tuple(unknown_flags(settings, setup.version))).answer()
    tokens = (answer.deployment.memory.kv_tokens, fix.answer.deployment.memory.kv_tokens)
    return answer.verdict == fix.answer.verdict and tokens[0] == tokens[1]


CASES: dict[str, dict[str, Any]] = {
    "wastes": {**TARGET, "max_num_seqs": 256, "max_num_batched_tokens": 2048, "enable_chunked_prefill": True},
    "outside": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.98},
    "tight": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.96},
    "no blocks": {**TARGET, "max_num_seqs": 64, "gpu_memory_utilization": 0.3},
    "batched": {**TARGET, "max_num_seqs": 64, "max_num_batched_tokens": 4096},
    "dtype and batched": {**TARGET, "dtype": "bfloat16", "max_num_batched_tokens": 4096},
    "swap": {**TARGET, "max_num_seqs": 64, "swap_space": 128.0, "host_gib": 512},
    "cards": {"tensor_parallel_size": 8, "dtype": "half", "max_model_len": 32768},
    "flag": {**TARGET, "version": "0.24.0", "max_num_seqs": 32, "swap_space": 4.0, "attention_backend": "TRITON_ATTN"},
    "flashinfer": {**TARGET, "version": "0.20.2", "max_num_seqs": 64},
    "context": {"model": "Qwen/Qwen3-8B", "gpu": "RTX 4090", "num_gpus": 1},
    "weights": {"model": "Qwen/Qwen3-32B", "gpu": "RTX 4090", "num_gpus": 4, "version": "0.10.0",
                "max_model_len": 8192},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_fix_helps_and_is_what_a_new_estimate_says(case: str) -> None:
    setup = setup_for(**CASES[case])
    base, fixes = setup.answer(), nearest_fixes(setup)
    assert 1 <= len(fixes) <= 5
    assert len({fix.text for fix in fixes}) == len(fixes)
    for fix in fixes:
        assert fix.answer.verdict != "will not start"
        assert keeps_its_word(setup, fix)
        if base.verdict != "will not start":
            fewer_dangers = len(base.dangers) - len(fix.answer.dangers)
            assert fewer_dangers >= 0
            assert fewer_dangers or fix.gained_tokens >= 0.02 * base.deployment.memory.kv_tokens


def test_fewer_sequences_give_back_the_samplers_memory() -> None:
    """At 2048 batched tokens the sampler's sort over 256 rows is the peak; from 64 on the dequantised MLP is."""
    fixes = {tuple(fix.changes.items()): fix for fix in nearest_fixes(setup_for(**CASES["wastes"]))}
    assert to_gib(fixes[("max_num_seqs", 64),].gained_bytes) == pytest.approx(0.92, abs=0.02)
    half = fixes[("max_num_seqs", 128),]
    assert to_gib(half.gained_bytes) == pytest.approx(0.69, abs=0.02)
    assert half.gained_tokens == pytest.approx(11_264, rel=0.01)
    assert half.text.startswith("max_num_seqs 256 -> 128: +0.69 GiB, +11 264 tokens; at most 128 requests")


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("outside", {"gpu_memory_utilization"}),
        ("tight", {"gpu_memory_utilization"}),
        ("no blocks", {"gpu_memory_utilization"}),
        ("batched", {"enable_chunked_prefill"}),
        ("dtype and batched", {"dtype", "enable_chunked_prefill"}),
        ("swap", {"swap_space"}),
        ("cards", {"tensor_parallel_size"}),
        ("flag", {"swap_space"}),
        ("flashinfer", {"attention_backend"}),
        ("context", {"max_model_len"}),
        ("weights", {"tensor_parallel_size"}),
    ],
)
def test_the_first_fix(case: str, changes: set[str]) -> None:
    assert set(nearest_fixes(setup_for(**CASES[case]))[0].changes) == changes


def test_a_flag_the_version_does_not_know_is_left_out() -> None:
    (fix,) = nearest_fixes(setup_for(**CASES["flag"]))
    assert fix.text.startswith("without --swap-space: starts")
    assert fix.changes == {"swap_space": None}


def test_where_nothing_helps_there_is_no_fix() -> None:
    assert nearest_fixes(setup_for(model="Qwen/Qwen3-32B", gpu="RTX 4090", num_gpus=1, version="0.10.0")) == []


def test_an_fp8_kv_cache_is_offered_only_where_it_is_served() -> None:
    def offered(**case: Any) -> bool:
        return any("kv_cache_dtype" in fix.changes for fix in nearest_fixes(setup_for(**case)))

    small = {"model": "Qwen/Qwen3-8B", "num_gpus": 1, "max_model_len": 8192}
    assert offered(**small, gpu="H100 80GB", version="0.10.2")
    assert not offered(**small, gpu="A100 40GB", version="0.10.2")
    assert not offered(**small, gpu="A100 40GB", version="0.20.0")


def test_a_fix_as_a_document() -> None:
    fix = nearest_fixes(setup_for(**CASES["wastes"]))[-1]
    assert set(fix.document()) == {"changes", "verdict", "kv_cache_gib_gained", "kv_tokens_gained", "text"}


def test_too_many_sequences_for_the_states_are_cut_to_the_blocks() -> None:
    hybrid = setup_for("Qwen/Qwen3-Next-80B-A3B-Instruct", "H200", 2, "0.24.0", tensor_parallel_size=2,
                       max_model_len=4096, num_gpu_blocks_override=100)  # fmt: skip
    changes = [fix.changes for fix in nearest_fixes(hybrid) if fix.makes_it_start]
    assert {"max_num_seqs": 100} in changes

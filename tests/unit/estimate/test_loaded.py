"""What flags leave of a model, and what loading it takes while freed memory is kept."""

from __future__ import annotations

import pytest
from packaging.version import Version

from planner.engine.command.meaning import read_flags
from planner.estimate.answer import Answer, Setup
from planner.estimate.loaded import loaded_model
from planner.hardware.by_name import find_gpu
from planner.hardware.placement import Placement
from planner.model.catalog import load_model

SLEEP = ["--enable-sleep-mode"]


def _asked(name: str, gpu: str, version: str, words: list[str]) -> Answer:
    flags = read_flags(words, Version(version))
    return Setup(model=load_model(name), placement=Placement(find_gpu(gpu)), version=Version(version),
                 settings={"max_model_len": 4096}, flags=flags).answer()  # fmt: skip


@pytest.mark.parametrize("version", ["0.8.5", "0.11.0", "0.24.0", "0.32.0"])
def test_sleep_mode_leaves_the_kv_cache_of_an_unquantised_model_alone(version: str) -> None:
    with_it, without = (_asked("Qwen/Qwen3-8B", "RTX 4090", version, words) for words in (SLEEP, []))
    assert with_it.verdict == without.verdict == "starts"
    assert with_it.deployment.memory.kv_interval_bytes == without.deployment.memory.kv_interval_bytes
    assert "--enable-sleep-mode" in with_it.reasons[-1]


def test_quantised_weights_that_do_not_fit_twice_are_a_risk_with_sleep_mode() -> None:
    """vLLM's issue 48680: such a model starts on a small card without sleep mode, and fails while loading with it."""
    assert _asked("Qwen/Qwen3-32B-AWQ", "RTX 5090", "0.24.0", []).verdict == "starts"
    found = _asked("Qwen/Qwen3-32B-AWQ", "RTX 5090", "0.24.0", SLEEP)
    assert found.verdict == "at risk"
    assert [danger.name for danger in found.dangers] == ["weights while loading"]
    assert _asked("Qwen/Qwen3-32B-AWQ", "A100 80GB", "0.24.0", SLEEP).verdict == "starts"


def test_a_tower_that_no_prompt_reaches_is_not_loaded() -> None:
    model = load_model("qwen2.5-vl-7b-instruct")
    flags = read_flags(["--limit-mm-per-prompt", '{"image": 0, "video": 0}'], Version("0.24.0"))
    assert not loaded_model(model, flags, Version("0.24.0")).has_vision_tower
    assert loaded_model(model, flags, Version("0.9.2")).has_vision_tower
    images = read_flags(["--limit-mm-per-prompt", '{"video": 0}'], Version("0.24.0"))
    assert loaded_model(model, images, Version("0.24.0")).has_vision_tower


def test_a_model_that_is_to_embed_loads_no_head() -> None:
    """Qwen3-8B's head is 151936 x 4096 weights; encoders have none, and keep no KV cache in V0 either."""
    pooled, plain = (_asked("Qwen/Qwen3-8B", "RTX 4090", "0.24.0", words) for words in (["--runner", "pooling"], []))
    fewer = plain.deployment.memory.weight_bytes - pooled.deployment.memory.weight_bytes
    assert fewer == pytest.approx(151936 * 4096 * 2, rel=0.01)
    assert (pooled.verdict, pooled.unmodelled) == ("starts", ())
    assert _asked("BAAI/bge-m3", "T4", "0.9.2", ["--task", "embed"]).verdict == "starts"

"""Drafters and experts that the engine refuses, and those that it takes, over five releases."""

from __future__ import annotations

from typing import Any

import pytest

from planner.estimate.batch import answer

RELEASES = ("0.8.5", "0.11.0", "0.24.0", "0.28.0", "0.32.0")


def _verdict(version: str, model: str = "Qwen/Qwen3-8B", **engine: Any) -> str:
    settings = {"max_model_len": 4096, **engine}
    request = {"id": 1, "model": model, "gpu": {"name": "H100 80GB"}, "num_gpus": 2, "vllm_version": version}
    return str(answer({**request, "engine": settings})["verdict"])


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize(
    "config",
    [
        {"method": "hocus", "num_speculative_tokens": 3},
        {"method": "ngram"},
        {"model": "Qwen/Qwen3-0.6B"},
        {"method": "mtp", "num_speculative_tokens": 1},
        {"method": "deepseek_mtp", "num_speculative_tokens": 1},
    ],
)
def test_a_drafter_without_method_or_tokens_is_refused(version: str, config: dict[str, Any]) -> None:
    assert _verdict(version, speculative_config=config) == "will not start"


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize(
    "config",
    [
        {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
        {"method": "suffix"},
        {"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 3},
    ],
)
def test_others_are_not(version: str, config: dict[str, Any]) -> None:
    assert _verdict(version, speculative_config=config) != "will not start"


@pytest.mark.parametrize("version", RELEASES)
def test_only_a_model_of_experts_shares_them_out(version: str) -> None:
    both = {"tensor_parallel_size": 2, "enable_expert_parallel": True}
    assert _verdict(version, **both) == "will not start"
    assert _verdict(version, "Qwen/Qwen3-30B-A3B", **both) == "starts"


@pytest.mark.parametrize(
    ("model", "version", "is_served"),
    [
        ("Qwen/Qwen3.5-9B", "0.18.0", True),
        ("Qwen/Qwen3.5-9B", "0.24.0", True),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "0.11.0", True),
        ("zai-org/GLM-4.5-Air", "0.11.0", True),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", "0.20.0", True),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "0.20.0", False),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.24.0", False),
        ("google/gemma-3-4b-it", "0.24.0", False),
    ],
)
def test_multi_token_prediction_needs_a_class_of_the_models_type(model: str, version: str, is_served: bool) -> None:
    """hf_config_override of vllm@0.11.2, 0.18.0, 0.20.0 and 0.24.0 config/speculative.py."""
    found = answer({
        "id": 1, "model": model, "gpu": {"name": "B300"}, "num_gpus": 8, "vllm_version": version,
        "engine": {"tensor_parallel_size": 4, "speculative_config": {"method": "mtp", "num_speculative_tokens": 1}},
    })  # fmt: skip
    assert ("Unsupported speculative method: 'mtp'" in found["reasons"]) != is_served


@pytest.mark.parametrize(("runner", "version", "is_refused"), [("1", "0.24.0", True), ("0", "0.24.0", False),
                                                               ("1", "0.32.0", False)])  # fmt: skip
def test_a_forced_runner_serves_the_drafts_or_refuses(runner: str, version: str, is_refused: bool) -> None:
    drafts = {"method": "ngram", "num_speculative_tokens": 3}
    verdict = _verdict(version, speculative_config=drafts, VLLM_USE_V2_MODEL_RUNNER=runner)
    assert (verdict == "will not start") == is_refused

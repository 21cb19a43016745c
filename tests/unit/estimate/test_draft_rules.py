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
    "config", [{"method": "hocus", "num_speculative_tokens": 3}, {"method": "ngram"}, {"model": "Qwen/Qwen3-0.6B"}]
)
def test_a_drafter_without_method_or_tokens_is_refused(version: str, config: dict[str, Any]) -> None:
    assert _verdict(version, speculative_config=config) == "will not start"


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize(
    "config",
    [
        {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4},
        {"method": "deepseek_mtp", "num_speculative_tokens": 1},
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

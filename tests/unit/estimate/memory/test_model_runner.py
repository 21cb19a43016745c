"""Which model runner serves what, by version: the lists of vLLM's config/vllm.py."""

from __future__ import annotations

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.model_runner import uses_second_runner
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model

VERSIONS = ("0.22.0", "0.23.0", "0.24.0", "0.25.1", "0.28.0", "0.29.0", "0.33.0")


def _since(name: str, speculation: str | None = None) -> list[str]:
    """Versions in which model runner V2 serves the model."""
    model = load_model(name)
    settings = {"max_model_len": 4096, **({"speculative_config": speculation} if speculation else {})}
    engines = {version: resolve(settings, model, find_gpu("H200"), parse_version(version)) for version in VERSIONS}
    return [version for version, engine in engines.items() if uses_second_runner(model, engine)]


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("Qwen/Qwen3-8B", "0.23.0"),
        ("Qwen/Qwen3-8B-FP8", "0.24.0"),  # quantised
        ("deepseek-ai/DeepSeek-V2-Lite", "0.24.0"),  # a mixture that is on the list
        ("google/gemma-4-31B-it", "0.25.1"),  # dense
        ("Qwen/Qwen3-30B-A3B", "0.29.0"),  # a mixture that is not
        ("Qwen/Qwen3.5-9B", "0.29.0"),  # keeps states
    ],
)
def test_architectures_move_to_the_second_runner_version_by_version(name: str, since: str) -> None:
    assert _since(name) == list(VERSIONS[VERSIONS.index(since) :])


@pytest.mark.parametrize(
    ("speculation", "served"),
    [
        ('{"method": "eagle3", "model": "x/eagle3", "num_speculative_tokens": 3}', VERSIONS[1:]),
        ('{"method": "dflash", "model": "x/dflash", "num_speculative_tokens": 7}', VERSIONS[2:]),
        ('{"model": "Qwen/Qwen3-0.6B", "num_speculative_tokens": 4}', VERSIONS[6:]),
        ('{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}', VERSIONS[6:]),
        ('{"method": "suffix", "num_speculative_tokens": 4}', ()),
    ],
)
def test_a_method_that_it_does_not_know_keeps_the_first_runner(speculation: str, served: tuple[str, ...]) -> None:
    assert _since("Qwen/Qwen3-8B", speculation) == list(served)

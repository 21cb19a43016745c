"""Which runner serves which model, by release, as vLLM's config/vllm.py decides it."""

from __future__ import annotations

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.memory.runners import uses_second_runner
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model

RELEASES = ("0.20.2", "0.22.0", "0.23.0", "0.24.0", "0.25.1", "0.28.0", "0.29.0", "0.33.0")


def _releases(name: str, **settings: object) -> set[str]:
    """The releases of RELEASES whose second runner serves the model."""
    model, gpu = load_model(name), find_gpu("H200")
    found = set()
    for release in RELEASES:
        engine = resolve({"max_model_len": 4096, **settings}, model, gpu, parse_version(release))
        if uses_second_runner(model, engine):
            found.add(release)
    return found


def _from(release: str) -> set[str]:
    return set(RELEASES[RELEASES.index(release) :])


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("qwen3-8b", "0.22.0"),
        ("llama-3.1-8b", "0.23.0"),
        ("qwen3-32b-awq", "0.24.0"),  # quantised
        ("deepseek-v2-lite", "0.24.0"),  # a mixture that is named
        ("qwen2.5-7b", "0.25.1"),  # dense, but not named before
        ("qwen2.5-vl-7b-instruct", "0.25.1"),
        ("qwen3-30b-a3b", "0.29.0"),  # experts
        ("qwen3-next-80b-a3b-instruct", "0.29.0"),  # states
    ],
)
def test_the_second_runner_serves_a_model_from_a_release_on(name: str, first: str) -> None:
    assert _releases(name) == _from(first)


@pytest.mark.parametrize(
    ("config", "first"),
    [
        ('{"method": "ngram", "num_speculative_tokens": 3}', "0.33.0"),
        ('{"method": "draft_model", "model": "qwen3-0.6b", "num_speculative_tokens": 3}', "0.33.0"),
        ('{"method": "dflash", "model": "a/b", "num_speculative_tokens": 7}', "0.24.0"),
        ('{"method": "eagle3", "model": "a/b", "num_speculative_tokens": 3}', "0.22.0"),
    ],
)
def test_a_drafter_that_it_does_not_know_leaves_the_model_to_the_first_runner(config: str, first: str) -> None:
    assert _releases("qwen3-8b", speculative_config=config) == _from(first)


def test_it_never_serves_suffix_decoding() -> None:
    assert _releases("qwen3-8b", speculative_config='{"method": "suffix", "num_speculative_tokens": 3}') == set()


def test_eagle3_with_stages_waits_for_0_30() -> None:
    eagle = '{"method": "eagle3", "model": "a/b", "num_speculative_tokens": 3}'
    assert _releases("qwen3-8b", speculative_config=eagle, pipeline_parallel_size=2) == {"0.33.0"}

"""The sampler's part of the profile run, with a drafter and without."""

from __future__ import annotations

import pytest

from planner.engine.defaults import resolve
from planner.engine.versions import parse_version
from planner.estimate.batch import answer
from planner.estimate.memory.activations import activation_bytes
from planner.estimate.memory.weights import Rank
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model

NGRAM = '{"method": "ngram", "num_speculative_tokens": 3}'
GPU = find_gpu("L40S")
MODEL = load_model("qwen2.5-7b")
WHOLE = Rank(0, 0, 0, MODEL.num_hidden_layers, True, True, samples=True)


def _peak(version: str, seqs: int, speculative_config: str | None) -> float:
    settings = {"max_model_len": 4096, "max_num_seqs": seqs, "max_num_batched_tokens": 2048}
    settings |= {"speculative_config": speculative_config, "enforce_eager": True}
    engine = resolve(settings, MODEL, GPU, parse_version(version))
    return float(activation_bytes(MODEL, GPU, engine, WHOLE))


@pytest.mark.parametrize(("version", "more"), [("0.16.0", 12), ("0.18.0", 16), ("0.24.0", 16)])
def test_the_rejection_sampler_takes_more_for_each_row_and_word(version: str, more: int) -> None:
    """Per row and word of the vocabulary; without a drafter the top-k kernel's buffer of 132 rows comes on top."""
    rows = 1024
    found = _peak(version, rows, NGRAM) - _peak(version, rows, None)
    assert found == pytest.approx((more * rows - 4 * 132) * MODEL.vocab_size)


def test_the_second_runner_does_not_profile_it() -> None:
    assert _peak("0.33.0", 1024, NGRAM) == _peak("0.33.0", 1024, None)


def test_an_old_rejection_sampler_works_in_place() -> None:
    assert _peak("0.10.2", 1024, NGRAM) == _peak("0.10.2", 1024, None)


@pytest.mark.parametrize(
    ("model", "utilization", "blocks"), [("Qwen/Qwen3.6-27B", 0.95, 556), ("Qwen/Qwen3.6-27B-FP8", 0.92, 939)]
)
def test_blocks_of_a_hybrid_with_its_own_drafter_are_what_a_start_logged(
    model: str, utilization: float, blocks: int
) -> None:
    """vllm-project/recipes pull 831: 1024 sequences, multi-token prediction; 939 and 556 blocks were logged."""
    engine = {
        "gpu_memory_utilization": utilization,
        "max_num_seqs": 1024,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 3},
    }
    request = {"id": 1, "model": model, "gpu": {"name": "RTX PRO 6000"}, "vllm_version": "0.26.0", "engine": engine}
    found = answer(request)
    assert found["verdict"] == "will not start"
    assert "Mamba cache blocks" in found["reasons"][0]
    assert found["kv_blocks"] == pytest.approx(blocks, rel=0.05)
    alone = answer({**request, "engine": {key: value for key, value in engine.items() if key != "speculative_config"}})
    assert alone["kv_blocks"] > 1.15 * found["kv_blocks"]

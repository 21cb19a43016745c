"""FP8 weights whose blocks do not divide over the ranks, as releases refuse or take them."""

from __future__ import annotations

import pytest

from planner.estimate.batch import answer


def _reasons(model: str, version: str, ranks: int, **engine: object) -> list[str]:
    found = answer({
        "id": 1, "model": model, "gpu": {"name": "H200"}, "num_gpus": ranks, "vllm_version": version,
        "engine": {"tensor_parallel_size": ranks, "max_model_len": 8192, **engine},
    })  # fmt: skip
    return [reason for reason in found["reasons"] if "weight quantization block" in reason]


def test_experts_of_192_rows_a_rank_are_refused() -> None:
    """vLLM's issue 17569: Qwen3-235B-A22B-FP8 on eight cards of 0.8.5; whole experts start."""
    (reason,) = _reasons("Qwen/Qwen3-235B-A22B-FP8", "0.8.5", 8)
    assert reason.startswith("The output_size of gate's and up's weight = 192 is not divisible by weight quantization")
    assert not _reasons("Qwen/Qwen3-235B-A22B-FP8", "0.8.5", 8, enable_expert_parallel=True)
    assert not _reasons("Qwen/Qwen3-235B-A22B-FP8", "0.8.5", 4)


def test_later_releases_refine_the_scales_of_experts() -> None:
    """vLLM 0.32.0 builds Qwen3-30B-A3B-FP8 on four ranks of compute capability 9.0 (tests/golden/oracle)."""
    assert _reasons("Qwen/Qwen3-30B-A3B-FP8", "0.20.0", 4)
    assert not _reasons("Qwen/Qwen3-30B-A3B-FP8", "0.32.0", 4)


@pytest.mark.parametrize(("ranks", "refused"), [(2, False), (4, False), (8, True)])
def test_a_dense_mlp_divides_into_whole_blocks(ranks: int, refused: bool) -> None:
    """9728 rows of Qwen3-4B are 2432 = 19 x 128 on four ranks and 1216 on eight."""
    assert bool(_reasons("Qwen/Qwen3-4B-FP8", "0.24.0", ranks)) == refused


def test_unquantised_and_other_schemes_are_not_judged() -> None:
    assert not _reasons("Qwen/Qwen3-4B", "0.24.0", 8)
    assert not _reasons("Qwen/Qwen3-32B-AWQ", "0.24.0", 8)

"""Memory that other processes hold on the cards, by the rule of each release; different cards of one host."""

from __future__ import annotations

from typing import Any

import pytest

from planner.estimate.batch import answer


def _asked(
    version: str, name: str = "RTX 4090", used_gib: float = 0.0, model: str = "Qwen/Qwen3-8B", **engine: Any
) -> dict[str, Any]:
    request = {
        "id": 1,
        "model": model,
        "gpu": {"name": name, "used_gib": used_gib},
        "vllm_version": version,
        "engine": {"max_model_len": 8192, "max_num_seqs": 16, "dtype": "half", **engine},
    }
    return answer(request)


@pytest.mark.parametrize("version", ["0.11.0", "0.24.0", "0.32.0"])
def test_v1_refuses_to_start_where_less_than_the_budget_is_free(version: str) -> None:
    found = _asked(version, used_gib=4.0)
    assert found["verdict"] == "will not start"
    assert found["reasons"][0].startswith("Free memory on device (19.")
    assert "is less than desired GPU memory utilization" in found["reasons"][0]
    lower = _asked(version, used_gib=1.0, gpu_memory_utilization=0.9)
    assert lower["verdict"] == "starts"
    assert lower["kv_cache_gib"] == _asked(version, gpu_memory_utilization=0.9)["kv_cache_gib"]


def test_v1_of_0_8_takes_it_out_of_the_budget() -> None:
    lost = _asked("0.8.5")["kv_cache_gib"] - _asked("0.8.5", used_gib=2.0)["kv_cache_gib"]
    assert lost == pytest.approx(2.0, abs=0.01)


def test_v0_does_not_look_and_runs_out_of_memory() -> None:
    free, used = (_asked("0.7.3", used_gib=used, model="Qwen/Qwen2.5-7B-Instruct") for used in (0.0, 4.0))
    assert free["kv_cache_gib"] == used["kv_cache_gib"]
    assert free["verdict"] == "starts"
    assert used["verdict"] == "will not start"
    assert "out of memory" in used["reasons"][0]


def test_of_different_cards_the_smallest_decides() -> None:
    small, large = (_asked("0.24.0", name, tensor_parallel_size=2) for name in ("RTX 3080", "RTX 3090"))
    mixed = _asked("0.24.0", "RTX 3090 + RTX 3080", tensor_parallel_size=2)
    assert mixed["kv_cache_gib"] == pytest.approx(small["kv_cache_gib"], abs=0.01)
    assert mixed["kv_cache_gib"] < large["kv_cache_gib"] - 5
    assert any(reason.startswith("of different cards the smallest decides") for reason in mixed["reasons"])

"""Room for LoRA adapters has vLLM's defaults."""

from __future__ import annotations

from planner.engine.adapters import Lora


def test_the_defaults_are_vllms() -> None:
    """vllm@0.24.0 config/lora.py:LoRAConfig."""
    assert (Lora().max_loras, Lora().max_rank, Lora().is_fully_sharded) == (1, 16, False)

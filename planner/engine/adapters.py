"""`Lora`: the adapters, and their rank, for which `--enable-lora` makes the engine keep room on the cards.

In: nothing; `command/meaning.py` reads the flags. Says nothing of memory.
Source: vllm@0.24.0 config/lora.py:LoRAConfig.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lora:
    """Room for LoRA adapters, which is taken when the engine starts, whatever adapters are loaded later."""

    max_loras: int = 1
    """Adapters in one batch."""
    max_rank: int = 16
    is_fully_sharded: bool = False
    """Whether the first matrix of each adapter is divided among the ranks too."""

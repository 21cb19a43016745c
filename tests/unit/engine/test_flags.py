"""Settings as a person types them."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from planner.engine.flags import flag_words, flags_in


@pytest.mark.parametrize(
    ("field", "value", "version", "words"),
    [
        ("max_model_len", 8192, "0.33.0", "--max-model-len 8192"),
        ("gpu_memory_utilization", 0.95, "0.33.0", "--gpu-memory-utilization 0.95"),
        ("enforce_eager", True, "0.8.4", "--enforce-eager"),
        ("enable_prefix_caching", False, "0.33.0", "--no-enable-prefix-caching"),
        ("enforce_eager", False, "0.8.4", "without --enforce-eager"),
    ],
)
def test_a_setting_as_its_release_takes_it(field: str, value: Any, version: str, words: str) -> None:
    assert flag_words(field, value, Version(version)) == words


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("Lower max_model_len or num_gpu_blocks_override.", "Lower --max-model-len or --num-gpu-blocks-override."),
        ("set attention_backend TRITON_ATTN", "set --attention-backend TRITON_ATTN"),
        ("over max_seq_len_to_capture (8192)", "over --max-seq-len-to-capture (8192)"),
        ("Try increasing `gpu_memory_utilization`", "Try increasing `gpu_memory_utilization`"),
        ("num_speculative_tokens 1", "num_speculative_tokens 1"),
        ("the key fix_mistral_regex", "the key fix_mistral_regex"),
        ("--max-num-seqs and NCCL_DEBUG=INFO", "--max-num-seqs and NCCL_DEBUG=INFO"),
    ],
)  # fmt: skip
def test_settings_in_a_sentence_become_flags(text: str, typed: str) -> None:
    assert flags_in(text) == typed

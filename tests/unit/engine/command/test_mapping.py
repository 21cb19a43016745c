"""Flags as a mapping: the same rules as for words."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from planner.engine.command.mapping import MappedFlags, read_mapping
from planner.errors import InputError


def _read(version: str = "0.24.0", **given: Any) -> MappedFlags:
    return read_mapping(given, Version(version))


def test_settings_under_any_of_their_names() -> None:
    given = {"--max-model-len": "16k", "max_num_batched_tokens": "2K", "no-enable-prefix-caching": True, "tp": 2,
             "kv-cache-memory": "4G", "VLLM_ATTENTION_BACKEND": "FLASH_ATTN", "dtype": None}  # fmt: skip
    found = read_mapping(given, Version("0.24.0"))
    assert found.settings == {
        "max_model_len": 16000, "max_num_batched_tokens": 2048, "enable_prefix_caching": False,
        "tensor_parallel_size": 2, "kv_cache_memory_bytes": 4 << 30, "attention_backend": "FLASH_ATTN",
    }  # fmt: skip
    assert found.flags.doubts == ()


def test_other_flags_have_their_effects() -> None:
    found = _read(port=1, enable_lora=True, enable_sleep_mode=False, speculative_config={"method": "mtp"}, own_flag=1)
    assert found.settings == {"speculative_config": '{"method": "mtp"}'}
    assert [doubt.flags for doubt in found.flags.doubts] == [
        ("--enable-lora",),
        ("--speculative-config",),
        ("--own-flag",),
    ]
    assert set(found.flags.set_aside) == {"--port", "--enable-sleep-mode"}


@pytest.mark.parametrize(
    ("version", "given", "told"),
    [
        ("0.10.0", {"enable_reasoning": True}, "unrecognized arguments: --enable-reasoning (since 0.7.1, until 0.9.2)"),
        ("0.24.0", {"gpu_memory_utilization": 1.2}, "gpu_memory_utilization: 1.2: Expected `float` <= 1.0"),
        ("0.24.0", {"speculative_config": "{not json"}, "--speculative-config: invalid loads value"),
        ("0.8.3", {"max_model_len": "16k"}, "argument --max-model-len: invalid int value: '16k'"),
        ("0.24.0", {"lora_dtype": "int3"}, "argument --lora-dtype: invalid choice"),
    ],
)
def test_what_the_release_refuses_is_told_in_its_words(version: str, given: dict[str, Any], told: str) -> None:
    (refused,) = _read(version, **given).refused
    assert told in refused


def test_auto_is_a_context_since_0_14() -> None:
    assert _read("0.14.0", max_model_len=-1).is_context_auto
    assert _read("0.13.0", max_model_len=-1).refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_num_batch_tokens": 1}, "max_num_batched_tokens is meant?"),
        ({"max_num_seqs": [1]}, "a list or mapping is not a value"),
        ({"max_num_seqs": "many"}, "engine.max_num_seqs: Expected `int"),
        ({"tp": 1, "tensor-parallel-size": 1}, "tp and tensor-parallel-size are one flag"),
        ({"--": 1}, "is no name of a flag"),
    ],
)
def test_what_cannot_be_read_is_one_line(given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        read_mapping(given, Version("0.24.0"))
    assert told in str(caught.value)

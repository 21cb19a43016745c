"""What vLLM makes of unset flags, by version and card (engine/arg_utils.py of the wheels)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.engine.defaults import generation_of, resolve, resolve_dtype
from planner.engine.versions import parse_version
from planner.hardware.by_name import find_gpu
from planner.model.catalog import load_model

MODEL = load_model("Qwen/Qwen3-32B")


@pytest.mark.parametrize(
    ("version", "gpu", "settings", "expected"),
    [
        # V0: above 32768 tokens of context chunked prefill turns itself on, and only then the step is short.
        ("0.8.5", "RTX 2080 Ti", {}, {"enable_chunked_prefill": True, "max_num_batched_tokens": 2048}),
        ("0.8.5", "RTX 2080 Ti", {"max_model_len": 32769}, {"enable_chunked_prefill": True}),
        (
            "0.8.5",
            "RTX 2080 Ti",
            {"max_model_len": 32768},
            {"enable_chunked_prefill": False, "max_num_batched_tokens": 32768, "max_num_seqs": 256},
        ),
        ("0.8.5", "RTX 2080 Ti", {"max_model_len": 1024}, {"max_num_batched_tokens": 2048}),
        (
            "0.8.5",
            "RTX 2080 Ti",
            {},
            {"generation": "V0", "attention_backend": "XFORMERS", "swap_space": 4.0, "block_size": 16},
        ),
        ("0.8.5", "RTX 2080 Ti", {}, {"enable_prefix_caching": False, "gpu_memory_utilization": 0.90}),
        ("0.8.5", "RTX 2080 Ti", {"max_model_len": 4096}, {"max_seq_len_to_capture": 4096}),
        ("0.6.6", "H100 80GB", {}, {"generation": "V0", "attention_backend": "FLASH_ATTN", "max_num_seqs": 256}),
        # V1: chunked prefill and prefix caching on; the step by the card's size.
        (
            "0.8.5",
            "H100 80GB",
            {"max_model_len": 4096},
            {"generation": "V1", "enable_chunked_prefill": True, "enable_prefix_caching": True, "swap_space": 0.0},
        ),
        ("0.8.5", "H100 80GB", {}, {"max_num_batched_tokens": 8192, "max_num_seqs": 1024}),
        ("0.8.5", "RTX 3090", {}, {"max_num_batched_tokens": 2048, "max_num_seqs": 256}),
        ("0.33.0", "A100 80GB", {}, {"max_num_batched_tokens": 2048, "max_num_seqs": 256}),
        ("0.33.0", "B200", {}, {"max_num_batched_tokens": 16384, "max_num_seqs": 1024}),
        ("0.14.1", "RTX 3090", {}, {"gpu_memory_utilization": 0.90}),
        ("0.20.2", "RTX 3090", {}, {"gpu_memory_utilization": 0.92}),
        ("0.10.2", "T4", {}, {"generation": "V1", "attention_backend": "FLEX_ATTENTION", "dtype": "float16"}),
        ("0.14.1", "T4", {}, {"generation": "V1", "attention_backend": "FLASHINFER"}),
        (
            "0.32.0",
            "CPU",
            {},
            {"block_size": 128, "max_num_batched_tokens": 2048, "max_num_seqs": 128, "dtype": "bfloat16"},
        ),
        # what is set stays
        ("0.8.5", "T4", {"max_num_batched_tokens": 512, "swap_space": 0}, {"max_num_batched_tokens": 512}),
        ("0.8.5", "T4", {"swap_space": 0, "enable_chunked_prefill": False}, {"swap_space": 0}),
    ],
)
def test_unset_flags(version: str, gpu: str, settings: dict[str, Any], expected: dict[str, Any]) -> None:
    engine = resolve(settings, MODEL, find_gpu(gpu), parse_version(version))
    assert {name: getattr(engine, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("version", "gpu", "settings", "generation"),
    [
        ("0.7.3", "H200", {}, "V0"),
        ("0.8.5", "H200", {"attention_backend": "XFORMERS"}, "V0"),
        ("0.8.5", "H200", {"num_scheduler_steps": 8}, "V0"),
        ("0.8.5", "H200", {}, "V1"),
        ("0.9.2", "T4", {}, "V0"),
        ("0.10.2", "T4", {}, "V1"),
        ("0.11.0", "V100 32GB", {}, "V1"),
    ],
)
def test_which_engine_serves(version: str, gpu: str, settings: dict[str, Any], generation: str) -> None:
    assert generation_of(parse_version(version), find_gpu(gpu), settings) == generation


@pytest.mark.parametrize(
    ("dtype", "gpu", "version", "used"),
    [
        (None, "T4", "0.8.5", "bfloat16"),  # refused later: 0.8.5 does not fall back
        ("auto", "T4", "0.9.2", "float16"),
        ("half", "T4", "0.8.5", "float16"),
        (None, "RTX 3090", "0.8.5", "bfloat16"),
        ("bfloat16", "T4", "0.9.2", "bfloat16"),
        (None, "CPU", "0.32.0", "bfloat16"),
    ],
)
def test_dtype(dtype: str | None, gpu: str, version: str, used: str) -> None:
    assert resolve_dtype(dtype, MODEL, find_gpu(gpu), parse_version(version)) == used


def test_a_column_of_contexts_gets_a_column_of_defaults() -> None:
    lengths = np.array([1024, 32768, 32769])
    engine = resolve({"max_model_len": lengths}, MODEL, find_gpu("T4"), parse_version("0.8.5"))
    assert np.asarray(engine.max_num_batched_tokens).tolist() == [2048, 32768, 2048]
    assert np.asarray(engine.enable_chunked_prefill).tolist() == [False, False, True]
    assert np.asarray(engine.max_seq_len_to_capture).tolist() == [1024, 8192, 8192]

"""vLLM's settings: the only home of their names, and of how a version spells them on its command line.

Holds `EngineConfig`, which `flags.py` turns into argv and environment. A field that is None is not passed, so the
engine's own default holds; `defaults.py` says what it is. Does not know models, GPUs, docker or optuna.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from planner.errors import InputError
from planner.files import explained, matching

MOST = 2**31 - 1
"""Largest count of tokens, sequences or blocks; an engine counts in 32 bits."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Ranks = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Gib = Annotated[float, msgspec.Meta(ge=0, le=1e6)]

KvCacheDtype = Literal[
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "fp8_per_token_head",
    "int8_per_token_head", "int4_per_token_head", "nvfp4", "nvfp4_4over6", "nvfp4_ds_mla", "turboquant_k8v4",
    "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc", "octave_k3v3", "octave_k3v3_compact",
    "octave_k3v4", "ultraquant_4bit",
]  # fmt: skip
"""Values of kv_cache_dtype that some release takes (vllm@0.33.0 config/cache.py); which takes which: flag_table.py."""


class EngineConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Settings of one vLLM engine, under vLLM's own names (`vllm serve --help`). None: not passed."""

    dtype: Literal["auto", "half", "float16", "bfloat16", "float32"] | None = None
    quantization: str | None = None
    tensor_parallel_size: Ranks | None = None
    pipeline_parallel_size: Ranks | None = None
    data_parallel_size: Ranks | None = None
    enable_expert_parallel: bool | None = None
    max_model_len: Positive | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    gpu_memory_utilization: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    kv_cache_memory_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**50)] | None = None
    block_size: Annotated[int, msgspec.Meta(ge=1, le=65536)] | None = None
    kv_cache_dtype: KvCacheDtype | None = None
    swap_space: Gib | None = None
    cpu_offload_gb: Gib | None = None
    enable_chunked_prefill: bool | None = None
    enable_prefix_caching: bool | None = None
    enforce_eager: bool | None = None
    max_seq_len_to_capture: Positive | None = None
    max_cudagraph_capture_size: Positive | None = None
    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=3)] | None = None
    max_num_partial_prefills: Positive | None = None
    max_long_partial_prefills: Positive | None = None
    long_prefill_token_threshold: Count | None = None
    scheduler_delay_factor: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None = None
    num_scheduler_steps: Positive | None = None
    num_gpu_blocks_override: Positive | None = None
    async_scheduling: bool | None = None
    speculative_config: Annotated[str, matching(r"^\{.*\}$", 'JSON in braces, as {"method": "ngram"}')] | None = None
    disable_custom_all_reduce: bool | None = None
    attention_backend: str | None = None
    load_format: str | None = None
    trust_remote_code: bool | None = None


FIELDS: tuple[str, ...] = EngineConfig.__struct_fields__
BOOLEANS = {name for name, kind in get_type_hints(EngineConfig).items() if kind == bool | None}


def settings(engine: EngineConfig) -> dict[str, Any]:
    """The settings that are not None, by field name."""
    return {name: value for name in FIELDS if (value := getattr(engine, name)) is not None}


def words_of(value: Any) -> str:
    """A setting's value as shown to people: `on` for True, `0.9` for 0.90."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def convert_settings(values: dict[str, Any], where: str) -> EngineConfig:
    """Typed settings from values that may be text. Raises InputError that begins with `where` and names the setting."""
    try:
        return msgspec.convert(values, EngineConfig, strict=False)
    except msgspec.ValidationError as error:
        path, message = explained(error, EngineConfig)
        message = message.replace(" | null", "")
        if path in values and message.startswith("Expected"):
            message = f"{message.partition(', got ')[0]}, got {values[path]!r}"
        raise InputError(f"{where}: {path + ': ' if path else ''}{message}") from None

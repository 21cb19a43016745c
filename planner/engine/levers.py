"""Named groups of settings that a user may allow the search to change, such as a cheaper KV cache."""

from __future__ import annotations

from typing import Literal, get_args

from planner.errors import InputError

Lever = Literal["scheduler", "layout", "numerics", "engine"]
"""Groups of settings for `--levers`: `scheduler`, what runs together in a step and the memory for it; `layout`, how the
cards are divided; `numerics`, everything that can change answers and so must pass the quality gate; `engine`, how the
same work is done."""
LEVERS: tuple[str, ...] = get_args(Lever)
_LEVER_OF: dict[str, Lever] = {
    **dict.fromkeys(("dtype", "quantization", "kv_cache_dtype"), "numerics"),
    **dict.fromkeys(
        ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "enable_expert_parallel"), "layout"
    ),
    **dict.fromkeys(
        ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_bytes",
         "block_size", "swap_space", "enable_chunked_prefill", "enable_prefix_caching", "max_num_partial_prefills",
         "max_long_partial_prefills", "long_prefill_token_threshold", "scheduler_delay_factor", "num_scheduler_steps",
         "num_gpu_blocks_override"), "scheduler",
    ),
    **dict.fromkeys(
        ("cpu_offload_gb", "enforce_eager", "max_seq_len_to_capture", "max_cudagraph_capture_size",
         "optimization_level", "async_scheduling", "speculative_config", "disable_custom_all_reduce",
         "attention_backend", "load_format", "trust_remote_code"), "engine",
    ),
}  # fmt: skip
"""The group of every setting; listed nowhere else."""


def lever_of(field: str) -> Lever:
    """The group of a setting of EngineConfig."""
    return _LEVER_OF[field]


def parse_levers(text: str) -> tuple[str, ...]:
    """Parse `scheduler,layout` or `all`; returns the groups in the order of LEVERS. Raises InputError."""
    asked = {word.strip() for word in text.split(",")}
    if asked == {"all"}:
        return LEVERS
    if unknown := sorted(asked - set(LEVERS)):
        raise InputError(f"--levers {text}: {unknown[0]!r} is no group; allowed: {', '.join(LEVERS)} or all")
    return tuple(lever for lever in LEVERS if lever in asked)

"""vLLM versions: which setting exists from and until which release, and how a version is parsed."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

from planner.errors import InputError

# First version that knows a setting, and first that no longer does, read in vllm/engine/arg_utils.py of the wheels.
# Where wheels in between were not read, the cautious end: rather a flag not written than one the engine refuses.
SINCE: dict[str, str] = {
    "enable_expert_parallel": "0.8.3",
    "data_parallel_size": "0.8.3",
    "max_num_partial_prefills": "0.7.3",
    "max_long_partial_prefills": "0.7.3",
    "long_prefill_token_threshold": "0.7.3",
    "kv_cache_memory_bytes": "0.10.2",
    "async_scheduling": "0.10.0",
    "max_cudagraph_capture_size": "0.11.1",
    "optimization_level": "0.12.0",
    "speculative_config": "0.8.3",
}
UNTIL: dict[str, str] = {
    "swap_space": "0.18.0",
    "num_scheduler_steps": "0.10.0",
    "max_seq_len_to_capture": "0.11.1",
    "scheduler_delay_factor": "0.11.0",
    "max_num_partial_prefills": "0.27.0",
    "max_long_partial_prefills": "0.27.0",
}

GRAPHS_FOLLOW_MAX_NUM_SEQS_SINCE = Version("0.10.0")
"""V1 captures CUDA graphs up to twice max_num_seqs; before, always up to the largest (vLLM's pull request 20628)."""


MOST_VERSION = 100
"""Characters of a version; of thousands of digits Python makes no number."""


def parse_version(text: str) -> Version:
    """vLLM's version, with or without a leading v. Raises InputError."""
    try:
        return Version(text[:MOST_VERSION].removeprefix("v"))
    except InvalidVersion:
        raise InputError(f"vLLM version {text!r} is not a version; write for example 0.8.5") from None


def knows(version: Version, field: str) -> bool:
    """Whether `vllm serve` of this version accepts the setting."""
    since, until = SINCE.get(field), UNTIL.get(field)
    return (since is None or version >= Version(since)) and (until is None or version < Version(until))

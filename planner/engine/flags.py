"""Settings spelled as `vllm serve` flags and variables of a version. `command.meaning` reads such words back."""

from __future__ import annotations

from typing import Any

from packaging.version import Version

from planner.engine.config import EngineConfig, settings
from planner.engine.flag_table import VllmFlag, release_of
from planner.engine.versions import ATTENTION_BACKEND, knows
from planner.errors import InputError

# The attention backend was an environment variable before it was a flag.
ATTENTION_BACKEND_ENV = "VLLM_ATTENTION_BACKEND"


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def serve_args(engine: EngineConfig, version: Version) -> list[str]:
    """Arguments of `vllm serve` for the settings that are set, in the order of the fields.

    Raises InputError if the version does not know one of them.
    """
    args: list[str] = []
    release = release_of(version)
    for field, value in settings(engine).items():
        if not knows(version, field):
            raise InputError(f"{flag(field)} is not a flag of vLLM {version}; leave {field} out")
        found = release.flag(flag(field))
        if found is None:  # the attention backend, which is a variable of the environment then
            continue
        if (refused := refused_value(found, value)) is not None:
            raise InputError(f"{field}: {refused} of vLLM {version}")
        args += _spell(found, value)
    return args


def refused_value(found: VllmFlag, value: Any) -> str | None:
    """What is wrong with a value that the release does not take, in argparse's words; None if nothing is known."""
    if not found.choices or str(value) in found.choices or found.name in OPEN:
        return None
    return f"invalid choice: {str(value)!r} (choose from {', '.join(found.choices)})"


def refused_choice(version: Version, field: str, value: Any) -> str | None:
    """What is wrong with a setting's value in this version; None if nothing is known to be."""
    found = release_of(version).flag(flag(field))
    return None if found is None or isinstance(value, bool) else refused_value(found, value)


OPEN = frozenset(map(flag, ("quantization", "load_format")))
"""Flags to whose values a plugin may add its own, so that no value is known to be refused."""


def _spell(found: VllmFlag, value: str | int | float | bool) -> list[str]:
    if not isinstance(value, bool):
        return [found.name, f"{value:.12g}" if isinstance(value, float) else str(value)]
    if value:
        return [found.name]
    if found.kind == "store_boolean":
        return [f"{found.name}=False"]
    # a release without the --no- form can only leave the flag out
    return ["--no-" + found.name[2:]] if found.kind == "bool_optional" else []


def serve_env(engine: EngineConfig, version: Version) -> dict[str, str]:
    """Environment variables for the settings that this version takes through its environment."""
    if engine.attention_backend and not release_of(version).knows(flag(ATTENTION_BACKEND)):
        return {ATTENTION_BACKEND_ENV: engine.attention_backend}
    return {}


NOT_COMPILED = frozenset({
    "gpu_memory_utilization", "enable_prefix_caching", "swap_space", "async_scheduling", "scheduling_policy",
    "enable_chunked_prefill", "long_prefill_token_threshold", "max_num_partial_prefills", "disable_custom_all_reduce",
})  # fmt: skip
"""Settings that are not part of the key of the engine's compile cache.

Source: vllm@0.32 config/{scheduler,cache,parallel}.py:compute_hash."""


def compile_cache_env(folder: str) -> dict[str, str]:
    """Environment that keeps all compile caches in `folder`: torch.compile, Triton, FlashInfer and the CUDA driver.

    Source: vllm@0.6.6..0.33.0 envs.py:VLLM_CACHE_ROOT; the other names are those libraries' own.
    """
    return {
        "VLLM_CACHE_ROOT": f"{folder}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "FLASHINFER_WORKSPACE_BASE": f"{folder}/flashinfer",
        "CUDA_CACHE_PATH": f"{folder}/cuda",
    }

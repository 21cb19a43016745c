"""Settings spelled as `vllm serve` flags and variables of a version. `command.meaning` reads such words back."""

from __future__ import annotations

import re
import shlex
from typing import Any

from packaging.version import Version

from planner.engine.config import EngineConfig, settings
from planner.engine.flag_table import VllmFlag, every_flag, release_of
from planner.engine.versions import ATTENTION_BACKEND, knows
from planner.errors import InputError

# The attention backend was an environment variable before it was a flag.
ATTENTION_BACKEND_ENV = "VLLM_ATTENTION_BACKEND"


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def flag_words(field: str, value: Any, version: Version) -> str:
    """A setting as a person types it: `--max-model-len 8192`, `--no-enable-prefix-caching`, `without --swap-space`."""
    found = release_of(version).flag(flag(field))
    words = [] if value is None else [flag(field), str(value)] if found is None else _spell(found, value)
    return shlex.join(words) or f"without {flag(field)}"


KEYS_TOO = frozenset({"num_speculative_tokens", "rope_scaling", "rope_theta"})
"""Keys of --speculative-config and of config.json, which were flags of their own once."""


def flags_in(text: str) -> str:
    """A sentence with vLLM's flags in place of settings: `lower max_model_len` -> `lower --max-model-len`."""

    def typed(match: re.Match[str]) -> str:
        return flag(match[0]) if flag(match[0]) in every_flag() and match[0] not in KEYS_TOO else match[0]

    return re.sub(r"(?<![\w`'\"./-])[a-z]+(?:_[a-z]+)+(?![\w`'\".(=]*[`'\"(=])", typed, text) if "_" in text else text


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
    if (known := OPEN.get(found.name)) is not None:
        is_known = str(value) in found.choices or str(value) in known.split()
        return None if is_known else UNKNOWN[found.name].format(value)
    if not found.choices or str(value) in found.choices:
        return None
    return f"invalid choice: {str(value)!r} (choose from {', '.join(found.choices)})"


def refused_choice(version: Version, field: str, value: Any) -> str | None:
    """What is wrong with a setting's value in this version; None if nothing is known to be."""
    found = release_of(version).flag(flag(field))
    return None if found is None or isinstance(value, bool) else refused_value(found, value)


OPEN = {
    flag("quantization"): "aqlm auto-round auto_awq auto_gptq awq awq_marlin bitblas bitsandbytes compressed-tensors "
    "cpu_awq deepseek_v4_fp8 deepspeedfp experts_int8 fbgemm_fp8 fp8 fp8_per_block fp8_per_channel fp8_per_tensor "
    "fp_quant gguf gpt_oss_mxfp4 gptq gptq_bitblas gptq_marlin gptq_marlin_24 hqq humming inc "
    "int8_per_channel_weight_only ipex marlin modelopt modelopt_fp4 modelopt_mixed modelopt_mxfp8 "
    "moe_wna16 mxfp4 mxfp8 nvfp4 nvfp4_per_token online petit_nvfp4 ptpc_fp8 qqq quark rtn torchao "
    "tpu_int8",
    flag("load_format"): "auto bitsandbytes dummy fastsafetensors gguf hf instanttensor mistral modelexpress npcache "
    "pt runai_streamer runai_streamer_sharded safetensors sharded_state tensorizer",
}
"""Flags to whose values a plugin may add its own, and the values of vllm@0.6.6 to 0.32.0 (layers/quantization/
__init__.py, model_loader/__init__.py): any of them is taken in any release, as a plugin may bring it back."""
UNKNOWN = {
    flag("quantization"): "Unknown quantization method: {}",
    flag("load_format"): "Load format `{}` is not supported",
}
"""vLLM's words for any other (vllm@0.24.0 config/model.py, model_loader/__init__.py)."""


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

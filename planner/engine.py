"""vLLM's settings: the only home of their names, and of how a version spells them on its command line.

`EngineConfig` -> argv and environment. A field that is None is not passed, so the engine's own default holds;
`defaults.py` says what that default is. Nothing here knows models, GPUs, docker or optuna.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from packaging.version import InvalidVersion, Version

from planner.errors import InputError
from planner.near import explained, half_width

MOST = 2**31 - 1
"""What an engine counts (tokens, sequences, blocks) it counts in 32 bits."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Ranks = Annotated[int, msgspec.Meta(ge=1, le=4096)]
Gib = Annotated[float, msgspec.Meta(ge=0, le=1e6)]

KvCacheDtype = Literal[
    "auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "fp8_per_token_head",
    "int8_per_token_head", "int4_per_token_head", "nvfp4", "nvfp4_4over6", "nvfp4_ds_mla", "turboquant_k8v4",
    "turboquant_4bit_nc", "turboquant_k3v4_nc", "turboquant_3bit_nc", "ultraquant_4bit",
]  # fmt: skip
"""vllm@0.32.0 serve --help; older versions know the first of them."""


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
    speculative_config: Annotated[str, msgspec.Meta(pattern=r"^\{.*\}$")] | None = None
    disable_custom_all_reduce: bool | None = None
    attention_backend: str | None = None
    load_format: str | None = None
    trust_remote_code: bool | None = None


FIELDS: tuple[str, ...] = EngineConfig.__struct_fields__
BOOLEANS = {name for name, kind in get_type_hints(EngineConfig).items() if kind == bool | None}
_BOOLEAN_WORDS = {"true", "false"}

Lever = Literal["scheduler", "layout", "numerics", "engine"]
"""Groups of settings that `--levers` asks for: `scheduler`, what runs together in a step and the memory for it;
`layout`, how the cards are shared out; `numerics`, whatever can change answers, so that it passes the quality gate;
`engine`, how the same work is done."""
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
"""The group of every setting: its only home."""


def lever_of(field: str) -> Lever:
    """The group of a setting."""
    return _LEVER_OF[field]


def parse_levers(text: str) -> tuple[str, ...]:
    """`scheduler,layout` or `all`, in the order of LEVERS. Raises InputError."""
    asked = {word.strip() for word in text.split(",")}
    if asked == {"all"}:
        return LEVERS
    if unknown := sorted(asked - set(LEVERS)):
        raise InputError(f"--levers {text}: {unknown[0]!r} is no group; allowed: {', '.join(LEVERS)} or all")
    return tuple(lever for lever in LEVERS if lever in asked)


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
# The attention backend was an environment variable before it was a flag.
ATTENTION_BACKEND_ENV = "VLLM_ATTENTION_BACKEND"
ATTENTION_BACKEND_FLAG_SINCE = Version("0.13.0")
# Booleans: `--x` alone (False: leave out), or `--x` / `--no-x`. 0.8.3 moved most to argparse.BooleanOptionalAction.
BOOLEAN_OPTIONAL_SINCE = Version("0.8.3")
_ALWAYS_OPTIONAL = {"enable_prefix_caching"}
_STORE_TRUE_UNTIL = {"enforce_eager": Version("0.9.0"), "trust_remote_code": Version("0.9.0")}


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


def flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def serve_args(engine: EngineConfig, version: Version) -> list[str]:
    """The flags of `vllm serve`, one setting after the other, in the order of the fields.

    Raises InputError when the version does not know a setting that is set.
    """
    args: list[str] = []
    for field, value in settings(engine).items():
        if not knows(version, field):
            raise InputError(f"{flag(field)} is not a flag of vLLM {version}; leave {field} out")
        if field == "attention_backend" and version < ATTENTION_BACKEND_FLAG_SINCE:
            continue
        args += _spell(field, value, version)
    return args


def _spell(field: str, value: str | int | float | bool, version: Version) -> list[str]:
    if not isinstance(value, bool):
        return [flag(field), f"{value:.12g}" if isinstance(value, float) else str(value)]
    if value:
        return [flag(field)]
    if field not in _ALWAYS_OPTIONAL and version < BOOLEAN_OPTIONAL_SINCE:
        # 0.6 and 0.7: --enable-chunked-prefill=False is the only boolean that takes a value; the rest are store_true.
        return [f"{flag(field)}=False"] if field == "enable_chunked_prefill" else []
    if version < _STORE_TRUE_UNTIL.get(field, Version("0")):
        return []
    return ["--no-" + field.replace("_", "-")]


def serve_env(engine: EngineConfig, version: Version) -> dict[str, str]:
    """Environment variables through which this version takes some settings."""
    if engine.attention_backend and version < ATTENTION_BACKEND_FLAG_SINCE:
        return {ATTENTION_BACKEND_ENV: engine.attention_backend}
    return {}


NOT_COMPILED = frozenset({
    "gpu_memory_utilization", "enable_prefix_caching", "swap_space", "async_scheduling", "scheduling_policy",
    "enable_chunked_prefill", "long_prefill_token_threshold", "max_num_partial_prefills", "disable_custom_all_reduce",
})  # fmt: skip
"""Settings that are no part of the key under which the engine keeps what it compiled.

Source: vllm@0.32 config/{scheduler,cache,parallel}.py:compute_hash."""


def compile_cache_env(folder: str) -> dict[str, str]:
    """Where an engine keeps what it compiles: torch.compile's graphs, Triton's, FlashInfer's and the driver's kernels.

    Source: vllm@0.6.6..0.33.0 envs.py:VLLM_CACHE_ROOT; the other names are those libraries' own.
    """
    return {
        "VLLM_CACHE_ROOT": f"{folder}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "FLASHINFER_WORKSPACE_BASE": f"{folder}/flashinfer",
        "CUDA_CACHE_PATH": f"{folder}/cuda",
    }


def settings(engine: EngineConfig) -> dict[str, Any]:
    """The settings that are set, by field name."""
    return {name: value for name in FIELDS if (value := getattr(engine, name)) is not None}


SHORT_FLAGS = {f"-{kind[0]}p": flag(f"{kind}_parallel_size") for kind in ("tensor", "pipeline", "data")}
"""vLLM's own (vllm@0.8.5, 0.32.0 engine/arg_utils.py); its -q is --quiet here."""
_OTHER_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d"
"""What editors, chats and Chinese keyboards make of a hyphen."""


def parse_flags(args: Iterable[str]) -> tuple[EngineConfig, list[str]]:
    """Read `--max-num-seqs 64 --enforce-eager --no-enable-prefix-caching` into settings; the rest comes back as it was.

    Raises InputError on a value of the wrong type, and on a dash that only looks like one.
    """
    values: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(args)
    while queue:
        word = queue.pop(0)
        if word[:1] in _OTHER_DASHES:
            plain = "--" + word.lstrip("-" + _OTHER_DASHES)
            raise InputError(f"command line: {word}: {word[0]} is no hyphen; write {plain}")
        word = SHORT_FLAGS.get(word, word)
        name, _, inline = word.removeprefix("--").partition("=")
        field, negated = name.replace("-", "_"), False
        if field.startswith("no_") and field[3:] in FIELDS:
            field, negated = field[3:], True
        if not word.startswith("--") or field not in FIELDS:
            rest.append(word)
        elif negated:
            values[field] = "false"
        elif inline:
            values[field] = half_width(inline)
        elif queue and not queue[0].startswith("--") and (field not in BOOLEANS or queue[0].lower() in _BOOLEAN_WORDS):
            values[field] = half_width(queue.pop(0))
        elif field not in BOOLEANS:
            raise InputError(f"command line: {field}: {word} needs a value")
        else:
            values[field] = "true"
    return convert_settings(values, "command line"), rest


def convert_settings(values: dict[str, Any], where: str) -> EngineConfig:
    """Strictly typed settings from loose text. Raises InputError naming the setting."""
    try:
        return msgspec.convert(values, EngineConfig, strict=False)
    except msgspec.ValidationError as error:
        path, message = explained(error, EngineConfig)
        message = message.replace(" | null", "")
        if path in values and message.startswith("Expected"):
            message = f"{message.partition(', got ')[0]}, got {values[path]!r}"
        raise InputError(f"{where}: {path + ': ' if path else ''}{message}") from None

"""Answer many requests in one process: `answer(request) -> document`, `answer_lines(lines)`; format in docs/formats.md.

In: one JSON object per request. Out: one JSON object per answer; a bad request is answered by its error, and the rest
are still answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

import msgspec

from planner.constraints import Constraint
from planner.engine import FIELDS, USE_V1_ENV, EngineConfig, supported_version
from planner.errors import InputError, PlannerError
from planner.estimate.answer import Answer, Setup, unknown_flags
from planner.files import LINE_BYTES, near_names
from planner.hardware import Amount, GpuRequest, Placement, card_of, interconnect_of
from planner.model import ModelSpec, load_model, spec_from_config
from planner.units import GIB


class EstimateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str | int
    model: str | dict[str, Any]
    """A directory, a config.json, a shipped name, or the mapping of a config.json."""
    weights_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**60)] | None = None
    """Size of all tensors of the checkpoint, in bytes."""
    gpu: GpuRequest
    num_gpus: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    vllm_version: str
    host_memory_gib: Amount | None = None
    engine: dict[str, Any] = {}
    """vLLM's flags, with underscores or dashes; null: not passed."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The document that answers one request, or {"id", "error"}. Raises nothing for a bad request."""
    name = request.get("id") if isinstance(request, Mapping) else None
    try:
        return _document(msgspec.convert(request, EstimateRequest))
    except msgspec.ValidationError as error:
        return {"id": name, "error": _one_line(error)}
    except PlannerError as error:
        return {"id": name, "error": str(error)}
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a config.json of nonsense
        return {"id": name, "error": f"cannot be judged: {type(error).__name__}: {error}"}


def answer_lines(lines: Iterable[str | bytes]) -> Iterator[str]:
    """Yield one JSON line per line that is not blank."""
    for line in lines:
        if not line.strip():
            continue
        try:
            document = answer(msgspec.json.decode(line))
        except (ValueError, RecursionError) as error:
            document = {"id": None, "error": f"is not JSON: {error}"}
        yield msgspec.json.encode(document).decode()


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a stream, one in memory at a time. Raises InputError for a line longer than LINE_BYTES."""
    number = 1
    while line := stream.readline(LINE_BYTES):
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise InputError(f"--requests: line {number} is longer than {LINE_BYTES >> 20} MiB")
        yield line
        number += 1


def _document(request: EstimateRequest) -> dict[str, Any]:
    return judge_request(request).document(request.id)


def judge_request(request: EstimateRequest) -> Answer:
    """Look up the model and card that a request names, and judge the deployment. Raises InputError."""
    model = _model(request)
    gpu, notes = card_of(request.gpu)
    settings, refused, unmodelled = read_flags(request.engine)
    version = supported_version(request.vllm_version, "vllm_version")
    world = (settings.get("tensor_parallel_size") or 1) * (settings.get("pipeline_parallel_size") or 1)
    placement = Placement(
        gpu,
        request.num_gpus or world,
        request.gpu.interconnect or interconnect_of(request.gpu.name or ""),
        None if request.host_memory_gib is None else round(request.host_memory_gib * GIB),
    )
    unknown = tuple(unknown_flags(settings, version))
    found = Setup(model=model, placement=placement, version=version, settings=settings, refused=unknown).answer()
    return replace(found, violated=(*refused, *found.violated), notes=(*found.notes, *notes, *unmodelled))


def _model(request: EstimateRequest) -> ModelSpec:
    if isinstance(request.model, str):
        model = load_model(request.model)
    else:
        config = request.model
        model = spec_from_config(config, str(config.get("_name_or_path") or "model"))
    return model if request.weights_bytes is None else replace(model, checkpoint_bytes=request.weights_bytes)


def _one_line(error: msgspec.ValidationError) -> str:
    message, _, path = str(error).partition(" - at `$")
    return f"{path.strip('.`')}: {message}" if path else message


# --- flags -----------------------------------------------------------------------------------------------------------

ALIASES = {
    "device_memory_utilization": "gpu_memory_utilization", "kv_cache_memory": "kv_cache_memory_bytes",
    "tp": "tensor_parallel_size", "pp": "pipeline_parallel_size", "dp": "data_parallel_size", "q": "quantization",
    "VLLM_ATTENTION_BACKEND": "attention_backend",
}  # fmt: skip
NO_MEMORY = {
    "model", "served_model_name", "tokenizer", "tokenizer_mode", "host", "port", "api_key", "seed", "revision",
    "disable_log_requests", "disable_log_stats", "enable_log_requests", "chat_template", "download_dir",
    "uvicorn_log_level", "distributed_executor_backend", "enable_auto_tool_choice", "tool_call_parser",
    "reasoning_parser", "enable_reasoning", "response_role", "max_log_len", "allowed_origins", "generation_config",
    "override_generation_config", "stream_interval", "guided_decoding_backend", "max_logprobs", "root_path",
    "ssl_keyfile", "ssl_certfile", "ignore_patterns", "task", "disable_uvicorn_access_log",
    "disable_frontend_multiprocessing", "collect_detailed_traces", "otlp_traces_endpoint", "tokenizer_pool_size",
    "middleware", "allow_credentials", "return_tokens_as_token_ids", "enable_server_load_tracking",
    "disable_async_output_proc", "preemption_mode", "scheduling_policy", "enable_force_include_usage",
    "max_parallel_loading_workers", "use_tqdm_on_load", "safetensors_load_strategy", "config_format", "hf_token",
}  # fmt: skip
"""Flags that do not affect memory."""
DRAFTS = "speculative_config"
"""Flag that adds a drafter; a mapping is written as the JSON that vLLM's command line takes."""
_WHOLE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([kmgtKMGT])")
_SCALE = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_RANGE = re.compile(r"Expected `\w+` (?:<|>)=? |Invalid enum value")


def read_flags(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Constraint], list[str]]:
    """Returns settings by EngineConfig's names, what vLLM's command line refuses, and notes on what is not modelled.

    Raises InputError for a misspelt flag or a value of the wrong type.
    """
    settings: dict[str, Any] = {}
    refused: list[Constraint] = []
    unmodelled: list[str] = []
    for key, value in given.items():
        name = key.lstrip("-").replace("-", "_")
        name = ALIASES.get(name, name)
        if value is None or name in NO_MEMORY or name == USE_V1_ENV:
            continue
        if name.startswith("no_") and name[3:] in FIELDS and isinstance(value, bool):
            name, value = name[3:], not value
        if name == DRAFTS and isinstance(value, Mapping):
            value = msgspec.json.encode(value).decode()
        if name not in FIELDS:
            near = near_names(name, FIELDS, most=1, cutoff=0.9)
            if near:
                raise InputError(f"engine.{key}: unknown; {near[0]} is meant?")
            unmodelled.append(f"{name} is not modelled: the estimate is without it")
            continue
        try:
            settings[name] = _setting(name, value)
        except msgspec.ValidationError as error:
            message = str(error).partition(" - at")[0]
            if not _RANGE.match(message):
                raise InputError(f"engine.{key}: {message}") from None
            refused.append(Constraint("values of flags", 1.0, f"vllm: error: {name}: {value!r}: {message}"))
    if USE_V1_ENV in given:
        settings[USE_V1_ENV] = str(given[USE_V1_ENV])
    return settings, refused, unmodelled


def _setting(name: str, value: Any) -> Any:
    """One typed value; `16k` and `16K` are read as vLLM reads them (utils: human_readable_int)."""
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        value = round(float(match[1]) * _SCALE[match[2]])
    if isinstance(value, list | dict):
        raise InputError(f"engine.{name}: a list or mapping is not a value of this setting")
    return getattr(msgspec.convert({name: value}, EngineConfig, strict=False), name)

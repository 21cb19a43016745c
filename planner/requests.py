"""Many questions in one process: `answer(request) -> document`, `answer_lines(lines)`; format in docs/formats.md.

In: one JSON object a request. Out: one JSON object an answer; a bad request gives its error, the others go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

import msgspec

from planner.constraints import Constraint
from planner.defaults import USE_V1_ENV
from planner.documents import LINE_BYTES
from planner.engine import FIELDS, EngineConfig, parse_version
from planner.errors import InputError, PlannerError
from planner.estimate import Answer, judge
from planner.hardware import GPUS, GpuSpec, Interconnect
from planner.model.catalog import load_model
from planner.model.config_json import spec_from_config
from planner.model.spec import ModelSpec
from planner.near import near_names
from planner.units import GIB, format_gib

Amount = Annotated[float, msgspec.Meta(gt=0, le=1e9)]


class GpuRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The card by name, by memory, or both; a card that is in no table needs its memory."""

    name: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    memory_gib: Amount | None = None
    """Total as CUDA reports it; a size cards are sold with is the label, of which CUDA shows less."""
    interconnect: Interconnect | None = None
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^\d+\.\d$")] | None = None


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: str | int
    model: str | dict[str, Any]
    """A directory, a config.json, a shipped name, or the mapping of a config.json."""
    weights_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**60)] | None = None
    """Of all tensors of the checkpoint."""
    gpu: GpuRequest
    num_gpus: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    vllm_version: str
    host_memory_gib: Amount | None = None
    engine: dict[str, Any] = {}
    """vLLM's flags, with underscores or dashes; null: not passed."""


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one request: its document, or {"id", "error"}."""
    name = request.get("id") if isinstance(request, Mapping) else None
    try:
        return _document(msgspec.convert(request, Request))
    except msgspec.ValidationError as error:
        return {"id": name, "error": _one_line(error)}
    except PlannerError as error:
        return {"id": name, "error": str(error)}
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a config.json of nonsense
        return {"id": name, "error": f"cannot be judged: {type(error).__name__}: {error}"}


def answer_lines(lines: Iterable[str | bytes]) -> Iterator[str]:
    """One JSON line for each line that is not blank."""
    for line in lines:
        if not line.strip():
            continue
        try:
            document = answer(msgspec.json.decode(line))
        except (ValueError, RecursionError) as error:
            document = {"id": None, "error": f"is not JSON: {error}"}
        yield msgspec.json.encode(document).decode()


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """The lines of a stream, one in memory at a time. Raises InputError for one without an end."""
    number = 1
    while line := stream.readline(LINE_BYTES):
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise InputError(f"--requests: line {number} is longer than {LINE_BYTES >> 20} MiB")
        yield line
        number += 1


def _document(request: Request) -> dict[str, Any]:
    return judge_request(request).document(request.id)


def judge_request(request: Request) -> Answer:
    """Look up what the request names, and judge it. Raises InputError."""
    model = _model(request)
    gpu, notes = card_of(request.gpu)
    settings, refused, unmodelled = read_flags(request.engine)
    version = parse_version(request.vllm_version)
    world = (settings.get("tensor_parallel_size") or 1) * (settings.get("pipeline_parallel_size") or 1)
    found = judge(
        model,
        gpu,
        request.num_gpus or world,
        request.gpu.interconnect or interconnect_of(request.gpu.name or ""),
        version,
        settings,
        None if request.host_memory_gib is None else round(request.host_memory_gib * GIB),
    )
    return replace(found, violated=(*refused, *found.violated), notes=(*found.notes, *notes, *unmodelled))


def _model(request: Request) -> ModelSpec:
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
"""Flags that change no memory."""
DRAFTS = "speculative_config"
"""A draft model's weights and cache are not modelled."""
_WHOLE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)([kmgtKMGT])")
_SCALE = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_RANGE = re.compile(r"Expected `\w+` (?:<|>)=? |Invalid enum value")


def read_flags(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Constraint], list[str]]:
    """Settings by EngineConfig's names, what vLLM's command line refuses, and what is not modelled.

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
        if name not in FIELDS or name == DRAFTS:
            near = near_names(name, FIELDS, most=1, cutoff=0.9)
            if near and name != DRAFTS:
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
    """One typed value; `16k` and `16K` as vLLM reads them (utils: human_readable_int)."""
    if isinstance(value, str) and (match := _WHOLE.fullmatch(value)):
        value = round(float(match[1]) * _SCALE[match[2]])
    if isinstance(value, list | dict):
        raise InputError(f"engine.{name}: a list or mapping is not a value of this setting")
    return getattr(msgspec.convert({name: value}, EngineConfig, strict=False), name)


# --- cards -----------------------------------------------------------------------------------------------------------

_NOISE = re.compile(
    r"nvidia|geforce|tesla|quadro|graphics|device|generation|edition|server|workstation|blackwell|gpu|unnamed"
    r"|sxm\d?|pcie?|hbm\de?|\d+ ?gi?b|[^a-z0-9]"
)
_SIZE_IN_LABEL = re.compile(r"(\d{1,6}) ?gi?b", re.IGNORECASE)
FAMILIES: tuple[tuple[str, tuple[int, int]], ...] = (
    (r"p100", (6, 0)), (r"p4|gtx10", (6, 1)), (r"v100|titanv", (7, 0)), (r"rtx\d000ada", (8, 9)),
    (r"t4|rtx20|titanrtx|gtx16|rtx[3-8]000", (7, 5)), (r"a100|a30$|a800", (8, 0)),
    (r"rtx30|a10|a40|a16|a2$|(rtx)?a\d000|orin", (8, 6)), (r"rtx40|l4|l20|l2$", (8, 9)),
    (r"h100|h200|h20|h800|gh200", (9, 0)), (r"b300|gb300", (10, 3)), (r"b200|b100|gb200", (10, 0)),
    (r"gb10|spark", (12, 1)), (r"rtx50|rtxpro", (12, 0)),
)  # fmt: skip
"""Compute capability by what a name starts with (developer.nvidia.com/cuda-gpus)."""
GUESSED_CAPABILITY = (8, 0)
"""Of a card without a name: the oldest that every current kernel serves."""
LABELS_GIB = {4, 6, 8, 10, 11, 12, 16, 20, 22, 24, 32, 40, 48, 64, 72, 80, 94, 96, 128, 141, 144, 180, 192, 288}
"""Sizes cards are sold with; a memory of exactly that many GiB is taken for the label."""
VISIBLE_SHARE = 0.98
"""Of the label, what CUDA reports: 0.976 to 0.993 over the cards of the table."""


def card_of(request: GpuRequest) -> tuple[GpuSpec, list[str]]:
    """The card meant, and what was guessed about it. Raises InputError where memory is needed and not given."""
    name = request.name or ""
    plain = _NOISE.sub("", name.lower())
    label = _label_gib(request)
    known = [gpu for gpu in GPUS if plain and _NOISE.sub("", gpu.name.lower()) == plain]
    notes: list[str] = []
    if known:
        wanted = (request.memory_gib or label or 0) * GIB
        card = min(known, key=lambda gpu: abs(gpu.memory_bytes - wanted))
    elif request.memory_gib is None and label is None:
        near = near_names(name, [gpu.name for gpu in GPUS], cutoff=0.4)
        raise InputError(f"gpu: {name!r} is not known{'; near: ' + ', '.join(near) if near else ''}; give memory_gib")
    else:
        card = _generic(name, plain, (label or 0) * VISIBLE_SHARE)
        if not request.compute_capability and card.source == "guess":
            notes.append("the card is not named: compute capability 8.0 is assumed")
    if request.memory_gib is not None and label is None:
        card = replace(card, memory_bytes=round(request.memory_gib * GIB))
    elif label is not None and not 0.94 * label < card.memory_bytes / GIB < 1.02 * label:  # a card with other chips
        card = replace(card, memory_bytes=round(label * VISIBLE_SHARE * GIB))
    if request.memory_gib is not None and label is not None:
        notes.append(f"{label:g} GiB taken for the label: {format_gib(card.memory_bytes)} are visible")
    if request.compute_capability:
        major, _, minor = request.compute_capability.partition(".")
        card = replace(card, compute_capability=(int(major), int(minor)))
    return card, notes


def _label_gib(request: GpuRequest) -> float | None:
    """The size on the box: a round number of GiB, or what the name says where no memory is given."""
    if request.memory_gib is not None:
        return request.memory_gib if request.memory_gib in LABELS_GIB else None
    match = _SIZE_IN_LABEL.search(request.name or "")
    return float(match[1]) if match else None


def _generic(name: str, plain: str, memory_gib: float) -> GpuSpec:
    capability = next((found for start, found in FAMILIES if re.match(start, plain)), None)
    return GpuSpec(
        name=name or "a GPU",
        memory_bytes=round(memory_gib * GIB),
        memory_bandwidth_bytes_per_s=0.5e12,
        peak_flop_per_s=100e12,
        compute_capability=capability or GUESSED_CAPABILITY,
        source="guess" if capability is None else "its family",
    )


def interconnect_of(name: str) -> Interconnect:
    """How cards of this name are usually joined: NVLink for the modules of data centres, PCIe for the rest."""
    if re.search(r"nvl\b", name, re.IGNORECASE):
        return "nvlink-pairs"
    modules = re.search(r"sxm|[ab]100|h100|h20\b|h200|[ah]800|b[23]00", name, re.IGNORECASE)
    return "nvlink" if modules and "pcie" not in name.lower() else "pcie"

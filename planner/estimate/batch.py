"""Answer many requests in one process: `answer(request) -> document`, `answer_lines(lines)`; format in docs/formats.md.

In: one JSON object per request. Out: one JSON object per answer; a bad request is answered by its error, and the rest
are still answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, BinaryIO

import msgspec

from planner.engine import SWITCHES, read_mapping, supported_version
from planner.errors import InputError, PlannerError
from planner.estimate.answer import Answer, Setup, unknown_flags
from planner.files import LINE_BYTES
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


BOM = b"\xef\xbb\xbf"
"""Mark that Windows editors put before UTF-8."""


def answer_lines(lines: Iterable[str | bytes]) -> Iterator[str]:
    """Yield one JSON line per line that is not blank."""
    for line in lines:
        text = line.encode() if isinstance(line, str) else line
        if not text.removeprefix(BOM).strip():
            continue
        try:
            document = answer(_decoded(text.removeprefix(BOM)))
        except (ValueError, RecursionError) as error:
            document = {"id": None, "error": f"is not JSON: {error}"}
        yield msgspec.json.encode(document).decode()


def _decoded(text: bytes) -> Any:
    """A line's JSON. Infinity and NaN, which config.json files of Mamba models have, count as Python's json reads them.

    Raises ValueError.
    """
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if not any(word in text for word in (b"Infinity", b"NaN")):
            raise
        return json.loads(text)


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
    version = supported_version(request.vllm_version, "vllm_version")
    read = read_mapping({key: value for key, value in request.engine.items() if key not in SWITCHES}, version)
    settings = {**read.settings, **_switches(request.engine)}
    world = (settings.get("tensor_parallel_size") or 1) * (settings.get("pipeline_parallel_size") or 1)
    placement = Placement(
        gpu,
        request.num_gpus or world,
        request.gpu.interconnect or interconnect_of(request.gpu.name or ""),
        None if request.host_memory_gib is None else round(request.host_memory_gib * GIB),
        used_bytes=round(request.gpu.used_gib * GIB),
    )
    unknown = tuple(unknown_flags(settings, version))
    setup = Setup(
        model=model, placement=placement, version=version, settings=settings, refused=unknown, flags=read.flags
    )
    found = setup.answer()
    return replace(found, notes=(*found.notes, *notes))


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


def _switches(engine: Mapping[str, Any]) -> dict[str, str]:
    """Variables that decide which engine serves, kept under their names. Raises InputError for no 0 or 1."""
    found = {name: str(engine[name]).strip() for name in SWITCHES if name in engine}
    for name, text in found.items():
        if text not in {"0", "1"}:
            raise InputError(f"engine.{name}: {text!r}: allowed are 0 and 1")
    return found

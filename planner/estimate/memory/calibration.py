"""Learn what a machine really used: `calibrate(estimate, real) -> Calibration`, kept in a JSON file and applied later.

A start-up log gives the size of the KV cache, best in GiB ("Available KV cache memory"). Its difference from our
estimate is charged to the non-torch memory, the component that differs from machine to machine; activation peak and
graphs are corrected if the log has their figures.
There is one calibration per card, number of ranks, interconnect and vLLM version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from planner.engine import StartFacts
from planner.errors import InputError
from planner.estimate.memory.intervals import CALIBRATED_BYTES, LOG_STEP_BYTES
from planner.estimate.memory.per_gpu import Calibration, Calibrations, MemoryEstimate, MemoryFigures
from planner.files import read_bytes, write_whole
from planner.units import MOST_BYTES, format_gib

MOST_RATIO = 1000.0
"""Largest plausible ratio of real to predicted graph memory; more means a damaged file."""
CERTAIN_WIDTHS = 3.0
"""Half widths of the KV cache's 90 % interval beyond which a difference is no error of the estimate any more."""
MOST_NON_TORCH_FRACTION = 0.5
"""Largest plausible memory outside torch as a fraction of the card."""
SAME_CARD_FRACTION = 0.1
"""Cards of one kind report total memory that differs by less than this fraction."""


class ImpossibleCalibrationError(InputError):
    """A start's figures cannot belong to the settings that they are compared with; nothing is learned from it."""


def calibrate(estimate: MemoryEstimate, real: MemoryFigures, source: str) -> Calibration | None:
    """Compare an uncalibrated estimate with a start of the same settings; None if its log gives no KV cache size.

    Raises InputError if the log is of another card, ImpossibleCalibrationError if no such card can have its figures.
    """
    kv_bytes = _kv_cache_bytes(estimate, real)
    if kv_bytes is None or not estimate.total_bytes:
        return None
    total = round(real.total_bytes or estimate.total_bytes)
    if abs(total / estimate.total_bytes - 1) > SAME_CARD_FRACTION:
        raise InputError(
            f"{source} was on a card of {format_gib(total)}, this one has {format_gib(estimate.total_bytes)}: "
            "calibrate on a log of the same machine"
        )
    budget = float(estimate.budget_bytes) / estimate.total_bytes * total
    activations = float(estimate.activation_bytes)
    if kv_bytes - float(estimate.kv_cache_bytes) > float(estimate.compiling_bytes) / 2 > 0:
        activations -= float(estimate.compiling_bytes)  # warm compile cache: no property of the machine
    offset = real.activation_bytes - activations if real.activation_bytes is not None else 0.0
    graphs = float(estimate.graph_bytes)
    charged = graphs if estimate.graphs_in_budget else 0.0
    ratio = real.graph_bytes / graphs if real.graph_bytes and real.graph_bytes > 0 and graphs > 0 else 1.0
    non_torch = budget - float(estimate.weight_bytes) - activations - offset - charged - kv_bytes
    _refuse_impossible(estimate, total, kv_bytes, non_torch, source)
    return Calibration(
        total_bytes=total,
        non_torch_bytes=non_torch,
        activation_offset_bytes=offset,
        graph_ratio=ratio,
        source=source,
    )


def strictest(several: Sequence[Calibration]) -> Calibration:
    """The worst figure of each kind: what fits under this calibration fits on every machine."""
    return replace(
        max(several, key=lambda one: one.non_torch_bytes),
        total_bytes=min(one.total_bytes for one in several),
        activation_offset_bytes=max(one.activation_offset_bytes for one in several),
        graph_ratio=max(one.graph_ratio for one in several),
    )


def _refuse_impossible(estimate: MemoryEstimate, total: int, kv_bytes: float, non_torch: float, source: str) -> None:
    """Raise ImpossibleCalibrationError for a KV cache larger than the card, or memory outside torch that cannot be."""
    room = total - float(estimate.weight_bytes)
    if kv_bytes > room:
        raise ImpossibleCalibrationError(
            f"{source}: its KV cache of {format_gib(kv_bytes)} does not fit beside {format_gib(estimate.weight_bytes)} "
            f"of weights on a card of {format_gib(total)}: the log is of another model or of other settings"
        )
    noise = CERTAIN_WIDTHS * float(estimate.uncertainty_bytes) + CALIBRATED_BYTES
    if not -noise <= non_torch <= MOST_NON_TORCH_FRACTION * total:
        raise ImpossibleCalibrationError(
            f"{source}: its KV cache of {format_gib(kv_bytes)} would mean {format_gib(non_torch)} outside torch, which "
            "cannot be: the log is of another model or of other settings"
        )


def _kv_cache_bytes(estimate: MemoryEstimate, real: MemoryFigures) -> float | None:
    """The logged GiB; made exact by the logged blocks or tokens where these agree with it, or these alone."""
    counted = _counted_bytes(estimate, real)
    if real.kv_cache_bytes is None:
        return counted
    logged = float(real.kv_cache_bytes)
    if counted is not None and 0 <= logged + LOG_STEP_BYTES - counted <= 2 * LOG_STEP_BYTES + estimate.kv_block_bytes:
        return counted
    return logged


def _counted_bytes(estimate: MemoryEstimate, real: MemoryFigures) -> float | None:
    """Bytes of the logged blocks, or of the logged tokens as this version's log means them."""
    block_bytes, tokens = float(estimate.kv_block_bytes), real.kv_tokens
    if real.num_blocks is not None:
        return real.num_blocks * block_bytes
    if tokens is None:
        return None
    if estimate.size_means == "requests":
        return tokens / float(estimate.max_model_len) * float(estimate.request_blocks) * block_bytes
    return tokens / float(estimate.block_size) * estimate.num_kv_groups * block_bytes


def load_calibrations(path: Path) -> dict[str, Calibration]:
    """The file's calibrations by key; empty if there is no file. Raises InputError if it is no calibration file."""
    if not path.exists():
        return {}
    try:
        found = msgspec.json.decode(read_bytes(path), type=dict[str, Calibration])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a calibration file: {error}") from None
    for key, one in found.items():
        figures = (one.total_bytes, one.non_torch_bytes, one.activation_offset_bytes)
        if not (one.total_bytes > 0 and max(map(abs, figures)) <= MOST_BYTES and 0 <= one.graph_ratio <= MOST_RATIO):
            raise InputError(f"{path}: {key}: its figures are those of no card; remove the entry to learn it anew")
    return found


def save_calibrations(path: Path, calibrations: Calibrations) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(dict(calibrations))) + b"\n")


def predicted_figures(memory: MemoryEstimate) -> MemoryFigures:
    return MemoryFigures(
        weight_bytes=float(memory.weight_bytes),
        non_torch_bytes=float(memory.non_torch_bytes),
        activation_bytes=float(memory.activation_bytes),
        graph_bytes=float(memory.graph_bytes),
        kv_cache_bytes=float(memory.kv_cache_bytes),
        num_blocks=int(memory.num_blocks),
        kv_tokens=int(memory.kv_tokens),
    )


def real_figures(facts: StartFacts | None) -> MemoryFigures | None:
    """Memory figures from the engine's own log; None without facts."""
    if facts is None:
        return None
    return MemoryFigures(
        total_bytes=facts.total_bytes,
        weight_bytes=facts.weights_bytes,
        non_torch_bytes=facts.non_torch_bytes,
        activation_bytes=facts.activation_bytes,
        graph_bytes=facts.graph_bytes,
        kv_cache_bytes=facts.kv_cache_bytes,
        num_blocks=facts.num_gpu_blocks,
        kv_tokens=facts.kv_tokens,
    )

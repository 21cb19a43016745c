"""Uncertainty of an estimate: half widths of 90 % intervals, per component and for the KV cache.

Each width comes from the real starts in docs/accuracy.md, and is wide where there are few; a test checks
their coverage. The KV cache's width adds the others in quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import FRAGMENTS_COUNTED_UNTIL, STEADY_GRAPHS_SINCE, ResolvedEngine
from planner.estimate.memory.activations import compile_bytes
from planner.estimate.memory.image_encoder import encoder_bytes, is_counted, position_rows_bytes
from planner.estimate.memory.live_sets import experts_workspace_bytes
from planner.estimate.memory.weights import Rank
from planner.hardware import Placement
from planner.model import ModelSpec
from planner.units import GIB

ROUGH_SOURCES = ("label", "guess", "family")
"""Words in a card's `source` that mean that its total memory was not read from a log."""
FRAGMENTS_BYTES = 3.0 * GIB
"""Half width where the profile counts what torch has reserved, fragments included."""
UNKNOWN_FRACTION = 0.75
"""Half width as a fraction of the weights, if an unknown architecture is taken for an ordinary decoder without its
checkpoint: errors from -85 % to +224 % were seen over 23 models of such types."""
UNMODELLED_FRACTION = 0.5
"""Half width as a fraction of the weights, if the memory of the quantisation is not known."""
HELD_FRACTION = 0.02
"""Half width as a fraction of the weights, if they are the checkpoint's and it is not known how they are loaded."""
TOWER_FRACTION, SHARED_TOWER_FRACTION = 0.1, 0.01
"""Half widths as fractions of the weights: if the size of the vision tower is estimated; if only its split over the
ranks is."""
VISION_FRACTION = 0.6
"""Half width as a fraction of the profile images' memory; the largest image comes from the processor's published
limits, not from this model."""
UNIFIED_BYTES, UNIFIED_FRACTION = 2.0 * GIB, 0.5
"""Half width of the memory outside torch where the card's memory is the host's, and its part that grows with the
activations: in three starts with 65536 tokens a step 3 to 7 GiB more were taken than any component explains."""
COUNTED_VISION_FRACTION = 0.1
"""The same where the tower's tensors are counted one by one: 0.6 % at most in eleven starts of 0.17 to 0.24."""
OTHER_KERNEL_FRACTION = 0.3
"""Half width as a fraction of the experts' shared buffers on cards other than Hopper, where they were not measured and
another kernel may serve. A guess."""
LOG_STEP_BYTES = 0.005 * GIB
"""Rounding error of figures in logs, which have 0.01 GiB steps."""
UNKNOWN_TOWER_BYTES = 6.0 * GIB
"""Half width for an unknown vision tower: profile runs of 1 to 6 GiB were seen."""
CALIBRATED_BYTES = 0.06 * GIB
"""Half width after calibration on one start: the spread between starts of one machine, and its log's rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """Half widths of the components' 90 % intervals, in bytes. `total`: of the card's memory inside the budget."""

    total: FloatColumn = 0.0
    weights: FloatColumn = 0.0
    non_torch: FloatColumn = 0.0
    activation: FloatColumn = 0.0
    graphs: FloatColumn = 0.0

    def kv_cache_bytes(self, charges_graphs: bool) -> FloatColumn:
        """Half width of the KV cache, in bytes; that of the graphs counts only if the budget includes them."""
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        if not charges_graphs:
            parts.pop("graphs")
        return columns.sqrt(sum(part**2 for part in parts.values()))


def calibrated_doubts(activations: FloatColumn, graphs: FloatColumn) -> Doubts:
    return Doubts(
        non_torch=CALIBRATED_BYTES,
        activation=(0.02 * activations),
        graphs=(0.2 * graphs),
    )


def _weights_share(model: ModelSpec) -> float:
    """Half width of the weights as a fraction of them."""
    from_checkpoint = model.held is not None or model.checkpoint_bytes is not None
    if not model.is_known:
        return HELD_FRACTION if from_checkpoint else UNKNOWN_FRACTION
    if not model.is_modelled and model.held is None:
        return UNMODELLED_FRACTION
    share = 0.003 if model.quantization is None else 0.025  # padding, repacking for other kernels
    if model.has_vision_tower and (model.is_tower_rough or not model.tower):
        return max(share, SHARED_TOWER_FRACTION) if from_checkpoint else TOWER_FRACTION
    return max(share, SHARED_TOWER_FRACTION) if model.has_vision_tower else share


def doubts(
    model: ModelSpec,
    placement: Placement,
    engine: ResolvedEngine,
    rank: Rank,
    weights: FloatColumn,
    activations: FloatColumn,
    graphs: FloatColumn,
) -> Doubts:
    """Half widths of one rank's estimated components, in bytes."""
    gpu = placement.gpu
    rough_card = any(word in gpu.source for word in ROUGH_SOURCES)
    share = _weights_share(model)
    tower: Any = UNKNOWN_TOWER_BYTES if model.has_vision_tower and model.vision is None else 0.0
    if model.vision is not None:
        share_of_images = COUNTED_VISION_FRACTION if is_counted(model.vision, engine) else VISION_FRACTION
        tower = share_of_images * sum(encoder_bytes(model, engine)) + position_rows_bytes(model, gpu, engine)
    fragments = FRAGMENTS_BYTES if engine.version < FRAGMENTS_COUNTED_UNTIL else 0.0
    compiled = compile_bytes(model, engine, rank)
    without_compiling = columns.where(compiled >= activations, 0.5 * compiled, 0.0)  # missing with a warm compile cache
    peak = 0.05 * GIB + 0.05 * activations + without_compiling
    if gpu.compute_capability[0] != 9:
        peak = peak + OTHER_KERNEL_FRACTION * experts_workspace_bytes(model, gpu, engine)
    ranks = engine.world_size
    if engine.data_parallel_size > 1 and model.experts is not None:  # the replicas exchange tokens for their experts
        peak = peak + engine.data_parallel_size * experts_workspace_bytes(model, gpu, engine)
        ranks *= engine.data_parallel_size
    alone, bridged = ranks == 1, placement.bridged(ranks)
    outside: FloatColumn = (0.2 if alone else 0.8 if bridged else 0.25) * GIB
    if gpu.shares_host_memory:
        outside = UNIFIED_BYTES + UNIFIED_FRACTION * activations
    captured = graphs
    at_least, share_of_graphs = (0.6, 0.3) if engine.generation == "V0" else (0.5, 1.5)
    if engine.version >= STEADY_GRAPHS_SINCE:
        at_least, share_of_graphs = 0.05, 0.4
    return Doubts(
        total=gpu.memory_bytes * (0.02 if rough_card else 0.002) * engine.gpu_memory_utilization,
        weights=LOG_STEP_BYTES + weights * share,
        non_torch=outside,
        activation=columns.sqrt(peak**2 + tower**2 + fragments**2),
        graphs=columns.where(captured, at_least * GIB + share_of_graphs * captured, 0.0),
    )

"""GPU memory of a deployment, before launch: `estimate_memory(model, placement, engine) -> MemoryEstimate`, per rank.

Every figure may be a NumPy array (one entry per candidate) if the engine's columns are. Each field says whether the
engine counts it inside its budget or outside.

Source: vllm@0.8.5 worker/worker.py:determine_num_available_blocks, utils.py:memory_profiling,
worker/model_runner.py:profile_run, worker/cache_engine.py:get_cache_block_size; vllm@0.9.2..0.33.0
v1/worker/gpu_worker.py:determine_available_memory, v1/worker/gpu_model_runner.py:profile_run,
v1/core/kv_cache_utils.py. Live sets of MLP and sampler: model_executor/models/qwen2.py, layers/sampler.py, confirmed on
real starts (docs/model.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from msgspec import structs

from planner import arrays as columns
from planner.arrays import FloatColumn, IntColumn
from planner.engine import OFFLOAD_ON_SECOND_RUNNER_SINCE, PLAIN_MROPE_SINCE, SHARED_KEYS_LEFT_OUT_SINCE, ResolvedEngine
from planner.estimate.memory.activations import activation_bytes
from planner.estimate.memory.adapters import lora_bytes
from planner.estimate.memory.drafter import drafter_bytes
from planner.estimate.memory.graph_estimate import charges_graphs, estimated_graph_bytes
from planner.estimate.memory.intervals import Doubts, calibrated_doubts, doubts
from planner.estimate.memory.kv_cache import KvDivision, SizeMeaning, kv_division
from planner.estimate.memory.overheads import context_bytes, context_in_budget, graph_bytes, non_torch_bytes
from planner.estimate.memory.runners import uses_second_runner
from planner.estimate.memory.weights import ExpertSplit, Rank, distinct_ranks, rank_weight_bytes, weight_bytes
from planner.hardware import GpuSpec, Placement
from planner.model import DTYPE_BYTES, PER_LAYER_INPUTS, ModelSpec, Quantization, Scheme, without_shared_keys
from planner.units import GIB

WATERMARK_FRACTION = 0.01
"""Fraction of blocks that V0 keeps free: a prompt that needs more than the rest is refused (core/block_manager.py)."""
CPU_KV_BYTES = 4 * GIB
"""KV cache of the CPU backend when neither VLLM_CPU_KVCACHE_SPACE nor kv_cache_memory_bytes is set."""


@dataclass(frozen=True, slots=True)
class RankMemory:
    """Components of one rank inside the budget, and what they leave for its KV cache (`available_bytes`), in bytes."""

    number: int
    weight_bytes: int
    non_torch_bytes: FloatColumn
    activation_bytes: FloatColumn
    available_bytes: FloatColumn
    block_bytes: IntColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes per GPU. `budget_bytes` = total x gpu_memory_utilization must hold weights, non-torch, activations, KV.

    The components are those of rank 0; the number of blocks is the smallest of all ranks, as in the engine.
    """

    total_bytes: int
    budget_bytes: FloatColumn
    weight_bytes: int
    non_torch_bytes: FloatColumn
    """Memory that the process took outside torch since the engine's first snapshot: NCCL, lazily loaded kernels."""
    activation_bytes: FloatColumn
    """Peak of the profile run above the weights."""
    compiling_bytes: FloatColumn = 0.0
    """Part of the activations that only a cold compile cache takes; with a warm one it goes to the KV cache."""
    graph_bytes: FloatColumn
    """CUDA graphs; captured after the KV cache is allocated, and outside the budget before 0.20. Where the first runner
    charges the budget for them: what it estimates, which is mostly a little less than what they take."""
    context_bytes: float
    """The CUDA context and what else is on the card before the engine's first snapshot."""
    context_in_budget: bool
    graphs_in_budget: bool
    """Whether the engine subtracts (its estimate of) the graphs from the budget."""
    kv_block_bytes: IntColumn
    """Bytes of one block over the layers of a group; 0 if the model keeps no KV cache."""
    block_size: IntColumn
    """Tokens of the smallest block; in a hybrid model it is raised until it holds a state."""
    num_blocks: IntColumn
    num_kv_groups: int
    """Number of groups of layers with blocks of their own; 1 unless kinds of layers are mixed."""
    request_blocks: IntColumn
    """Number of blocks of one request of max_model_len tokens, over all groups."""
    has_states: bool = False
    """Whether a request keeps states in blocks of their own (Mamba, gated delta nets, short convolutions)."""
    size_means: SizeMeaning = "blocks"
    """What this version's log means by the KV cache's size in tokens."""
    max_model_len: IntColumn
    ranks: tuple[RankMemory, ...] = ()
    """Rank 0 and the ranks whose memory may differ from it."""
    doubts: Doubts
    """Half widths of the components' 90 % intervals."""
    uncertainty_bytes: FloatColumn
    """Half width of the 90 % interval of `kv_cache_bytes`."""
    calibrated_on: str | None = None
    """Source of the calibration that corrected the figures; None without one."""
    pinned_host_bytes: FloatColumn
    """Host memory V0 pins for swapping, all ranks of one instance together."""

    @property
    def kv_cache_bytes(self) -> FloatColumn:
        return self.num_blocks * self.kv_block_bytes

    @property
    def fullest_weight_bytes(self) -> int:
        """Weights of the rank that holds most, in bytes."""
        return max((rank.weight_bytes for rank in self.ranks), default=self.weight_bytes)

    @property
    def kv_interval_bytes(self) -> tuple[FloatColumn, FloatColumn]:
        """Lower and upper end of the 90 % interval of `kv_cache_bytes`."""
        low = columns.maximum(self.kv_cache_bytes - self.uncertainty_bytes, 0)
        return low, self.kv_cache_bytes + self.uncertainty_bytes

    @property
    def kv_tokens(self) -> IntColumn:
        """KV cache of one instance in tokens, as this version's log counts it; its own 'GPU KV cache size'."""
        if self.size_means != "requests":
            return self.block_tokens
        tokens: IntColumn = columns.floor(self.max_concurrency * self.max_model_len)
        return tokens

    @property
    def block_tokens(self) -> IntColumn:
        """Tokens of all blocks of one instance; of a group's share where layers of several kinds share the pool."""
        return self.num_blocks // self.num_kv_groups * self.block_size

    @property
    def max_concurrency(self) -> FloatColumn:
        """Number of requests of full length that fit at once; vLLM's own 'Maximum concurrency'. 0 without KV cache."""
        if self.size_means == "tokens":
            return self.block_tokens / self.max_model_len
        if not columns.is_array(self.request_blocks) and not self.request_blocks:
            return 0.0
        return self.num_blocks / self.request_blocks

    @property
    def outside_bytes(self) -> FloatColumn:
        """Memory left outside the budget, for context, graphs and fragmentation."""
        return self.total_bytes - self.budget_bytes

    @property
    def spare_outside_bytes(self) -> FloatColumn:
        graphs: FloatColumn = 0.0 if self.graphs_in_budget else self.graph_bytes
        context = 0.0 if self.context_in_budget else self.context_bytes
        return self.outside_bytes - context - graphs


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """Bytes per GPU, predicted before the launch or read from the engine's log; None if it does not say."""

    total_bytes: float | None = None
    weight_bytes: float | None = None
    non_torch_bytes: float | None = None
    activation_bytes: float | None = None
    graph_bytes: float | None = None
    kv_cache_bytes: float | None = None
    num_blocks: int | None = None
    kv_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Memory that a start on this machine really used; replaces the general figures for such machines."""

    total_bytes: int
    non_torch_bytes: float
    activation_offset_bytes: float
    """Real activation peak minus that of the formula."""
    graph_ratio: float
    """Real memory of the CUDA graphs over the predicted one."""
    source: str
    """The start that the figures come from."""


Calibrations = Mapping[str, Calibration]
"""Calibrations by `calibration_key`."""


def calibration_key(placement: Placement, engine: ResolvedEngine) -> str:
    """Key of a calibration: the card, the number of ranks, the links between them and the version of vLLM."""
    cards = f"{placement.gpu.name}, {engine.world_size} ranks, {placement.interconnect}"
    return f"{cards}, vLLM {engine.version} {engine.generation}"


def estimate_memory(
    model: ModelSpec,
    placement: Placement,
    engine: ResolvedEngine,
    calibration: Calibration | None = None,
) -> MemoryEstimate:
    """Estimate one GPU's memory. Pure; no I/O."""
    model = as_served(model, engine, placement.gpu)
    if placement.gpu.is_cpu:
        return _estimate_cpu(model, engine)
    if calibration is not None:
        measured = replace(placement.gpu, memory_bytes=calibration.total_bytes, source=calibration.source)
        placement = replace(placement, gpu=measured)
    total = placement.gpu.memory_bytes
    budget = total * engine.gpu_memory_utilization
    graphs = _graph_bytes(model, placement, engine) * (1.0 if calibration is None else calibration.graph_ratio)
    is_charged = charges_graphs(model, engine)
    room = budget - (graphs if is_charged else 0.0)
    tp, pp = engine.tensor_parallel_size, engine.pipeline_parallel_size
    kinds = distinct_ranks(model.num_hidden_layers, tp, pp, one_samples=engine.generation == "V0")
    divisions = [kv_division(model, engine, rank) for rank in kinds]
    ranks = tuple(
        _rank_memory(model, placement, engine, calibration, rank, room, division.block_bytes)
        for rank, division in zip(kinds, divisions, strict=True)
    )
    first, group = ranks[0], divisions[0]
    if calibration is not None:
        width = calibrated_doubts(first.activation_bytes, graphs)
    else:
        width = doubts(model, placement, engine, kinds[0], first.weight_bytes, first.activation_bytes, graphs)
    is_known = engine.kv_cache_memory_bytes is not None or _is_none(group.block_bytes)
    uncertainty = 0.0 if is_known else width.kv_cache_bytes(is_charged)
    return MemoryEstimate(
        total_bytes=total,
        budget_bytes=budget,
        weight_bytes=first.weight_bytes,
        non_torch_bytes=first.non_torch_bytes,
        activation_bytes=first.activation_bytes,
        compiling_bytes=first.activation_bytes
        - (0.0 if calibration is None else calibration.activation_offset_bytes)
        - activation_bytes(model, placement.gpu, engine, kinds[0], compiles=False),
        graph_bytes=graphs,
        context_bytes=context_bytes(placement, engine),
        context_in_budget=context_in_budget(engine),
        graphs_in_budget=is_charged,
        kv_block_bytes=group.block_bytes,
        block_size=group.block_size,
        num_blocks=_num_blocks(engine, ranks),
        num_kv_groups=group.num_groups,
        request_blocks=group.request_blocks,
        has_states=group.has_states,
        size_means=group.size_means,
        max_model_len=engine.max_model_len,
        ranks=ranks,
        doubts=width,
        uncertainty_bytes=uncertainty,
        calibrated_on=None if calibration is None else calibration.source,
        pinned_host_bytes=_pinned_bytes(engine, group),
    )


def _graph_bytes(model: ModelSpec, placement: Placement, engine: ResolvedEngine) -> FloatColumn:
    """The graphs' bytes, or what the first runner takes them for where it charges the budget for them."""
    estimates = charges_graphs(model, engine) and not uses_second_runner(model, engine)
    return (estimated_graph_bytes if estimates else graph_bytes)(model, placement, engine)


def _pinned_bytes(engine: ResolvedEngine, division: KvDivision) -> FloatColumn:
    """Host memory of V0's swap space, in whole blocks of all ranks."""
    if engine.generation != "V0" or _is_none(division.block_bytes):
        return 0.0
    return engine.swap_space_bytes // division.block_bytes * division.block_bytes * engine.world_size


def _is_none(block_bytes: IntColumn) -> bool:
    """Whether the model keeps no KV cache, as encoders do."""
    return not columns.is_array(block_bytes) and not block_bytes


def _num_blocks(engine: ResolvedEngine, ranks: Sequence[RankMemory]) -> IntColumn:
    """Number of KV cache blocks: that of the rank with the least room, or num_gpu_blocks_override.

    A model that keeps none has one (vllm@0.32 v1/core/kv_cache_utils.py:get_kv_cache_config_from_groups).
    """
    ranks = [rank for rank in ranks if not _is_none(rank.block_bytes)]
    if not ranks:
        return 1
    blocks: Any = reduce(columns.minimum, (columns.maximum(r.available_bytes, 0) // r.block_bytes for r in ranks))
    if engine.num_gpu_blocks_override is not None:
        blocks = engine.num_gpu_blocks_override
    num_blocks: IntColumn = columns.floor(blocks)
    return num_blocks


def _rank_memory(
    model: ModelSpec,
    placement: Placement,
    engine: ResolvedEngine,
    calibration: Calibration | None,
    rank: Rank,
    room: FloatColumn,
    block_bytes: IntColumn,
) -> RankMemory:
    """Components of one rank; `room` is the budget minus what is charged for graphs, in bytes."""
    loaded = rank_weight_bytes(
        model,
        engine.dtype,
        engine.tensor_parallel_size,
        engine.pipeline_parallel_size,
        rank,
        ExpertSplit(engine.data_parallel_size, engine.enable_expert_parallel),
    )
    weights: Any = columns.floor(columns.maximum(loaded - offloaded_bytes(model, engine), 0))
    weights = weights + lora_bytes(model, engine, rank)
    if engine.speculative_config is not None:
        weights = weights + drafter_bytes(model, engine, rank)
    if rank.is_first and model.has_vision_tower:
        weights = weights + _image_buffer_bytes(model, engine)
    activations = activation_bytes(model, placement.gpu, engine, rank)
    non_torch = non_torch_bytes(model, placement, engine, rank.number == 0)
    if calibration is not None:
        activations = activations + calibration.activation_offset_bytes
        non_torch = calibration.non_torch_bytes
    available = room - weights - non_torch - activations
    if engine.kv_cache_memory_bytes is not None:
        available = engine.kv_cache_memory_bytes
    return RankMemory(rank.number, weights, non_torch, activations, available, block_bytes)


def offloaded_bytes(model: ModelSpec, engine: ResolvedEngine) -> FloatColumn:
    """Bytes of weights that cpu_offload_gb takes off each card; 0 where the model runner ignores it."""
    ignores = uses_second_runner(model, engine) and engine.version < OFFLOAD_ON_SECOND_RUNNER_SINCE
    return 0.0 if ignores else engine.cpu_offload_bytes


def _image_buffer_bytes(model: ModelSpec, engine: ResolvedEngine) -> IntColumn:
    """Buffers of max_num_batched_tokens rows that are made with a model that takes images.

    They hold an image's features for the first layers, one per level, and the layers' own inputs of Gemma 3n and 4.
    Source: vllm@0.24.0 models/qwen3_vl.py: deepstack_input_embeds; gemma3n_mm.py, gemma4_mm.py: per_layer_embeddings.
    """
    levels = model.vision.deepstack_levels if model.vision is not None else 0
    inputs = sum(module.inputs for module in model.beside if module.name == PER_LAYER_INPUTS)
    return (levels * model.hidden_size + inputs) * engine.max_num_batched_tokens * DTYPE_BYTES[engine.dtype]


def as_served(model: ModelSpec, engine: ResolvedEngine, gpu: GpuSpec) -> ModelSpec:
    """The model as the engine holds it: `--quantization` may quantise an ordinary checkpoint while loading.

    MXFP4 experts are padded as the card's kernel wants them: Triton's on compute capability 9.0, else Marlin's or
    TensorRT-LLM's (vllm@0.32 fused_moe/oracle/mxfp4.py). Rotary tables of Qwen3-VL and 3.5 have one row per position
    since 0.32 (models/qwen3_vl.py:mrope_positions_factor).
    """
    if model.vision is not None and model.vision.has_plain_rope and engine.version >= PLAIN_MROPE_SINCE:
        model = replace(model, rope_table_factor=1)
    if model.model_type == "gemma3n" and engine.version >= SHARED_KEYS_LEFT_OUT_SINCE:
        model = replace(model, layers=without_shared_keys(model.layers))
    own = model.quantization
    if own is not None and own.method == "mxfp4" and own.scheme is not None and gpu.compute_capability[0] != 9:
        return replace(model, quantization=structs.replace(own, scheme=structs.replace(own.scheme, width_multiple=128)))
    if own is not None or engine.quantization not in ONLINE_QUANTIZATION:
        return model
    if engine.quantization == "gguf" and model.checkpoint_bytes is None:
        return model
    return replace(model, quantization=ONLINE_QUANTIZATION[engine.quantization], held=None)


ONLINE_QUANTIZATION = {
    "gguf": Quantization(method="gguf", scheme=Scheme(packing="gguf")),  # the file's size is the weights' size
    "fp8": Quantization(
        method="fp8", bits=8, group_size=-1, scheme=Scheme(packing="fp8", bits=8, group_size=-1), reaches_tower=True
    ),
    "bitsandbytes": Quantization(
        method="bitsandbytes", bits=4, group_size=64, scheme=Scheme(packing="bitsandbytes", bits=4, group_size=64)
    ),
}


def _estimate_cpu(model: ModelSpec, engine: ResolvedEngine) -> MemoryEstimate:
    """The CPU backend sizes its KV cache by a setting, not by what is left."""
    whole = Rank(0, 0, 0, model.num_hidden_layers, is_first=True, is_last=True, samples=True)
    group = kv_division(model, engine, whole)
    kv_bytes = CPU_KV_BYTES if engine.kv_cache_memory_bytes is None else engine.kv_cache_memory_bytes
    weights = weight_bytes(model, engine.dtype, engine.tensor_parallel_size)
    return MemoryEstimate(
        total_bytes=0,
        budget_bytes=0.0,
        weight_bytes=weights,
        non_torch_bytes=0.0,
        activation_bytes=0.0,
        graph_bytes=0.0,
        context_bytes=0.0,
        context_in_budget=True,
        graphs_in_budget=False,
        kv_block_bytes=group.block_bytes,
        block_size=group.block_size,
        num_blocks=1 if _is_none(group.block_bytes) else kv_bytes // group.block_bytes,
        num_kv_groups=group.num_groups,
        request_blocks=group.request_blocks,
        has_states=group.has_states,
        size_means=group.size_means,
        max_model_len=engine.max_model_len,
        doubts=Doubts(),
        uncertainty_bytes=0.0,
        pinned_host_bytes=0.0,
    )

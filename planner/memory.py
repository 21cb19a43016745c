"""GPU memory of a deployment, before launch: `estimate_memory(model, gpu, engine) -> MemoryEstimate`, per rank.

Rank 0 is meant, which decides the number of KV blocks. Every figure may be a NumPy array (one entry a candidate) when
the engine's columns are. What the engine counts inside its budget and what lies outside is said per field.

Source: vllm@0.8.5 worker/worker.py:determine_num_available_blocks, utils.py:memory_profiling,
worker/model_runner.py:profile_run, worker/cache_engine.py:get_cache_block_size; MLP and sampler live sets read in
model_executor/models/qwen2.py and layers/sampler.py and confirmed on real starts (docs/model.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from planner.defaults import FloatColumn, IntColumn, ResolvedEngine, plain
from planner.hardware import GpuSpec, Interconnect
from planner.model import DTYPE_BYTES, ModelSpec
from planner.units import GIB, MIB
from planner.weights import kv_heads_per_rank, layers_per_stage, weight_bytes

AWQ_DEQUANTIZE_TOKENS = 256
"""From this many tokens a step, vLLM's AWQ kernel dequantises the whole weight shard first (quantization/awq.py)."""
WATERMARK_FRACTION = 0.01
"""Share of the blocks V0 keeps free: a prompt that needs more than the rest is refused (core/block_manager.py)."""
CUBLAS_WORKSPACE_BYTES = {7: 8 * MIB, 8: 8 * MIB, 9: 32 * MIB, 10: 32 * MIB, 12: 32 * MIB}
"""cuBLAS workspace by major compute capability; torch aten/src/ATen/cuda/CUDABlas.cpp:parseChosenWorkspaceSize."""
CPU_KV_BYTES = 4 * GIB
"""KV cache of the CPU backend when neither VLLM_CPU_KVCACHE_SPACE nor kv_cache_memory_bytes says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes per GPU. `budget_bytes` = total x gpu_memory_utilization must hold weights, non-torch, activations, KV."""

    total_bytes: int
    budget_bytes: FloatColumn
    weight_bytes: int
    non_torch_bytes: float
    """NCCL, lazily loaded kernels: what the process took outside torch since the engine's first snapshot."""
    activation_bytes: FloatColumn
    """Peak of the profile run above the weights."""
    graph_bytes: FloatColumn
    """CUDA graphs; captured after the KV cache is allocated, outside the budget before 0.20."""
    context_bytes: float
    """The CUDA context, outside the budget."""
    kv_block_bytes: IntColumn
    block_size: IntColumn
    num_blocks: IntColumn
    max_model_len: IntColumn
    pinned_host_bytes: FloatColumn
    """Host memory V0 pins for swapping, all ranks of one instance together."""

    @property
    def kv_cache_bytes(self) -> FloatColumn:
        return self.num_blocks * self.kv_block_bytes

    @property
    def kv_tokens(self) -> IntColumn:
        return self.num_blocks * self.block_size

    @property
    def max_concurrency(self) -> FloatColumn:
        """Requests of full length that fit at once; vLLM's own 'Maximum concurrency'."""
        return self.kv_tokens / self.max_model_len

    @property
    def outside_bytes(self) -> FloatColumn:
        """Memory left outside the budget, for context, graphs and fragmentation."""
        return self.total_bytes - self.budget_bytes

    @property
    def spare_outside_bytes(self) -> FloatColumn:
        return self.outside_bytes - self.context_bytes - self.graph_bytes


def estimate_memory(
    model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, interconnect: Interconnect = "pcie"
) -> MemoryEstimate:
    """Estimate one GPU's memory. Pure; no I/O."""
    block_bytes = kv_block_bytes(model, engine)
    if gpu.is_cpu:
        return _estimate_cpu(model, engine, block_bytes)
    weights = weight_bytes(model, engine.dtype, engine.tensor_parallel_size, engine.pipeline_parallel_size)
    activations = activation_bytes(model, gpu, engine)
    non_torch = non_torch_bytes(engine, interconnect)
    budget = gpu.memory_bytes * engine.gpu_memory_utilization
    available: Any = budget - weights - non_torch - activations
    if engine.kv_cache_memory_bytes is not None:
        available = engine.kv_cache_memory_bytes
    blocks = np.maximum(available, 0) // block_bytes
    swap_bytes = np.asarray(engine.swap_space_gib) * GIB if engine.generation == "V0" else 0.0
    pinned = swap_bytes // block_bytes * block_bytes * engine.world_size
    return MemoryEstimate(
        total_bytes=gpu.memory_bytes,
        budget_bytes=budget,
        weight_bytes=weights,
        non_torch_bytes=non_torch,
        activation_bytes=activations,
        graph_bytes=graph_bytes(model, engine, interconnect),
        context_bytes=CONTEXT_BYTES,
        kv_block_bytes=block_bytes,
        block_size=engine.block_size,
        num_blocks=plain(np.asarray(blocks).astype(np.int64)),
        max_model_len=engine.max_model_len,
        pinned_host_bytes=plain(pinned),
    )


def _estimate_cpu(model: ModelSpec, engine: ResolvedEngine, block_bytes: IntColumn) -> MemoryEstimate:
    """The CPU backend sizes its KV cache by a setting, not by what is left."""
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
        kv_block_bytes=block_bytes,
        block_size=engine.block_size,
        num_blocks=plain(kv_bytes // np.asarray(block_bytes)),
        max_model_len=engine.max_model_len,
        pinned_host_bytes=0.0,
    )


def kv_bytes_per_token(model: ModelSpec, engine: ResolvedEngine) -> int:
    """Key and value of one token on one rank, over the layers of its pipeline stage."""
    itemsize = 1 if engine.kv_cache_dtype.startswith("fp8") else DTYPE_BYTES[engine.dtype]
    heads = kv_heads_per_rank(model, engine.tensor_parallel_size)
    layers = max(layers_per_stage(model.num_hidden_layers, engine.pipeline_parallel_size))
    return 2 * layers * heads * model.head_dim * itemsize


def kv_block_bytes(model: ModelSpec, engine: ResolvedEngine) -> IntColumn:
    return kv_bytes_per_token(model, engine) * engine.block_size


def activation_bytes(model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine) -> FloatColumn:
    """Peak of torch's allocated memory in the profile run, above what was allocated before it.

    Counts: the widest live set of one decoder layer for N tokens, the dequantised weight shard of AWQ and GPTQ, the
    sampler's sort on rank 0 (V0), the cuBLAS workspace. Ignores: allocator fragmentation (not counted by vLLM either).
    """
    tokens, seqs = np.asarray(engine.max_num_batched_tokens), np.asarray(engine.max_num_seqs)
    hidden, itemsize = model.hidden_size, DTYPE_BYTES[engine.dtype]
    inner = model.intermediate_size // engine.tensor_parallel_size
    dequantised: Any = 0
    if engine.quantization == "awq":
        dequantised = np.where(tokens >= AWQ_DEQUANTIZE_TOKENS, hidden * inner * itemsize, 0)
    gate_up = itemsize * tokens * (2 * inner + 3 * hidden) + 2 * dequantised
    down = itemsize * tokens * (3 * inner + 4 * hidden) + dequantised
    reduced = itemsize * tokens * (3 * inner + 5 * hidden) if engine.tensor_parallel_size > 1 else 0
    layer = np.maximum(np.maximum(gate_up, down), np.maximum(reduced, _attention_bytes(model, engine, tokens)))
    rows = np.minimum(seqs, tokens)
    sampler = itemsize * tokens * hidden + _sampler_bytes_per_logit(rows) * rows * model.vocab_size
    workspace = CUBLAS_WORKSPACE_BYTES.get(gpu.compute_capability[0], 32 * MIB)
    return plain(np.maximum(layer, sampler) + workspace)


def _attention_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Live set of the attention block; per-head norms run in fp32 (layers/layernorm.py:RMSNorm.forward_native)."""
    queries = model.num_attention_heads * model.head_dim // engine.tensor_parallel_size
    keys = kv_heads_per_rank(model, engine.tensor_parallel_size) * model.head_dim
    per_token = 10 * queries + 4 * keys if model.qk_norm else 6 * queries + 4 * keys
    return tokens * (per_token + 4 * model.hidden_size)


def _sampler_bytes_per_logit(rows: Any) -> Any:
    """Bytes of the sampler's sort per row and vocabulary entry: torch sorts under 128 rows by a hungrier kernel."""
    return np.where(rows >= 128, 38.0, np.where(rows >= 2, 50.2, 38.3))


# Non-torch memory of rank 0, from real starts: one process 0.06-0.16 GiB; NCCL over PCIe adds little, NVLink much.
_NON_TORCH_ALONE = 0.16 * GIB
_NON_TORCH_PCIE = 0.20 * GIB
_NON_TORCH_NVLINK = {2: 1.82 * GIB, 4: 2.91 * GIB}
CONTEXT_BYTES = 0.30 * GIB
"""CUDA context of one process; not subtracted from the budget by V0, so it must fit outside."""


def non_torch_bytes(engine: ResolvedEngine, interconnect: Interconnect) -> float:
    if engine.world_size == 1:
        return _NON_TORCH_ALONE
    if interconnect == "nvlink" or (interconnect == "nvlink-pairs" and engine.world_size == 2):
        return _NON_TORCH_NVLINK.get(engine.world_size, 2.91 * GIB)
    return _NON_TORCH_PCIE


def num_cuda_graphs(engine: ResolvedEngine) -> IntColumn:
    """Captured batch sizes: 1, 2, 4, then every 8 up to the first that holds max_num_seqs (V0), or 512 at most (V1).

    Source: vllm@0.8.5 config.py:_set_cudagraph_sizes, worker/model_runner.py:_get_max_graph_batch_size.
    """
    largest = np.asarray(engine.max_num_seqs)
    if engine.generation == "V1":
        largest = np.minimum(np.minimum(2 * largest, 512), engine.max_num_batched_tokens)
    small = np.minimum(np.ceil(np.log2(np.maximum(largest, 1))), 2).astype(np.int64) + 1
    counts = small + np.ceil(np.maximum(largest - 4, 0) / 8).astype(np.int64)
    return plain(np.where(engine.enforce_eager, 0, counts))


def graph_bytes(model: ModelSpec, engine: ResolvedEngine, interconnect: Interconnect) -> FloatColumn:
    """Memory of the CUDA graphs: a share per graph, plus the paged-attention scratch of the largest batch.

    Calibrated on 0.37 GiB for 11 graphs over PCIe and 0.08 GiB over NVLink (custom all-reduce) at tensor parallel 4.
    """
    graphs = num_cuda_graphs(engine)
    per_graph = 30 * MIB if engine.world_size > 1 and interconnect != "nvlink" else 7 * MIB
    heads = model.num_attention_heads // engine.tensor_parallel_size
    partitions = np.ceil(np.asarray(engine.max_seq_len_to_capture) / 512)
    scratch = np.asarray(engine.max_num_seqs) * heads * partitions * model.head_dim * 2
    return plain(np.where(np.asarray(graphs) > 0, graphs * per_graph + scratch, 0.0))

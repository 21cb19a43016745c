"""Duration of one engine step in seconds: `StepModel`.

A roofline of the card: the slower of reading weights and KV at its memory bandwidth and matrix arithmetic at its peak
rate; plus vLLM's costs outside a roofline: all-reduce, kernel launches, the engine's Python. An estimate that ranks
candidates, not a promise. Step sizes and the engine's columns may be NumPy arrays, one entry per candidate.

Counts: linear layers, attention, all-reduce, sampling, launches, scheduling. Ignores: norms and activations (in the
efficiencies), preemption's recomputation, length variance inside a batch.
Source: Pope et al. 2022, "Efficiently Scaling Transformer Inference", for the terms; vLLM's code for what runs when.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass
from typing import Any

from planner import arrays as columns
from planner.arrays import BoolColumn, FloatColumn, plain
from planner.engine import ResolvedEngine
from planner.estimate.memory.kv_cache import kv_bytes_per_token
from planner.estimate.memory.live_sets import AWQ_DEQUANTIZE_TOKENS
from planner.estimate.memory.overheads import largest_graph_tokens
from planner.estimate.memory.per_gpu import as_served
from planner.estimate.memory.weights import padded_vocab_size, weight_bytes
from planner.estimate.speed.coefficients import Coefficients, default_coefficients
from planner.estimate.speed.measured import MeasuredCurves
from planner.estimate.speed.step_timer import StepTimer
from planner.hardware import GpuSpec, Placement
from planner.model import DTYPE_BYTES, Experts, ModelSpec

DEQUANTIZE_TOKENS = {"awq": AWQ_DEQUANTIZE_TOKENS, "gptq": 51}
"""Tokens per step from which the plain kernel dequantises first; exllama's MAX_Q_GEMM_ROWS is 50."""
FP8_CAPABILITY = (8, 9)
"""Compute capability from which FP8 weights are multiplied as such; below it Marlin unpacks them."""
GRAPH_PADDING = 8
"""Captured sizes above 4 are multiples of this, and a batch is padded to the next."""

_ATTENTION = {
    "FLASH_ATTN": (0.60, 0.80),
    "FLASHINFER": (0.50, 0.80),
    "XFORMERS": (0.35, 0.40),
    "TRITON_ATTN": (0.30, 0.60),
    "FLEX_ATTENTION": (0.25, 0.40),
    "CPU_ATTN": (0.50, 0.60),
}
"""Fraction of the peak in prefill and of the bandwidth in decode, by backend. FlashAttention-2's paper reports 0.5-0.7
of the peak; V0's paged attention under XFormers reads a KV head once per query head, mostly from cache."""
_PREFIX_KERNEL_EFFICIENCY = 0.15
"""Fraction of the peak of V0's Triton prefix-prefill kernel. With XFormers it runs every prompt under chunked prefill,
and every prefix hit."""

_LINKS = {"pcie": (6e9, 20e-6), "nvlink": (300e9, 8e-6)}
"""Bytes per second that each rank moves in a ring all-reduce, and its latency in seconds: PCIe 3.0 through the host,
NVLink."""
_TURING_NVLINK_BYTES_PER_S = 40e9
"""Rate over the bridge of a pair of Turing cards: 50 GB/s per direction by the vendor's paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step computes; every field may be an array."""

    prefill_tokens: FloatColumn = 0
    prefill_pairs: FloatColumn = 0
    """Number of query-key pairs of the prefill: a chunk of n tokens after c others has n*c + n*(n+1)/2."""
    continues_prefix: BoolColumn = False
    """Whether a prompt of the batch already has tokens in the KV cache (a prefix hit)."""
    sampled_prefills: FloatColumn = 0
    """Number of prompts whose last chunk is in this step: each yields its first token."""
    decode_seqs: FloatColumn = 0
    context_tokens: FloatColumn = 0
    """Tokens in the KV cache of all decoding sequences together."""
    longest_tokens: FloatColumn = 0
    """Length of the longest decoding sequence, in tokens."""


def prefill_pairs(num_tokens: Any, num_before: Any = 0) -> Any:
    """Number of query-key pairs of a causal prefill of `num_tokens` after `num_before` cached ones."""
    return num_tokens * num_before + num_tokens * (num_tokens + 1) / 2


def padded_tokens(tokens: Any) -> Any:
    """The captured size that serves so many tokens: 1, 2, 4, then multiples of 8 (vllm@0.24.0 config/vllm.py)."""
    few = columns.where(tokens <= 1, 1, columns.where(tokens <= 2, 2, 4))
    return columns.where(tokens <= 4, few, columns.ceil(tokens / GRAPH_PADDING) * GRAPH_PADDING)


class StepModel:
    """Duration of a step of one deployment; with pipeline parallelism, of a round in which every stage works."""

    def __init__(
        self,
        model: ModelSpec,
        placement: Placement,
        engine: ResolvedEngine,
        coefficients: Coefficients | None = None,
    ) -> None:
        self.engine, gpu = engine, placement.gpu
        model = as_served(model, engine, gpu)
        self.coefficients = c = coefficients or default_coefficients(engine, gpu)
        tp, pp, itemsize = engine.tensor_parallel_size, engine.pipeline_parallel_size, DTYPE_BYTES[engine.dtype]
        layers, hidden = model.num_hidden_layers / pp, model.hidden_size
        queries = model.num_attention_heads * model.head_dim
        vocabulary = padded_vocab_size(model) * hidden / tp
        num_matrices = 1 if model.tie_word_embeddings else 2
        always_params, expert_params, self._expert_share = _linear_params(model)
        self._linear_params = (always_params + expert_params * self._expert_share) / tp
        self._linear_bytes = weight_bytes(model, engine.dtype, tp) - num_matrices * vocabulary * itemsize
        self._expert_bytes = self._linear_bytes * expert_params / (always_params + expert_params)
        self._dense_bytes = self._linear_params * itemsize
        self._head_bytes, self._head_flop = vocabulary * itemsize, 2 * vocabulary
        self._num_stages = pp
        self._kernel = linear_kernel(engine)
        self._bandwidth, self._peak = gpu.memory_bandwidth_bytes_per_s, gpu.peak_flop_per_s
        prefill, decode = (c.attention_efficiency * e for e in _ATTENTION.get(engine.attention_backend, (0.35, 0.5)))
        pair_s = 4 * queries / tp * layers / self._peak
        self._fresh_pair_s = self._continued_pair_s = pair_s / prefill
        if engine.attention_backend == "XFORMERS":
            self._continued_pair_s = pair_s / (_PREFIX_KERNEL_EFFICIENCY * c.attention_efficiency)
        self._context_token_s = kv_bytes_per_token(model, engine) / (self._bandwidth * decode)
        bytes_per_s, self._reduce_latency_s = _link(gpu, placement.bridged(tp))
        ring = 2 * (tp - 1) / tp / bytes_per_s if tp > 1 else 0.0
        self._num_reduces = 2 * layers if tp > 1 else 0
        self._reduce_s_per_token = hidden * itemsize * ring
        logits_s = model.vocab_size * c.sampler_bytes_per_logit / self._bandwidth
        self._sampler_row_s = logits_s
        self._row_s = logits_s + model.vocab_size * itemsize * ring / 2
        self._launch_s = model.num_hidden_layers * c.launch_s_per_layer
        self._host_s = (c.host_s + c.host_s_per_rank * engine.world_size) * pp
        self._always_params, self._used_params = always_params / tp, expert_params * self._expert_share / tp
        self._num_layers, self._hidden, self._vocab = layers, hidden, model.vocab_size / tp
        self._pair_flop, self._kv_bytes = 4 * queries / tp, kv_bytes_per_token(model, engine) / layers
        self._curves = _curves(gpu, engine, self._kernel, hidden)
        self._known_s: dict[tuple[int, int], Any] = {}
        """What `_matrices_s` has found, by tokens and rows."""

    def seconds(self, step: Step) -> FloatColumn:
        """Duration of the step in seconds; launches run ahead of the card, so the slower of the two counts."""
        c = self.coefficients
        tokens = step.prefill_tokens + step.decode_seqs
        graphed = self.is_graphed(step)
        padded = columns.where(graphed, padded_tokens(tokens), tokens)
        rows = step.sampled_prefills + step.decode_seqs
        device_s = self._matrices_s(padded, rows) + self._attention_s(step)
        device_s = device_s + self._num_reduces * (self._reduce_latency_s + padded * self._reduce_s_per_token)
        step_s = columns.maximum(device_s, columns.where(graphed, c.graph_launch_s, self._launch_s))
        host_s = self._host_s + c.host_s_per_seq * rows
        duration_s: FloatColumn = plain(
            columns.where(self.engine.async_scheduling, columns.maximum(step_s, host_s), step_s + host_s)
        )
        return duration_s

    def _matrices_s(self, tokens: Any, rows: Any) -> Any:
        """Seconds of the linear layers, the head and the sampler; what a batch of decodes takes is found once."""
        if type(rows) is not int or type(tokens) is not int or tokens > rows + GRAPH_PADDING:
            return self._linear_s(tokens) + self._head_s(rows) + rows * self._row_s
        if (tokens, rows) not in self._known_s:
            self._known_s[tokens, rows] = self._linear_s(tokens) + self._head_s(rows) + rows * self._row_s
        return self._known_s[tokens, rows]

    def timer(self) -> StepTimer:
        """The durations of one engine's steps in plain numbers, by the data sheet. Only for a model without arrays.

        What was measured on the card does not count: attention by a profile is not linear in the context.
        """
        by_sheet = copy(self)
        by_sheet._curves, by_sheet._known_s = None, {}
        engine, is_v1 = self.engine, self.engine.generation == "V1"
        most_tokens = largest_graph_tokens(engine) if is_v1 else math.inf
        return StepTimer(
            matrices_s=by_sheet._matrices_s,
            padded_tokens=padded_tokens,
            most_graph_tokens=float(most_tokens) if engine.has_graphs else -1.0,
            most_graph_length=math.inf if is_v1 else float(engine.max_seq_len_to_capture),
            graphs_prefills=is_v1,
            always_continues=bool(engine.enable_chunked_prefill),
            fresh_pair_s=float(self._fresh_pair_s),
            continued_pair_s=float(self._continued_pair_s),
            context_token_s=float(self._context_token_s),
            num_reduces=float(self._num_reduces),
            reduce_latency_s=float(self._reduce_latency_s),
            reduce_s_per_token=float(self._reduce_s_per_token),
            launch_s=float(self._launch_s),
            graph_launch_s=float(self.coefficients.graph_launch_s),
            host_s=float(self._host_s),
            host_s_per_seq=float(self.coefficients.host_s_per_seq),
            is_async=bool(engine.async_scheduling),
        )

    def _attention_s(self, step: Step) -> Any:
        """Seconds of attention: from the card's profile where it has the backend, else by the roofline."""
        pairs, tokens, curves = step.prefill_pairs, step.context_tokens, self._curves
        fresh_s, continued_s = pairs * self._fresh_pair_s, pairs * self._continued_pair_s
        decode_s = tokens * self._context_token_s
        if curves is not None:
            layers, flop, factor = self._num_layers, pairs * self._pair_flop, self.coefficients.attention_efficiency
            fresh_s = _first(curves.fresh_s(flop), layers / factor, fresh_s)
            continued_s = _first(curves.continued_s(flop), layers / factor, continued_s)
            decode_s = _first(curves.decode_s(tokens * self._kv_bytes), layers / factor, decode_s)
        is_continued = self.engine.enable_chunked_prefill | step.continues_prefix
        return columns.where(is_continued, continued_s, fresh_s) + decode_s

    def is_graphed(self, step: Step) -> BoolColumn:
        """Whether a captured CUDA graph serves the step.

        Source: vllm@0.8.5 worker/model_runner.py:_use_captured_graph; V1 v1/worker/gpu_model_runner.py:execute_model.
        """
        engine = self.engine
        tokens = step.prefill_tokens + step.decode_seqs
        if engine.generation == "V1":
            fits = tokens <= largest_graph_tokens(engine)
        else:  # V0 captures every size that max_num_seqs needs
            short = step.longest_tokens <= engine.max_seq_len_to_capture
            fits = (step.prefill_tokens == 0) & short
        graphed: BoolColumn = plain(fits & engine.has_graphs)
        return graphed

    def _linear_s(self, tokens: Any) -> Any:
        """Seconds of all linear layers of the decoder for this number of tokens."""
        if (measured_s := self._measured_linear_s(tokens)) is not None:
            return measured_s
        c, flop = self.coefficients, 2 * self._linear_params * tokens / self._num_stages
        gemm_s = flop / (self._peak * c.gemm_efficiency)
        read_bytes = self._linear_bytes - self._expert_bytes * (1 - self._expert_share) ** columns.maximum(tokens, 1.0)
        if self._kernel == "dense":
            return columns.maximum(read_bytes / (self._bandwidth * c.bandwidth_efficiency), gemm_s)
        if self._kernel == "marlin":
            return columns.maximum(read_bytes / (self._bandwidth * c.marlin_efficiency), gemm_s)
        tiled = columns.ceil(tokens / c.fused_tile_rows) * c.fused_tile_rows
        fused_flop = 2 * self._linear_params * tiled / self._num_stages
        fused_s = columns.maximum(
            self._linear_bytes / (self._bandwidth * c.fused_bandwidth_efficiency),
            fused_flop / (self._peak * c.fused_gemm_efficiency),
        )
        moved = self._linear_bytes + 2 * self._dense_bytes  # packed read, 16-bit written, and read by the GEMM
        dequantised_s = moved / (self._bandwidth * c.bandwidth_efficiency) + gemm_s
        return columns.where(tokens < DEQUANTIZE_TOKENS[self._kernel], fused_s, dequantised_s)

    def _measured_linear_s(self, tokens: Any) -> Any:
        """The same from the card's profile, small kernels and experts included; None where it lacks one of them."""
        curves, stages = self._curves, self._num_stages
        if curves is None:
            return None
        always_bytes = self._linear_bytes - self._expert_bytes
        linear_s = curves.linear_s(always_bytes, self._always_params / stages, tokens)
        small_s = curves.small_s(self._hidden, tokens)
        if linear_s is None or small_s is None:
            return None
        total_s = linear_s + self._num_layers * small_s
        if not self._used_params:
            return total_s
        read_bytes = self._expert_bytes * (1 - (1 - self._expert_share) ** columns.maximum(tokens, 1.0))
        experts_s = curves.experts_s(read_bytes, self._used_params / stages, tokens)
        return None if experts_s is None else total_s + experts_s

    def _head_s(self, rows: Any) -> Any:
        c = self.coefficients
        if self._curves is not None:
            measured_s = self._curves.head_s(self._head_flop / 2, self._vocab, rows)
            if measured_s is not None:  # the sampler is in it, which `_row_s` adds
                return columns.where(rows > 0, measured_s - rows * self._sampler_row_s, 0.0)
        read_s = self._head_bytes / (self._bandwidth * c.bandwidth_efficiency)
        return columns.where(
            rows > 0, columns.maximum(read_s, self._head_flop * rows / (self._peak * c.gemm_efficiency)), 0.0
        )


def _curves(gpu: GpuSpec, engine: ResolvedEngine, kernel: str, hidden: int) -> MeasuredCurves | None:
    """What the card's profile says of this engine's kernels; None without a profile."""
    if gpu.measured is None:
        return None
    measured = "fp8" if engine.quantization == "fp8" and gpu.compute_capability >= FP8_CAPABILITY else kernel
    return MeasuredCurves(
        gpu.measured, gpu, None if measured == "marlin" else measured, engine.attention_backend, hidden
    )


def _first(measured: Any, factor: float, otherwise: Any) -> Any:
    return otherwise if measured is None else measured * factor


def _linear_params(model: ModelSpec) -> tuple[float, float, float]:
    """Parameters of the layers that every token uses, of all routed experts, and the fraction of these a token uses.

    With k of E experts per token, n tokens read a fraction 1 - (1 - k/E)^n of them, if the router chose independently.
    """
    heads = model.num_attention_heads + model.num_key_value_heads
    attention = model.num_hidden_layers * 2 * model.hidden_size * heads * model.head_dim
    mlp_row = 3 * model.hidden_size  # gate, up and down
    if (experts := model.experts) is None:
        return attention + model.num_hidden_layers * mlp_row * model.intermediate_size, 0, 1.0
    num_layers, num_dense = model.count(Experts), model.num_dense_layers
    always = num_layers * experts.shared_intermediate_size + num_dense * model.intermediate_size
    routed = num_layers * mlp_row * experts.num_experts * experts.intermediate_size
    return attention + mlp_row * always, routed, experts.num_experts_per_tok / experts.num_experts


def linear_kernel(engine: ResolvedEngine) -> str:
    """Kernel of the linear layers: dense, marlin, awq or gptq; the last two only if the engine resolved to them."""
    if engine.quantization is None:
        return "dense"
    return engine.quantization if engine.quantization in DEQUANTIZE_TOKENS else "marlin"


def _link(gpu: GpuSpec, bridged: bool) -> tuple[float, float]:
    """Bytes per second and latency in seconds of the slowest link of the ring."""
    bytes_per_s, latency_s = _LINKS["nvlink" if bridged else "pcie"]
    if bridged and gpu.compute_capability < (8, 0):
        bytes_per_s = _TURING_NVLINK_BYTES_PER_S
    return bytes_per_s, latency_s

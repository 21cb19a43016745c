"""Peak of torch's allocated memory in the engine's profile run: `activation_bytes(model, gpu, engine)`.

Formulas over arrays of candidates. Live sets of MLP and sampler were read in vllm@0.8.5 model_executor/models/qwen2.py
and layers/sampler.py and confirmed on real starts (docs/model.md).
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import (
    COMPILE_COUNTS_SINCE,
    FUSED_MLP_SINCE,
    SECOND_RUNNER_FOR_ALL_SINCE,
    SECOND_RUNNER_SINCE,
    TRITON_TOP_K_SINCE,
    ResolvedEngine,
)
from planner.estimate.memory.image_encoder import encoder_bytes
from planner.estimate.memory.weights import Rank, kv_heads_per_rank, padded_vocab_size
from planner.hardware import GpuSpec
from planner.model import DTYPE_BYTES, ModelSpec
from planner.units import MIB

AWQ_DEQUANTIZE_TOKENS = 256
"""From this many tokens per step, vLLM's AWQ kernel dequantises the whole weight shard first (quantization/awq.py)."""
CUBLAS_WORKSPACE_BYTES = {7: 8 * MIB, 8: 8 * MIB, 9: 32 * MIB, 10: 32 * MIB, 12: 32 * MIB}
"""cuBLAS workspace by major compute capability; torch aten/src/ATen/cuda/CUDABlas.cpp:parseChosenWorkspaceSize."""
SECOND_RUNNER_TYPES = {"qwen3", "llama", "mistral", "qwen2_moe", "deepseek_v2"}
"""Architectures that model runner V2 serves first (vllm@0.24.0 config/vllm.py:DEFAULT_V2_MODEL_RUNNER_ARCHITECTURES).
"""


def uses_second_runner(model: ModelSpec, engine: ResolvedEngine) -> bool:
    """Whether model runner V2 runs this model: some architectures first, later all."""
    if engine.version < SECOND_RUNNER_SINCE:
        return False
    return engine.version >= SECOND_RUNNER_FOR_ALL_SINCE or model.model_type in SECOND_RUNNER_TYPES


def activation_bytes(
    model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, rank: Rank, compiles: bool = True
) -> FloatColumn:
    """Peak of torch's allocated memory in the profile run, above what was allocated before it.

    `compiles`: the compile cache is cold, as in a first start.

    Counts: the widest live set of one decoder layer for N tokens, the dequantised weight shard of AWQ, the experts'
    intermediate results, the sampler's sort (on rank 0 in V0), the cuBLAS workspace. Ignores: allocator fragmentation
    (vLLM does too).
    """
    tokens, seqs = engine.max_num_batched_tokens, engine.max_num_seqs
    hidden, itemsize = model.hidden_size, DTYPE_BYTES[engine.dtype]
    has_dense_layer = model.experts is None or model.num_dense_layers > 0
    layer = _mlp_bytes(model, engine, tokens) if has_dense_layer else 0
    if model.experts is not None:
        layer = columns.maximum(layer, _experts_bytes(model, engine, tokens))
    layer = columns.maximum(layer, _attention_bytes(model, engine, tokens))
    rows = columns.minimum(seqs, tokens)
    if model.has_vision_tower and engine.generation == "V0":  # few prompts of the largest image each
        rows = columns.minimum(rows, columns.maximum(tokens // VISION_TOKENS_PER_PROMPT, 1))
    if not rank.samples:
        rows = rows * 0
    per_logit = SORTLESS_BYTES_PER_LOGIT if _skips_the_sort(model, engine) else _sort_bytes_per_logit(rows)
    sampler = itemsize * tokens * hidden + per_logit * rows * model.vocab_size
    workspace = CUBLAS_WORKSPACE_BYTES.get(gpu.compute_capability[0], 32 * MIB)
    text = columns.maximum(layer, sampler) + workspace
    if compiles:
        text = columns.maximum(text, compile_bytes(model, engine, rank))
    encoder, kept = encoder_bytes(model, engine) if rank.is_first else (0.0, 0.0)
    return columns.maximum(encoder, text + kept)


def compile_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> FloatColumn:
    """Bytes that torch.compile holds while it compiles the first graph with a cold cache; 0 if they do not count.

    They are a copy of this rank's embedding and two hidden states, seen in 20 of 20 compiled starts of 0.24 on H200,
    over four architectures and 1 to 4 cards. Absent with a warm cache and with enforce_eager. Not seen in logs of 0.17
    and before.
    """
    if engine.generation == "V0" or engine.version < COMPILE_COUNTS_SINCE:
        return 0.0
    itemsize = DTYPE_BYTES[engine.dtype]
    embedding = padded_vocab_size(model) // engine.tensor_parallel_size * model.hidden_size * itemsize
    held = embedding * rank.is_first + 2 * engine.max_num_batched_tokens * model.hidden_size * itemsize
    return columns.where(engine.enforce_eager, 0.0, held)


VISION_TOKENS_PER_PROMPT = 16384
"""Tokens of the largest image of Qwen2-VL; limits the profile's sequences in V0 (vllm@0.8.5
worker/model_runner.py:profile_run)."""
SORTLESS_BYTES_PER_LOGIT = 8.0
"""Bytes per logit: 16-bit logits and their fp32 copies. More than 8.6 would have shown on a real start of 0.24 with
1024 sequences."""


def _skips_the_sort(model: ModelSpec, engine: ResolvedEngine) -> bool:
    """Whether top-k and top-p run without torch's sort."""
    return engine.version >= TRITON_TOP_K_SINCE or uses_second_runner(model, engine)


FUSED_MLP_HIDDEN_STATES = 3.5
"""Number of hidden states alive beside the MLP's widest tensors: 2.8 to 4.3 in five starts of 0.24 on 1 to 4 cards,
where the all-reduce adds none."""


def _mlp_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Largest live set of the MLP in bytes: at gate and up, at down, or at the all-reduce that follows."""
    hidden, itemsize = model.hidden_size, DTYPE_BYTES[engine.dtype]
    inner = model.intermediate_size // engine.tensor_parallel_size
    dequantised: Any = 0
    if engine.quantization == "awq":
        dequantised = columns.where(tokens >= AWQ_DEQUANTIZE_TOKENS, hidden * inner * itemsize, 0)
    gate_up = itemsize * tokens * (2 * inner + 3 * hidden) + 2 * dequantised
    if engine.generation == "V1" and engine.version >= FUSED_MLP_SINCE:
        return columns.maximum(
            gate_up, itemsize * tokens * (3 * inner + FUSED_MLP_HIDDEN_STATES * hidden) + dequantised
        )
    down = itemsize * tokens * (3 * inner + 4 * hidden) + dequantised
    reduced = itemsize * tokens * (3 * inner + 5 * hidden) if engine.tensor_parallel_size > 1 else 0
    return columns.maximum(columns.maximum(gate_up, down), reduced)


def _experts_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes of the fused experts' intermediate results: each token's copies after both matrices.

    Source: vllm@0.10.2 model_executor/layers/fused_moe/fused_moe.py:fused_experts_impl (cache1 and cache3 share memory,
    chunks of at most 32768 tokens).
    """
    experts, hidden, itemsize = model.experts, model.hidden_size, DTYPE_BYTES[engine.dtype]
    assert experts is not None
    inner = experts.intermediate_size // (1 if engine.enable_expert_parallel else engine.tensor_parallel_size)
    copies = columns.minimum(tokens, MOE_CHUNK_TOKENS) * experts.num_experts_per_tok
    return itemsize * (copies * (max(2 * inner, hidden) + inner) + tokens * 4 * hidden)


MOE_CHUNK_TOKENS = 32768


def _attention_bytes(model: ModelSpec, engine: ResolvedEngine, tokens: Any) -> Any:
    """Bytes alive in the attention block; per-head norms run in fp32 (layers/layernorm.py:RMSNorm.forward_native)."""
    queries = model.num_attention_heads * model.head_dim // engine.tensor_parallel_size
    keys = kv_heads_per_rank(model, engine.tensor_parallel_size) * model.head_dim
    per_token = 10 * queries + 4 * keys if model.qk_norm else 6 * queries + 4 * keys
    return tokens * (per_token + 4 * model.hidden_size)


def _sort_bytes_per_logit(rows: Any) -> Any:
    """Bytes of the sampler's sort per row and vocabulary entry; below 128 rows torch uses a kernel that takes more."""
    return columns.where(rows >= 128, 38.0, columns.where(rows >= 2, 50.2, 38.3))

"""Peak of torch's allocated memory in the engine's profile run: `activation_bytes(model, gpu, engine)`.

Formulas over arrays of candidates: the widest layer (live_sets.py), the sampler, the compiler and the image encoder,
whichever takes most. The sampler was read in vllm@0.8.5 layers/sampler.py and 0.24.0 v1/sample, and confirmed on real
starts (docs/model.md).
"""

from __future__ import annotations

from typing import Any

from planner import arrays as columns
from planner.arrays import FloatColumn
from planner.engine import (
    COMPILE_COUNTS_SINCE,
    REJECTION_INVERTS_SINCE,
    REJECTION_KEEPS_RAW_SINCE,
    REJECTION_WITH_BONUS_SINCE,
    TRITON_TOP_K_SINCE,
    ResolvedEngine,
)
from planner.estimate.memory.image_encoder import encoder_bytes, is_counted
from planner.estimate.memory.live_sets import layer_bytes, shared_workspace_bytes
from planner.estimate.memory.runners import uses_second_runner
from planner.estimate.memory.weights import Rank, padded_vocab_size
from planner.hardware import GpuSpec
from planner.model import DTYPE_BYTES, ModelSpec
from planner.units import MIB

CUBLAS_WORKSPACE_BYTES = {7: 8 * MIB, 8: 8 * MIB, 9: 32 * MIB, 10: 32 * MIB, 12: 32 * MIB}
"""cuBLAS workspace by major compute capability; torch aten/src/ATen/cuda/CUDABlas.cpp:parseChosenWorkspaceSize."""


def activation_bytes(
    model: ModelSpec, gpu: GpuSpec, engine: ResolvedEngine, rank: Rank, compiles: bool = True
) -> FloatColumn:
    """Peak of torch's allocated memory in the profile run, above what was allocated before it.

    `compiles`: the compile cache is cold, as in a first start.

    Counts: the widest live set of one decoder layer for N tokens, the buffers that layers share, the sampler (on
    rank 0 in V0), the cuBLAS workspace. Ignores: allocator fragmentation (vLLM does too).
    """
    layer = layer_bytes(model, engine, engine.max_num_batched_tokens)
    sampler = _sampler_bytes(model, engine, rank)
    workspace = cublas_bytes(gpu)
    text = columns.maximum(layer, sampler) + workspace + shared_workspace_bytes(model, gpu, engine)
    if compiles:
        text = columns.maximum(text, compile_bytes(model, engine, rank))
    encoder, kept = encoder_bytes(model, engine) if rank.is_first else (0.0, 0.0)
    if model.vision is not None and is_counted(model.vision, engine):  # the others' figures are of whole starts
        encoder = encoder + workspace
    return columns.maximum(encoder, text + kept)


def cublas_bytes(gpu: GpuSpec) -> int:
    """Bytes of the workspace that cuBLAS takes for one stream."""
    return CUBLAS_WORKSPACE_BYTES.get(gpu.compute_capability[0], 32 * MIB)


def compile_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> FloatColumn:
    """Bytes that torch.compile holds while it compiles the first graph with a cold cache; 0 if they do not count.

    They are a copy of this rank's embedding and two hidden states, seen in 20 of 20 compiled starts of 0.24 on H200,
    over four architectures and 1 to 4 cards. Absent with a warm cache and with enforce_eager. Not seen in logs of 0.17
    and before. A model that reads images looks its tokens up before the compiled graph, so the embedding is no part of
    it (vllm@0.24.0 v1/worker/gpu_model_runner.py:_dummy_run; three starts of Qwen3.5). With LoRA the same graph looks
    up one matrix of every adapter (lora/layers/vocal_parallel_embedding.py: forward), which is copied as well: by its
    size the peak grew between starts of Llama-3.1-8B, from rank 16 to 64 and from one adapter to four.
    """
    if engine.generation == "V0" or engine.version < COMPILE_COUNTS_SINCE:
        return 0.0
    itemsize = DTYPE_BYTES[engine.dtype]
    embedding = padded_vocab_size(model) // engine.tensor_parallel_size * model.hidden_size * itemsize
    if engine.lora is not None:
        embedding += model.vocab_size * engine.lora.max_rank * engine.lora.max_loras * itemsize
    copied = embedding if rank.is_first and not model.has_vision_tower else 0
    held = copied + 2 * engine.max_num_batched_tokens * model.hidden_size * itemsize
    return columns.where(engine.enforce_eager, 0.0, held) if engine.compilation.compiles else 0.0


VISION_TOKENS_PER_PROMPT = 16384
"""Tokens of the largest image of Qwen2-VL; limits the profile's sequences in V0 (vllm@0.8.5
worker/model_runner.py:profile_run)."""
SECOND_RUNNER_BYTES_PER_LOGIT = 8.0
"""Bytes per logit of model runner V2: 16-bit logits and their fp32 copies. More than 8.6 would have shown on a real
start of 0.24 with 1024 sequences."""
FIRST_RUNNER_BYTES_PER_LOGIT = 14.0
"""Bytes per logit of the first runner: 16-bit logits, fp32 logits, probabilities and random numbers (vllm@0.24.0
v1/sample/ops/topk_topp_sampler.py:forward_native). With the kernel's buffer it is exact in three starts of 0.24 with
128, 256 and 1024 sequences."""
REJECTION_BYTES_PER_LOGIT = 26.0
"""The same of its rejection sampler, which runs after the sampler with a drafter: 16-bit logits of a draft token and a
bonus token (4), those of the bonus token (2), its raw fp32 logits (4), the draft's raw fp32 logits (4), a copy (4),
its probabilities (4) and random numbers (4); since 0.18 their inverses too (vllm@0.16.0, 0.26.0 v1/worker/
gpu_model_runner.py:_dummy_sampler_run, v1/sample/rejection_sampler.py:forward, rejection_sample). Model runner V2 does
not profile it (v1/worker/gpu/model_runner.py:_dummy_sampler_run)."""
TRITON_PROGRAMS, TRITON_ROWS = 132, 8
"""Most rows of the top-k kernel's fp32 buffer, one per multiprocessor (132 on Hopper, 48 to 170 on other cards), and
the fewest rows that this kernel takes; fewer are sorted (v1/sample/ops/topk_topp_triton.py)."""


def _sampler_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> Any:
    """Bytes of the sampler's dummy run: the hidden states, and per row what one logit takes; none without a head."""
    tokens = engine.max_num_batched_tokens
    rows = columns.minimum(engine.max_num_seqs, tokens)
    if model.has_vision_tower and engine.generation == "V0":  # few prompts of the largest image each
        rows = columns.minimum(rows, columns.maximum(tokens // VISION_TOKENS_PER_PROMPT, 1))
    if not rank.samples or not model.has_head:
        rows = rows * 0
    sorts = _sort_bytes_per_logit(rows) * rows
    values: Any = sorts
    if uses_second_runner(model, engine):
        values = SECOND_RUNNER_BYTES_PER_LOGIT * rows
    elif engine.version >= TRITON_TOP_K_SINCE:
        buffer = 4 * columns.minimum(rows, TRITON_PROGRAMS)
        per_logit = FIRST_RUNNER_BYTES_PER_LOGIT
        if engine.speculation is not None:
            per_logit = REJECTION_BYTES_PER_LOGIT + 4 * (engine.version >= REJECTION_INVERTS_SINCE)
            buffer = 0 * buffer  # less than what is made after it
        values = columns.where(rows >= TRITON_ROWS, per_logit * rows + buffer, sorts)
    elif engine.speculation is not None and engine.version >= REJECTION_WITH_BONUS_SINCE:
        values = sorts + (8 + 4 * (engine.version >= REJECTION_KEEPS_RAW_SINCE)) * rows
    return DTYPE_BYTES[engine.dtype] * tokens * model.hidden_size + values * model.vocab_size


def _sort_bytes_per_logit(rows: Any) -> Any:
    """Bytes of the sampler's sort per row and vocabulary entry; below 128 rows torch uses a kernel that takes more."""
    return columns.where(rows >= 128, 38.0, columns.where(rows >= 2, 50.2, 38.3))

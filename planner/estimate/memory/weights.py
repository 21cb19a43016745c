"""The tensors one rank holds after loading: `rank_tensor_bytes(model, ...)`, in the order vLLM creates them.

Tensor parallelism shards the large matrices and replicates norms; KV heads are replicated when there are fewer than
ranks; the vocabulary is padded to a multiple of 64. Knows nothing of KV cache, activations or budgets.

Source: vllm@0.8.5 model_executor/models/{llama,qwen2,qwen3}.py, layers/linear.py, layers/vocab_parallel_embedding.py,
layers/quantization/{awq,gptq}.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from planner.estimate.memory.allocator import allocated_bytes
from planner.model import (
    DTYPE_BYTES,
    ENLARGED_ROPE_FACTOR,
    Experts,
    LatentAttention,
    LinearAttention,
    ModelSpec,
    Quantization,
    tower_bytes,
)

VOCAB_PADDING = 64
MXFP4_HIDDEN_PADDING = 256
"""Hidden sizes of MXFP4 experts are padded to a multiple of this (vllm@0.11.2 layers/quantization/mxfp4.py)."""


def kv_heads_per_rank(model: ModelSpec, tensor_parallel_size: int) -> int:
    return max(1, model.num_key_value_heads // tensor_parallel_size)


def padded_vocab_size(model: ModelSpec) -> int:
    return -(-model.vocab_size // VOCAB_PADDING) * VOCAB_PADDING


def layers_per_stage(num_layers: int, pipeline_parallel_size: int) -> list[int]:
    """Layers of each pipeline stage; a remainder goes to the stages before the last.

    Of more stages than layers, which a rule refuses, only as many are counted as there are layers.
    Source: vllm@0.8.5 distributed/utils.py:get_pp_indices.
    """
    pipeline_parallel_size = min(pipeline_parallel_size, num_layers)
    base, rest = divmod(num_layers, pipeline_parallel_size)
    layers = [base] * pipeline_parallel_size
    for i in range(rest):
        layers[-(i + 2) if pipeline_parallel_size > 1 else 0] += 1
    return layers


@dataclass(frozen=True, slots=True)
class Rank:
    """One rank per distinct memory use: ranks of one pipeline stage differ only in whether they sample."""

    number: int
    stage: int
    num_layers: int
    is_first: bool
    """Whether it is in the first pipeline stage, which holds the embedding and the vision tower."""
    is_last: bool
    samples: bool
    """Whether the profile run's sampler runs on it: on every rank of the last stage, in V0 only on its first one."""


def distinct_ranks(
    num_layers: int, tensor_parallel_size: int, pipeline_parallel_size: int, one_samples: bool
) -> list[Rank]:
    """Rank 0, and the ranks whose memory may differ. `one_samples`: V0, where a single rank runs the sampler."""
    stages = layers_per_stage(num_layers, pipeline_parallel_size)
    found: list[Rank] = []
    for stage, layers in enumerate(stages):
        is_first, is_last, number = stage == 0, stage == len(stages) - 1, stage * tensor_parallel_size
        if not (is_first or is_last) and any(r.num_layers == layers and r.stage > 0 for r in found):
            continue
        found.append(Rank(number, stage, layers, is_first, is_last, samples=is_last))
        if is_last and one_samples and tensor_parallel_size > 1:
            found.append(Rank(number + 1, stage, layers, is_first, is_last, samples=False))
    return found


def weight_bytes(
    model: ModelSpec,
    dtype: str,
    tensor_parallel_size: int,
    pipeline_parallel_size: int = 1,
    expert_parallel: bool = False,
) -> int:
    """Bytes that torch counts as allocated after loading, on the fullest rank."""
    ranks = distinct_ranks(model.num_hidden_layers, tensor_parallel_size, pipeline_parallel_size, one_samples=False)
    return max(
        rank_weight_bytes(model, dtype, tensor_parallel_size, pipeline_parallel_size, rank, expert_parallel)
        for rank in ranks
    )


@lru_cache(maxsize=256)
def rank_weight_bytes(
    model: ModelSpec,
    dtype: str,
    tensor_parallel_size: int,
    pipeline_parallel_size: int,
    rank: Rank,
    expert_parallel: bool = False,
) -> int:
    """Bytes that torch counts as allocated after loading, on one rank.

    Counts: parameters, the rope cache, the allocator's rounding. The part of `checkpoint_bytes` outside the language
    model (a vision tower) is split over the first stage. Ignores: what repacking for Marlin changes.
    """
    if model.quantization is not None and model.quantization.method == "gguf":
        return (model.checkpoint_bytes or 0) // (tensor_parallel_size * pipeline_parallel_size)
    tensors = rank_tensor_bytes(
        model, dtype, tensor_parallel_size, rank.num_layers, rank.is_first, rank.is_last, expert_parallel
    )
    beside = _beside_the_language_model(model, dtype) // tensor_parallel_size if rank.is_first else 0
    return allocated_bytes(tensors) + beside


def _beside_the_language_model(model: ModelSpec, dtype: str) -> int:
    if model.vision is not None and model.checkpoint_bytes is None:
        return tower_bytes(model.vision, model.hidden_size, DTYPE_BYTES[dtype])
    if not model.has_vision_tower or model.checkpoint_bytes is None:
        return 0
    language = sum(rank_tensor_bytes(model, dtype, 1, model.num_hidden_layers, True, True))
    return max(0, model.checkpoint_bytes - language)


def rank_tensor_bytes(
    model: ModelSpec,
    dtype: str,
    tensor_parallel_size: int,
    num_layers: int,
    is_first: bool,
    is_last: bool,
    expert_parallel: bool = False,
) -> Iterator[int]:
    """Sizes of a rank's tensors in order of creation: embedding, layers, last norm, head."""
    itemsize = DTYPE_BYTES[dtype]
    hidden = model.hidden_size
    vocabulary = padded_vocab_size(model) // tensor_parallel_size * hidden * itemsize
    if is_first or (is_last and model.tie_word_embeddings):
        yield vocabulary
    if is_first and model.model_type == "opt":  # learned positions, two of them for padding
        yield (model.max_position_embeddings + 2) * hidden * itemsize
    for layer in range(num_layers):
        yield from _layer(model, itemsize, tensor_parallel_size, layer, expert_parallel)
    if is_last:
        yield hidden * itemsize
        if not model.tie_word_embeddings:
            yield vocabulary


def _layer(model: ModelSpec, itemsize: int, tp: int, index: int, expert_parallel: bool) -> Iterator[int]:
    hidden, linear = model.hidden_size, model.linear_attention
    if linear is not None and index < linear.num_layers:  # which layers they are does not change the sum
        yield from _delta_net(model, linear, itemsize, tp)
    else:
        yield from _attention(model, itemsize, tp, has_rope_cache=index == (linear.num_layers if linear else 0))
    experts = model.experts
    if experts is None or index < experts.num_dense_layers:
        yield from _mlp(model, itemsize, model.intermediate_size // tp)
    else:
        yield from _moe(model, experts, itemsize, tp, expert_parallel)
    for _ in range(model.norms_per_layer):
        yield hidden * itemsize


def _attention(model: ModelSpec, itemsize: int, tp: int, has_rope_cache: bool) -> Iterator[int]:
    hidden, mla = model.hidden_size, model.latent_attention
    if mla is not None:
        yield from _latent(model, mla, itemsize, tp)
    else:
        queries = model.num_attention_heads * model.head_dim // tp
        keys = kv_heads_per_rank(model, tp) * model.head_dim
        gates = queries if model.linear_attention is not None else 0  # hybrids gate the attention's output
        yield from _linear(model, itemsize, hidden, queries + gates + 2 * keys, has_bias=model.qkv_bias)
        yield from _linear(model, itemsize, queries, hidden, has_bias=not model.has_gated_mlp)
    if has_rope_cache:  # one cos/sin cache, shared by all layers
        width = mla.qk_rope_head_dim if mla is not None else model.head_dim
        factor = ENLARGED_ROPE_FACTOR if model.vision is not None and model.vision.video_frames else 1
        yield factor * model.max_context_tokens * width * itemsize
    if model.qk_norm:
        yield from (model.head_dim * itemsize, model.head_dim * itemsize)


def _delta_net(model: ModelSpec, linear: LinearAttention, itemsize: int, tp: int) -> Iterator[int]:
    """Projections, convolution and gates of a gated delta net layer (vllm@0.20.2 models/qwen3_next.py)."""
    mixed = 2 * linear.key_width + linear.value_width
    yield from _linear(model, itemsize, model.hidden_size, (mixed + linear.value_width) // tp)
    yield from _linear(model, itemsize, model.hidden_size, 2 * linear.num_value_heads // tp)
    yield mixed // tp * linear.kernel_size * itemsize
    yield from (linear.num_value_heads // tp * 4, linear.num_value_heads // tp * 4)
    yield from _linear(model, itemsize, linear.value_width // tp, model.hidden_size)


def _latent(model: ModelSpec, mla: LatentAttention, itemsize: int, tp: int) -> Iterator[int]:
    """The projections of multi-head latent attention; the compressing ones are replicated."""
    hidden, heads = model.hidden_size, model.num_attention_heads // tp
    query_width = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim)
    if mla.q_lora_rank:
        yield from _linear(model, itemsize, hidden, mla.q_lora_rank)
        yield from _linear(model, itemsize, mla.q_lora_rank, query_width)
    else:
        yield from _linear(model, itemsize, hidden, query_width)
    yield from _linear(model, itemsize, hidden, mla.kv_lora_rank + mla.qk_rope_head_dim)
    yield from _linear(model, itemsize, mla.kv_lora_rank, heads * (mla.qk_nope_head_dim + mla.v_head_dim))
    yield from _linear(model, itemsize, heads * mla.v_head_dim, hidden)
    # kv_b_proj is also kept split and in the activations' dtype (v1/attention/backends/mla: W_UK_T, W_UV).
    yield heads * mla.kv_lora_rank * (mla.qk_nope_head_dim + mla.v_head_dim) * itemsize


def _mlp(model: ModelSpec, itemsize: int, inner: int) -> Iterator[int]:
    has_bias = not model.has_gated_mlp
    yield from _linear(model, itemsize, model.hidden_size, (2 if model.has_gated_mlp else 1) * inner, has_bias)
    yield from _linear(model, itemsize, inner, model.hidden_size, has_bias)


def _moe(model: ModelSpec, experts: Experts, itemsize: int, tp: int, expert_parallel: bool) -> Iterator[int]:
    """Router (replicated, never quantised), the experts as two stacked tensors, the shared experts.

    Tensor parallelism cuts every expert; expert parallelism gives each rank whole experts.
    """
    hidden, inner, count = model.hidden_size, experts.intermediate_size, experts.num_experts
    yield hidden * count * itemsize
    count, inner = (-(-count // tp), inner) if expert_parallel else (count, inner // tp)
    if model.quantization is not None and model.quantization.method == "mxfp4":
        hidden = -(-hidden // MXFP4_HIDDEN_PADDING) * MXFP4_HIDDEN_PADDING
    for outputs, inputs in ((2 * inner, hidden), (hidden, inner)):
        yield from (count * size for size in _linear(model, itemsize, inputs, outputs, is_expert=True))
    if model.model_type == "gpt_oss":  # the only model type here whose experts have biases
        yield from (count * 2 * inner * itemsize, count * hidden * itemsize)
    if experts.shared_intermediate_size:
        yield from _mlp(model, itemsize, experts.shared_intermediate_size // tp)


def _linear(
    model: ModelSpec, itemsize: int, inputs: int, outputs: int, has_bias: bool = False, is_expert: bool = False
) -> Iterator[int]:
    """Bytes of one linear layer on a rank: its weight, or the tensors of its quantised form; then the bias.

    MXFP4 checkpoints (gpt-oss) quantise the experts only.
    """
    quantization = model.quantization
    if quantization is None or (quantization.method == "mxfp4" and not is_expert):
        yield inputs * outputs * itemsize
    else:
        yield from _quantised(quantization, itemsize, inputs, outputs)
    if has_bias:
        yield outputs * itemsize


def _quantised(quantization: Quantization, itemsize: int, inputs: int, outputs: int) -> Iterator[int]:
    """The tensors of a quantised weight, in the order of vLLM's create_weights (layers/quantization/*.py)."""
    weights, bits = inputs * outputs, quantization.bits
    groups = -(-inputs // quantization.group_size) if quantization.group_size > 0 else 1
    packed = weights * bits // 8
    match quantization.method:
        case "gptq":
            yield from (packed, inputs * 4, groups * outputs * bits // 8, groups * outputs * itemsize)  # g_idx: int32
        case "awq":
            yield from (packed, groups * outputs * bits // 8, groups * outputs * itemsize)
        case "fp8":
            yield weights
            if quantization.block_size is not None:
                rows, columns = quantization.block_size
                yield -(-outputs // rows) * -(-inputs // columns) * 4
            else:
                yield outputs * 4
        case "bitsandbytes":
            yield packed  # its scales live outside torch's parameters: one byte per group, doubly quantised
            yield weights // quantization.group_size
        case "mxfp4":
            yield from (packed, groups * outputs)
        case "modelopt":  # NVFP4: one fp8 scale per group
            yield from (packed, groups * outputs)
        case _:  # compressed-tensors: grouped scales in the activations' dtype, or one fp32 per row
            yield packed
            yield groups * outputs * itemsize if quantization.group_size > 0 else outputs * 4

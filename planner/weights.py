"""The tensors one rank holds after loading: `rank_tensor_bytes(model, ...)`, in the order vLLM creates them.

Tensor parallelism shards the large matrices and replicates norms; KV heads are replicated when there are fewer than
ranks; the vocabulary is padded to a multiple of 64. Knows nothing of KV cache, activations or budgets.

Source: vllm@0.8.5 model_executor/models/{llama,qwen2,qwen3}.py, layers/linear.py, layers/vocab_parallel_embedding.py,
layers/quantization/{awq,gptq}.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from planner.allocator import allocated_bytes
from planner.model import DTYPE_BYTES, ModelSpec

VOCAB_PADDING = 64


def kv_heads_per_rank(model: ModelSpec, tensor_parallel_size: int) -> int:
    return max(1, model.num_key_value_heads // tensor_parallel_size)


def padded_vocab_size(model: ModelSpec) -> int:
    return -(-model.vocab_size // VOCAB_PADDING) * VOCAB_PADDING


def layers_per_stage(num_layers: int, pipeline_parallel_size: int) -> list[int]:
    """Layers of each pipeline stage; a remainder goes to the stages before the last.

    Source: vllm@0.8.5 distributed/utils.py:get_pp_indices.
    """
    base, rest = divmod(num_layers, pipeline_parallel_size)
    layers = [base] * pipeline_parallel_size
    for i in range(rest):
        layers[-(i + 2) if pipeline_parallel_size > 1 else 0] += 1
    return layers


@lru_cache(maxsize=256)
def weight_bytes(model: ModelSpec, dtype: str, tensor_parallel_size: int, pipeline_parallel_size: int = 1) -> int:
    """Bytes that torch counts as allocated after loading, on the fullest rank.

    Counts: parameters, the rope cache, the allocator's rounding. Ignores: what a loader frees again.
    """
    stages = layers_per_stage(model.num_hidden_layers, pipeline_parallel_size)
    return max(
        allocated_bytes(rank_tensor_bytes(model, dtype, tensor_parallel_size, layers, i == 0, i == len(stages) - 1))
        for i, layers in enumerate(stages)
    )


def rank_tensor_bytes(
    model: ModelSpec, dtype: str, tensor_parallel_size: int, num_layers: int, is_first: bool, is_last: bool
) -> Iterator[int]:
    """Sizes of a rank's tensors in order of creation: embedding, layers, last norm, head."""
    itemsize = DTYPE_BYTES[dtype]
    hidden = model.hidden_size
    vocabulary = padded_vocab_size(model) // tensor_parallel_size * hidden * itemsize
    if is_first or (is_last and model.tie_word_embeddings):
        yield vocabulary
    for layer in range(num_layers):
        yield from _layer(model, itemsize, tensor_parallel_size, has_rope_cache=layer == 0)
    if is_last:
        yield hidden * itemsize
        if not model.tie_word_embeddings:
            yield vocabulary


def _layer(model: ModelSpec, itemsize: int, tp: int, has_rope_cache: bool) -> Iterator[int]:
    hidden, inner = model.hidden_size, model.intermediate_size // tp
    queries = model.num_attention_heads * model.head_dim // tp
    keys = kv_heads_per_rank(model, tp) * model.head_dim
    yield from _linear(model, itemsize, hidden, queries + 2 * keys, has_bias=model.qkv_bias)
    yield from _linear(model, itemsize, queries, hidden)
    if has_rope_cache:  # one cos/sin cache, shared by all layers
        yield model.max_context_tokens * model.head_dim * itemsize
    if model.qk_norm:
        yield from (model.head_dim * itemsize, model.head_dim * itemsize)
    yield from _linear(model, itemsize, hidden, 2 * inner)
    yield from _linear(model, itemsize, inner, hidden)
    yield from (hidden * itemsize, hidden * itemsize)


def _linear(model: ModelSpec, itemsize: int, inputs: int, outputs: int, has_bias: bool = False) -> Iterator[int]:
    """One linear layer of a rank: its weight, or what its quantised form consists of; then the bias."""
    quantization = model.quantization
    if quantization is None:
        yield inputs * outputs * itemsize
    else:
        groups = -(-inputs // quantization.group_size) if quantization.group_size > 0 else 1
        packed = inputs * outputs * quantization.bits // 8
        zeros = groups * outputs * quantization.bits // 8
        scales = groups * outputs * itemsize
        if quantization.method == "gptq":
            yield from (packed, inputs * 4, zeros, scales)  # g_idx: one int32 an input
        else:
            yield from (packed, zeros, scales)
    if has_bias:
        yield outputs * itemsize

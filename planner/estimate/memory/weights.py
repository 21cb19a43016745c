"""The tensors one rank holds after loading: `rank_tensor_bytes(model, ...)`, in the order vLLM creates them.

Tensor parallelism shards the large matrices and replicates norms; KV heads are replicated when there are fewer than
ranks; the vocabulary is padded to a multiple of 64. Knows nothing of KV cache, activations or budgets.

Source: vllm@0.8.5 model_executor/models/{llama,qwen2,qwen3}.py, layers/linear.py, layers/vocab_parallel_embedding.py,
layers/quantization/{awq,gptq}.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from planner.estimate.memory.allocator import allocated_bytes
from planner.model import (
    DTYPE_BYTES,
    ENLARGED_ROPE_FACTOR,
    Attention,
    LatentAttention,
    Layer,
    ModelSpec,
    Module,
    Quantization,
    modules_of,
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

    Source: vllm@0.8.5 distributed/utils.py:get_pp_indices.
    """
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
    first_layer: int
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
        first = sum(stages[:stage])
        found.append(Rank(number, stage, first, layers, is_first, is_last, samples=is_last))
        if is_last and one_samples and tensor_parallel_size > 1:
            found.append(Rank(number + 1, stage, first, layers, is_first, is_last, samples=False))
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
        model, dtype, tensor_parallel_size, rank.num_layers, rank.is_first, rank.is_last, expert_parallel,
        rank.first_layer,
    )  # fmt: skip
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
    first_layer: int = 0,
) -> Iterator[int]:
    """Sizes of a rank's tensors in order of creation: embedding, layers, last norm, head."""
    itemsize, tp = DTYPE_BYTES[dtype], tensor_parallel_size
    hidden = model.hidden_size
    vocabulary = padded_vocab_size(model) // tp * hidden * itemsize
    if is_first or (is_last and model.tie_word_embeddings):
        yield vocabulary
    if is_first:
        for module in model.beside:
            yield from _module(model, module, itemsize, tp, expert_parallel)
    tables: set[tuple[int, float]] = set()
    sizes: dict[Layer, tuple[list[int], list[int]]] = {}
    for layer in model.layers.part(first_layer, num_layers):
        if layer not in sizes:
            before, after = _up_to_output(modules_of(layer, hidden))
            sizes[layer] = (
                [size for module in before for size in _module(model, module, itemsize, tp, expert_parallel)],
                [size for module in after for size in _module(model, module, itemsize, tp, expert_parallel)],
            )
        yield from sizes[layer][0]
        for table in rope_tables(layer) - tables:  # one cos/sin table, shared by all layers with the same base
            tables.add(table)
            yield _table_bytes(model, table[0], itemsize)
        yield from sizes[layer][1]
    if is_last:
        yield hidden * itemsize
        if model.has_head and not model.tie_word_embeddings:
            yield vocabulary


def _up_to_output(modules: Sequence[Module]) -> tuple[Sequence[Module], Sequence[Module]]:
    """A layer's modules up to the mixer's output projection, after which vLLM makes the rotary table; and the rest."""
    end = next((number + 1 for number, module in enumerate(modules) if module.cut == "inputs"), len(modules))
    return modules[:end], modules[end:]


def rope_tables(layer: Layer) -> set[tuple[int, float]]:
    """Width and base of the rotary tables that a layer's mixers read (layers/rotary_embedding: _ROPE_DICT)."""
    found: set[tuple[int, float]] = set()
    for mixer in layer.mixers:
        if isinstance(mixer, Attention) and mixer.rotary_dim:
            found.add((mixer.rotary_dim, mixer.rope_theta))
        if isinstance(mixer, LatentAttention) and mixer.has_rope:
            found.add((mixer.qk_rope_head_dim, 0.0))
    return found


def _table_bytes(model: ModelSpec, width: int, itemsize: int) -> int:
    factor = ENLARGED_ROPE_FACTOR if model.vision is not None and model.vision.video_frames else 1
    return factor * model.max_context_tokens * width * itemsize


def _module(model: ModelSpec, module: Module, itemsize: int, tp: int, expert_parallel: bool) -> Iterator[int]:
    """Bytes of a module's tensors on a rank: its weight, or the tensors of its quantised form; then the bias.

    Tensor parallelism cuts every expert; expert parallelism gives each rank whole experts. MXFP4 checkpoints (gpt-oss)
    quantise the experts only.
    """
    count = 1
    if module.copies:
        count, tp = (-(-module.copies // tp), 1) if expert_parallel else (module.copies, tp)
    outputs, inputs = module.shape(tp)
    own, quantization = module.itemsize or itemsize, model.quantization
    if quantization is None or not module.is_quantizable or (quantization.method == "mxfp4" and not module.copies):
        yield count * outputs * inputs * own
    else:
        if quantization.method == "mxfp4":
            outputs, inputs = _padded(module, outputs, inputs)
        yield from (count * size for size in _quantised(quantization, itemsize, inputs, outputs))
    if module.has_bias:
        yield count * outputs * own


def _padded(module: Module, outputs: int, inputs: int) -> tuple[int, int]:
    """Shape of an MXFP4 expert with the hidden size padded, which is the inputs of gate and up, the outputs of down."""
    if module.cut == "outputs":
        return outputs, -(-inputs // MXFP4_HIDDEN_PADDING) * MXFP4_HIDDEN_PADDING
    return -(-outputs // MXFP4_HIDDEN_PADDING) * MXFP4_HIDDEN_PADDING, inputs


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

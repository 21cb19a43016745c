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
from typing import Any

from msgspec.structs import replace

from planner.estimate.memory.allocator import allocated_bytes
from planner.model import (
    DTYPE_BYTES,
    Attention,
    LatentAttention,
    Layer,
    ModelSpec,
    Module,
    Part,
    Quantization,
    Scheme,
    modules_of,
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


@dataclass(frozen=True, slots=True)
class ExpertSplit:
    """How routed experts are shared out, over the ranks of all data-parallel replicas together.

    Source: vllm@0.8.5 fused_moe/layer.py:FusedMoE; 0.11.0..0.32.0 fused_moe/config.py:FusedMoEParallelConfig.make.
    """

    replicas: int = 1
    """data_parallel_size: each rank holds a share of tensor x data parallel ranks; the rest of a model is in each."""
    is_whole: bool = False
    """Whether ranks hold whole experts (enable_expert_parallel) instead of a part of each."""


def weight_bytes(
    model: ModelSpec,
    dtype: str,
    tensor_parallel_size: int,
    pipeline_parallel_size: int = 1,
    experts: ExpertSplit = ExpertSplit(),
) -> int:
    """Bytes that torch counts as allocated after loading, on the fullest rank."""
    ranks = distinct_ranks(model.num_hidden_layers, tensor_parallel_size, pipeline_parallel_size, one_samples=False)
    return max(
        rank_weight_bytes(model, dtype, tensor_parallel_size, pipeline_parallel_size, rank, experts) for rank in ranks
    )


@lru_cache(maxsize=256)
def rank_weight_bytes(
    model: ModelSpec,
    dtype: str,
    tensor_parallel_size: int,
    pipeline_parallel_size: int,
    rank: Rank,
    experts: ExpertSplit = ExpertSplit(),
) -> int:
    """Bytes that torch counts as allocated after loading, on one rank.

    Counts: parameters, the rope cache, the allocator's rounding. The part of `checkpoint_bytes` outside the language
    model (a vision tower) is split over the first stage. Ignores: what repacking for Marlin changes.
    """
    if model.quantization is not None and model.quantization.method == "gguf":
        return (model.checkpoint_bytes or 0) // (tensor_parallel_size * pipeline_parallel_size)
    if not model.is_known and model.held is None and model.checkpoint_bytes is not None:
        return model.checkpoint_bytes // (tensor_parallel_size * pipeline_parallel_size)
    tensors = rank_tensor_bytes(
        model, dtype, tensor_parallel_size, rank.num_layers, rank.is_first, rank.is_last, experts,
        rank.first_layer,
    )  # fmt: skip
    beside = _beside_the_language_model(model, dtype) // tensor_parallel_size if rank.is_first else 0
    return allocated_bytes(tensors) + beside


def _beside_the_language_model(model: ModelSpec, dtype: str) -> int:
    """Bytes of a tower whose modules are not known, and of what else the checkpoint of an unknown type holds."""
    if model.held is not None:
        return (0 if model.tower and not model.is_tower_rough else model.held.beside) + (
            0 if model.is_known else model.held.other
        )
    if model.checkpoint_bytes is None or model.tower or not model.has_vision_tower:
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
    experts: ExpertSplit = ExpertSplit(),
    first_layer: int = 0,
) -> Iterator[int]:
    """Sizes of a rank's tensors in order of creation: embedding, layers, last norm, head."""
    itemsize, tp = DTYPE_BYTES[dtype], tensor_parallel_size
    hidden = model.hidden_size
    whole = model.model_type == "whisper"  # its embedding is not divided (models/whisper.py: nn.Embedding)
    vocabulary = padded_vocab_size(model) // (1 if whole else tp) * hidden * itemsize
    if is_first and not (model.is_tower_rough and model.held is not None):
        for module in model.tower:
            yield from _module(module, tower_scheme(model.quantization, module), itemsize, tp)
    if is_first or (is_last and model.tie_word_embeddings):
        yield vocabulary
    if is_first:
        for module in model.beside:
            yield from _module(module, None, itemsize, tp, experts)
    tables: set[tuple[int, float, float]] = set()
    sizes: dict[tuple[Any, ...], tuple[list[int], list[int]]] = {}
    for number, layer in enumerate(model.layers.part(first_layer, num_layers), first_layer):
        modules = modules_of(layer, hidden)
        schemes = layer_schemes(model.quantization, modules, number)
        held = model.held.layers[number] if model.held is not None else (0,) * len(modules)
        key = (layer, schemes, held)
        if key not in sizes:
            bytes_of = [
                list(_module(module, scheme, itemsize, _ranks(model, module, tp), experts, stored))
                for module, scheme, stored in zip(modules, schemes, held, strict=True)
                if model.quantization is not None or not module.is_copy
            ]
            end = _output_of(modules)
            sizes[key] = (
                [size for module in bytes_of[:end] for size in module],
                [size for module in bytes_of[end:] for size in module],
            )
        yield from sizes[key][0]
        for table in rope_tables(layer) - tables:  # one cos/sin table, shared by all layers with the same base
            tables.add(table)
            yield _table_bytes(model, table, itemsize)
        yield from sizes[key][1]
    if is_last:
        yield hidden * itemsize
        if model.has_head and not model.tie_word_embeddings:
            held_head = model.held.head if model.held is not None else 0
            yield from _module(head_module(model), head_scheme(model.quantization), itemsize, tp, held=held_head)


def _ranks(model: ModelSpec, module: Module, tp: int) -> int:
    """Number of ranks that share a module (vllm@0.32 gdn/qwen_gdn_linear_attn.py:maybe_disable_tp)."""
    by_marlin = model.quantization is not None and model.quantization.method in {"awq", "gptq", "auto-round"}
    return 1 if module.is_narrow and by_marlin else tp


def _output_of(modules: Sequence[Module]) -> int:
    """Number of a layer's modules up to the mixer's output projection, after which vLLM makes the rotary table."""
    return next((number + 1 for number, module in enumerate(modules) if module.cut == "inputs"), len(modules))


@lru_cache(maxsize=4096)
def layer_schemes(
    quantization: Quantization | None, modules: tuple[Module, ...], number: int
) -> tuple[Scheme | None, ...]:
    """Scheme of each module of layer `number`; None: it stays in 16 bits."""
    if quantization is None:
        return (None,) * len(modules)
    if not quantization.rules:
        number = 0
    return tuple(
        quantization.scheme_of(_names(module, number, quantization.names_fused), bool(module.copies))
        if module.is_quantizable
        else None
        for module in modules
    )


def tower_scheme(quantization: Quantization | None, module: Module) -> Scheme | None:
    """Scheme of a module of the tower; checkpoints that quantise it say so, or quantise every linear module."""
    if quantization is None or not module.is_quantizable:
        return None
    names = [module.name, f"model.{module.name}"]
    return quantization.scheme_of(names, is_listed=not quantization.reaches_tower)


def head_module(model: ModelSpec) -> Module:
    """The head: its vocabulary is padded and divided, as the embedding's is."""
    return Module((Part("lm_head", padded_vocab_size(model)),), model.hidden_size, "outputs")


def head_scheme(quantization: Quantization | None) -> Scheme | None:
    """Scheme of the head: 16 bits unless a rule names it."""
    names = ["lm_head", "model.lm_head", "language_model.lm_head"]
    return None if quantization is None else quantization.scheme_of(names, is_listed=True)


LAYER_PREFIXES = ("model.layers.", "model.language_model.layers.", "language_model.model.layers.",
                  "backbone.layers.", "model.model.layers.", "layers.")  # fmt: skip
"""How checkpoints name a layer; lists of exceptions use their checkpoint's names, which vLLM maps to its own."""


def _names(module: Module, number: int, is_fused: bool) -> list[str]:
    """Names under which a list of exceptions may know a module; experts also by the module that holds them all."""
    own = [module.name]
    if module.copies:
        own = [module.name.rpartition(".experts.")[0] + ".experts" if "." in module.name else "experts"]
        own += [] if is_fused else [module.name]
    return [f"{prefix}{number}.{name.lstrip('.')}" for prefix in LAYER_PREFIXES for name in own]


def rope_tables(layer: Layer) -> set[tuple[int, float, float]]:
    """Width, base and stretch of the rotary tables of a layer's mixers (layers/rotary_embedding: _ROPE_DICT)."""
    found: set[tuple[int, float, float]] = set()
    for mixer in layer.mixers:
        if isinstance(mixer, Attention) and mixer.rotary_dim:
            found.add((mixer.rotary_dim, mixer.rope_theta, mixer.rope_factor))
        if isinstance(mixer, LatentAttention) and mixer.has_rope:
            found.add((mixer.qk_rope_head_dim, 0.0, 1.0))
    return found


def _table_bytes(model: ModelSpec, table: tuple[int, float, float], itemsize: int) -> int:
    width, _, stretch = table
    positions = max(model.max_context_tokens, int(model.max_position_embeddings * stretch))
    return model.rope_table_factor * positions * width * itemsize


def _module(
    module: Module,
    scheme: Scheme | None,
    itemsize: int,
    tp: int,
    experts: ExpertSplit = ExpertSplit(),
    held: int = 0,
) -> Iterator[int]:
    """Bytes of a module's tensors on a rank: its weight, or the tensors of its quantised form; then the bias.

    Tensor parallelism cuts every expert, expert parallelism gives each rank whole ones; replicas share them too.
    `held`: bytes of the module in the checkpoint, 0 if they are not known; MXFP4 experts are padded, whatever it holds.
    """
    count = 1
    if module.copies:
        tp = tp * experts.replicas
        count, tp = (-(-module.copies // tp), 1) if experts.is_whole else (module.copies, tp)
    outputs, inputs = module.shape(tp)
    if held and (scheme is None or scheme.packing != "mxfp4"):
        rows, columns = module.shape(1)
        yield held * count * outputs * inputs // (max(1, module.copies) * rows * columns)
        return
    own = module.itemsize or itemsize
    if scheme is None:
        yield count * outputs * inputs * own
    else:
        if scheme.packing == "mxfp4":
            outputs, inputs = _padded(scheme, module, outputs, inputs)
        if scheme.packing == "awq" and module.copies:
            width = outputs // len(module.parts) if module.cut == "outputs" else inputs
            scheme = _halved(scheme, width)
        yield from (count * size for size in _quantised(scheme, itemsize, inputs, outputs))
    if module.has_bias:
        yield count * outputs * own


def module_bytes(module: Module, itemsize: int, tensor_parallel_size: int) -> int:
    """Bytes of an unquantised module on one rank."""
    return sum(_module(module, None, itemsize, tensor_parallel_size))


def _halved(scheme: Scheme, width: int) -> Scheme:
    """AWQ's scheme with groups halved until they fit a rank's share of an expert's width, for all of its weights.

    Source: vllm@0.32 quantization/moe_wna16.py:MoeWNA16Method.create_weights.
    """
    group = scheme.group_size
    while group > 1 and width % group:
        group //= 2
    return scheme if group == scheme.group_size else replace(scheme, group_size=group)


def _padded(scheme: Scheme, module: Module, outputs: int, inputs: int) -> tuple[int, int]:
    """Shape of an MXFP4 expert on a rank with hidden size and width padded, as the card's kernel wants them.

    Source: vllm@0.32 fused_moe/oracle/mxfp4.py:mxfp4_round_up_hidden_size_and_intermediate_size.
    """
    if module.cut == "outputs":
        width = _up(outputs // len(module.parts), scheme.width_multiple)
        return width * len(module.parts), _up(inputs, MXFP4_HIDDEN_PADDING)
    return _up(outputs, MXFP4_HIDDEN_PADDING), _up(inputs, scheme.width_multiple)


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _quantised(scheme: Scheme, itemsize: int, inputs: int, outputs: int) -> Iterator[int]:
    """The tensors of a quantised weight, in the order of vLLM's create_weights (layers/quantization/*.py)."""
    weights, bits = inputs * outputs, scheme.bits
    groups = -(-inputs // scheme.group_size) if scheme.group_size > 0 else 1
    packed = weights * bits // 8
    match scheme.packing:
        case "gptq":
            yield from (packed, inputs * 4, groups * outputs * bits // 8, groups * outputs * itemsize)  # g_idx: int32
        case "awq":
            yield from (packed, groups * outputs * bits // 8, groups * outputs * itemsize)
        case "fp8":
            yield weights
            if scheme.block_size is not None:
                rows, columns = scheme.block_size
                yield -(-outputs // rows) * -(-inputs // columns) * 4
            else:
                yield outputs * 4
        case "bitsandbytes":
            yield packed  # its scales live outside torch's parameters: one byte per group, doubly quantised
            yield weights // scheme.group_size
        case "mxfp4" | "nvfp4":  # one 8-bit scale per group
            yield from (packed, groups * outputs)
        case _:  # compressed-tensors: grouped scales in the activations' dtype, or one fp32 per row
            yield packed
            yield groups * outputs * itemsize if scheme.group_size > 0 else outputs * 4
            if scheme.has_zeros:
                yield groups * outputs * bits // 8

"""Weights of a speculative decoder's drafter on one rank, in bytes: `drafter_bytes(model, engine, rank)`.

In: the model and `speculative_config`. Out: bytes of the layers for multi-token prediction, or of a draft model whose
config is at hand; 0 for a drafter that is not, which the answer names. Embedding and head are the model's own.
Source: vllm@0.32 models/qwen3_5_mtp.py, deepseek_mtp.py, glm4_moe_mtp.py; v1/spec_decode/eagle.py.
"""

from __future__ import annotations

from functools import lru_cache

from planner.engine import ResolvedEngine, Speculation
from planner.errors import InputError
from planner.estimate.memory.weights import Rank, module_bytes, rank_weight_bytes
from planner.model import DTYPE_BYTES, Attention, LatentAttention, Layer, ModelSpec, Part, load_offline, modules_of
from planner.model import Module as WeightModule


def drafter_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> int:
    """Bytes of the drafter on a rank; it runs on the last pipeline stage."""
    speculation = engine.speculation
    if speculation is None or not rank.is_last:
        return 0
    if speculation.drafting == "mtp" and speculation.model is None:
        return mtp_bytes(model, engine.dtype, engine.tensor_parallel_size)
    draft = draft_model(speculation)
    if draft is None:
        return 0
    ranks = 1 if speculation.tensor_parallel_size == 1 else engine.tensor_parallel_size
    whole = Rank(0, 0, 0, draft.num_hidden_layers, True, True, samples=True)
    return rank_weight_bytes(draft, engine.dtype, ranks, 1, whole)


def draft_model(speculation: Speculation | None) -> ModelSpec | None:
    """The draft model's spec if it is a directory here or a shipped name; None otherwise, and for n-grams."""
    return None if speculation is None or speculation.model is None else _draft(speculation.model)


@lru_cache(maxsize=64)
def _draft(source: str) -> ModelSpec | None:
    try:
        return load_offline(source)
    except InputError:
        return None


@lru_cache(maxsize=64)
def mtp_bytes(model: ModelSpec, dtype: str, tensor_parallel_size: int) -> int:
    """Bytes of the layers for multi-token prediction: each one layer of the last kind that attends, and a projection.

    They are in 16 bits, as the checkpoints of 2026 keep them (their `ignore` lists name `mtp`).
    """
    attending = [layer for layer in model.layers.kinds if _attends(layer)]
    if not attending or not model.num_mtp_layers:
        return 0
    last = next(layer for layer in reversed(list(model.layers)) if _attends(layer))
    hidden = model.hidden_size
    projection = WeightModule((Part("mtp.fc", hidden),), 2 * hidden, "outputs")
    modules = [module for module in modules_of(last, hidden) if not module.is_copy]
    sizes = [module_bytes(module, DTYPE_BYTES[dtype], tensor_parallel_size) for module in (projection, *modules)]
    return model.num_mtp_layers * sum(sizes)


def _attends(layer: Layer) -> bool:
    return any(isinstance(mixer, Attention | LatentAttention) for mixer in layer.mixers)

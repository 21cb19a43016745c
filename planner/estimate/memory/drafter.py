"""Weights of a speculative decoder's drafter on one rank, in bytes: `drafter_bytes(model, engine, rank)`.

In: the model and `speculative_config`. Out: bytes of the layers for multi-token prediction, of EAGLE's layer, or of a
drafter whose config is at hand; 0 for one that is not, which the answer names. Embedding and head are the model's own,
unless a drafter's head knows fewer tokens. Source: vllm@0.32 models/qwen3_5_mtp.py, deepseek_mtp.py, glm4_moe_mtp.py,
llama_eagle.py, llama_eagle3.py, qwen3_dflash.py; v1/spec_decode/llm_base_proposer.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from msgspec import structs

from planner.engine import ResolvedEngine, Speculation
from planner.errors import InputError
from planner.estimate.memory.weights import Rank, module_bytes, rank_weight_bytes
from planner.model import (
    DTYPE_BYTES,
    Attention,
    LatentAttention,
    Layer,
    Mlp,
    ModelSpec,
    Part,
    by_outputs,
    load_offline,
    modules_of,
    whole,
)
from planner.model import Module as WeightModule


def drafter_bytes(model: ModelSpec, engine: ResolvedEngine, rank: Rank) -> int:
    """Bytes of the drafter on a rank; it runs on the last pipeline stage."""
    speculation = engine.speculation
    if speculation is None or not rank.is_last:
        return 0
    if speculation.drafting == "mtp" and speculation.model is None:
        return mtp_bytes(model, engine.dtype, engine.tensor_parallel_size)
    draft = draft_model(speculation)
    ranks = 1 if speculation.tensor_parallel_size == 1 else engine.tensor_parallel_size
    if speculation.drafting == "eagle":
        return eagle_bytes(model, draft, engine.dtype, ranks, takes_many=speculation.method != "eagle")
    if speculation.drafting in {"dflash", "dflash2"}:
        return dflash_bytes(model, draft, engine.dtype, ranks)
    if draft is None:
        return 0
    alone = Rank(0, 0, 0, draft.num_hidden_layers, True, True, samples=True)
    return rank_weight_bytes(draft, engine.dtype, ranks, 1, alone)


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


GUESSED_LAYERS, GUESSED_QUERIES, GUESSED_HEADS, GUESSED_WIDTH = 5, 32, 8, 128
"""Layers, heads, KV heads and their width of a block-diffusion drafter whose config.json is not at hand, as most
published ones have them. A guess, and named as one in the answer."""
EAGLE3_STATES = 3
"""Layers whose states EAGLE-3 takes where its config.json does not say (vllm@0.32 models/llama_eagle3.py)."""


@lru_cache(maxsize=64)
def eagle_bytes(model: ModelSpec, draft: ModelSpec | None, dtype: str, ranks: int, takes_many: bool) -> int:
    """Bytes of EAGLE's layers: a projection of the model's states, and layers of which EAGLE-3's first is wider.

    Without the drafter's config it is one dense layer of the model's, or a guessed one, and has its head.
    `takes_many`: EAGLE-3, which takes the states of several layers.
    """
    layers = list(draft.layers) if draft is not None else (dense_layers(model)[-1:] or [guessed_layer(model)])
    hidden = draft.hidden_size if draft is not None else model.hidden_size
    states = (draft and draft.num_draft_states) or EAGLE3_STATES if takes_many else 2
    modules = [whole("fc", hidden, states * model.hidden_size)]
    for number, layer in enumerate(layers):
        own = modules_of(layer, hidden)
        modules += [_wider(module, hidden) if takes_many and number == 0 else module for module in own]
    return _sum(modules, dtype, ranks) + _own_head(model, draft, dtype, ranks)


@lru_cache(maxsize=64)
def dflash_bytes(model: ModelSpec, draft: ModelSpec | None, dtype: str, ranks: int) -> int:
    """Bytes of a block-diffusion drafter's layers and of its projection of the model's states.

    Without the drafter's config they are as many dense layers as its KV cache is guessed to have, of the model's width.
    """
    layers = list(draft.layers) if draft is not None else [guessed_layer(model)] * GUESSED_LAYERS
    hidden = draft.hidden_size if draft is not None else model.hidden_size
    states = (draft and draft.num_draft_states) or len(layers)
    modules = [whole("fc", hidden, states * model.hidden_size)]
    modules += [module for layer in layers for module in modules_of(layer, hidden)]
    return _sum(modules, dtype, ranks) + _own_head(model, draft, dtype, ranks)


def guessed_layer(model: ModelSpec) -> Layer:
    """A layer of a drafter that is not at hand: Qwen3's shapes at the model's width, as published drafters have them.

    Its MLP is as wide as the model's, and at least three times the hidden size, as in Qwen3's dense models. A guess.
    """
    widths = [feed.intermediate_size for layer in model.layers.kinds for feed in layer.feed_forwards
              if isinstance(feed, Mlp)]  # fmt: skip
    width = max([3 * model.hidden_size, *widths])
    heads = Attention(
        num_heads=GUESSED_QUERIES, num_kv_heads=GUESSED_HEADS, head_dim=GUESSED_WIDTH, v_head_dim=GUESSED_WIDTH
    )
    return Layer(mixers=(heads,), feed_forwards=(Mlp(intermediate_size=width),))


def _sum(modules: Iterable[WeightModule], dtype: str, ranks: int) -> int:
    return sum(module_bytes(module, DTYPE_BYTES[dtype], ranks) for module in modules if not module.is_copy)


def _wider(module: WeightModule, hidden: int) -> WeightModule:
    """Queries, keys and values of EAGLE-3's first layer read the token's embedding beside the state."""
    reads = module.name.endswith("q_proj") and module.inputs == hidden
    return structs.replace(module, inputs=2 * hidden) if reads else module


def dense_layers(model: ModelSpec) -> list[Layer]:
    """Layers of full attention and nothing but a dense MLP."""
    return [layer for layer in model.layers.kinds
            if layer.feed_forwards and all(isinstance(feed, Mlp) for feed in layer.feed_forwards)
            and any(isinstance(mixer, Attention) and mixer.reach == "full" for mixer in layer.mixers)]  # fmt: skip


def _own_head(model: ModelSpec, draft: ModelSpec | None, dtype: str, ranks: int) -> int:
    """Bytes of a head of the drafter's own, which it has where it knows fewer tokens, and of their 64-bit numbers."""
    if draft is None or draft.draft_vocab_size in {0, model.vocab_size}:
        return 0
    tokens = draft.draft_vocab_size
    return module_bytes(by_outputs("lm_head", tokens, draft.hidden_size), DTYPE_BYTES[dtype], ranks) + 8 * tokens


def _attends(layer: Layer) -> bool:
    return any(isinstance(mixer, Attention | LatentAttention) for mixer in layer.mixers)

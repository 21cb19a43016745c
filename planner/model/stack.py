"""The stack of layers of a config.json: `read_layers(keys, family) -> LayerStack`.

In: `Keys` and the `Family`. Out: every layer. Which layers attend, slide or hold a state is said under a dozen names;
each is in `layer_kinds`. Source: transformers' configuration classes, vllm@0.32 model_executor/models/*.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

from msgspec import structs

from planner.errors import InputError
from planner.model.families import Family
from planner.model.feeds import experts_at, feed_forward_at, mlp_at
from planner.model.keys import Keys, whole
from planner.model.layers import FeedForward, Layer, LayerStack, Mixer
from planner.model.mixers import attention_at, expanded_attention, latent_attention, state_mixer

Kind = Literal["full", "sliding", "chunked", "state"]
WORDS: dict[str, Kind] = {
    "full_attention": "full", "attention": "full", "global": "full", "full": "full", "gqa": "full",
    "sliding_attention": "sliding", "local": "sliding", "sliding_window": "sliding", "swa": "sliding",
    "chunked_attention": "chunked",
    "linear_attention": "state", "mamba": "state", "mamba2": "state", "conv": "state", "kda": "state",
    "gated_delta_net": "state", "recurrent": "state", "deepseek_sparse_attention": "full", "indexed_attention": "full",
}  # fmt: skip
"""What config.json's words for kinds of layers mean (transformers configuration_utils.py:ALLOWED_LAYER_TYPES)."""
LISTS = ("layer_types", "layers_block_type")
NEMOTRON = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe", "linear_attention": "mamba",
            "full_attention": "attention"}  # fmt: skip
"""Letters of nemotron_h's hybrid_override_pattern (models/nemotron_h.py), and words of transformers for its layers."""


def read_layers(keys: Keys, family: Family) -> LayerStack:
    """Every layer. Raises InputError for a key that is missing or not understood."""
    if family.shape == "nemotron":
        return _nemotron(keys, family)
    if family.shape != "decoder":
        from planner.model.special_stacks import special_layers

        return special_layers(keys, family)
    count = keys.number("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    kinds = layer_kinds(keys, family, count)
    if not family.is_known and not keys.has("linear_num_key_heads"):  # a state of which nothing is known
        kinds = ["full" if kind == "state" else kind for kind in kinds]
    rope = keys.list_of("no_rope_layers", count)
    is_latent = keys.has("kv_lora_rank")
    state = state_mixer(keys, family) if "state" in kinds else None
    made: dict[tuple[object, ...], Layer] = {}

    def layer(index: int) -> Layer:
        """One layer; equal ones are read once where config.json has no lists of figures."""
        kind, has_rope = kinds[index], rope is None or bool(rope[index])
        feeds = feed_forward_at(keys, family, index, count)
        key = (kind, has_rope, feeds, index if lists else 0)
        if key not in made:
            made[key] = _layer(keys, family, index, kind, feeds, state, is_latent, has_rope)
        return made[key]

    lists = keys.has("num_attention_heads_per_layer", "indexer_types")
    return LayerStack.of(layer(index) for index in range(count))


def _layer(
    keys: Keys,
    family: Family,
    index: int,
    kind: Kind,
    feeds: tuple[FeedForward, ...],
    state: Mixer | None,
    is_latent: bool,
    has_rope: bool,
) -> Layer:
    mixers: tuple[Mixer, ...]
    if kind == "state":
        assert state is not None
        mixers = (state,)
    elif is_latent and family.expands_keys:
        mixers = (expanded_attention(keys, index),)
    elif is_latent:
        mixers = (latent_attention(keys, index),)
    else:
        mixers = (attention_at(keys, family, index, kind, has_rope),)
    if keys.value("model_type") == "falcon_h1":  # both side by side (models/falcon_h1.py)
        mixers = (*mixers, state_mixer(keys, family))
    if family.mlp_name == "shared_mlp" and keys.has("shared_intermediate_size") and _routes(feeds):
        feeds = (*feeds, mlp_at(Keys({**keys.config, "intermediate_size": keys.value("shared_intermediate_size")},
                                     keys.name), family, index))  # fmt: skip
    return Layer(mixers=mixers, feed_forwards=feeds, num_norms=family.num_norms, has_norm_bias=family.has_norm_bias)


def _routes(feeds: tuple[FeedForward, ...]) -> bool:
    return any(hasattr(feed, "num_experts") for feed in feeds)


def layer_kinds(keys: Keys, family: Family, count: int) -> list[Kind]:
    """The kind of each of `count` layers."""
    if counts := keys.value("layer_types_count"):  # shipped entries
        return _counted(keys, family, dict(counts), count)
    for key in LISTS:
        if (words := keys.list_of(key, count)) is not None:
            return [_kind(keys, family, str(word)) for word in words]
    if family.state != "none":
        attending = _attending(keys, count)
        if family.state == "mamba2" and keys.value("model_type") == "falcon_h1":
            return ["full"] * count
        return ["full" if index in attending else "state" for index in range(count)]
    if (pattern := keys.list_of("hybrid_layer_pattern", count)) is not None:  # MiMo-V2: 1 slides
        return ["sliding" if slides == 1 else "full" for slides in pattern]
    if keys.value("attention_chunk_size") is not None:  # Llama 4: layers without rope see everything
        rope = keys.list_of("no_rope_layers", count) or _every(keys, "no_rope_layer_interval", count)
        return ["chunked" if has_rope else "full" for has_rope in rope]
    return _windows(keys, family, count)


def _every(keys: Keys, key: str, count: int) -> list[bool]:
    """False for every n-th layer."""
    step = keys.number(key, default=4)
    return [(index + 1) % step != 0 for index in range(count)]


def _kind(keys: Keys, family: Family, word: str) -> Kind:
    """The kind that a word means; a word that is new says nothing of a family that is not known anyway."""
    if word not in WORDS and not family.is_known:
        return "full"
    if word not in WORDS:
        known = ", ".join(WORDS)
        raise InputError(f"{keys.name}: this architecture is not modelled: layer_types: {word!r}; known: {known}")
    slides = WORDS[word] == "sliding"
    return "full" if slides and not keys.has("sliding_window", "sliding_window_size") else WORDS[word]


def _counted(keys: Keys, family: Family, counts: Mapping[str, int], count: int) -> list[Kind]:
    """Kinds in order of a shipped entry's `layer_types_count`; which layers they are does not matter to sums."""
    kinds: list[Kind] = []
    for word, number in counts.items():
        where = f"{keys.name}: config.json: layers of {word}"
        kinds += [_kind(keys, family, word)] * whole(number, where, 0, count)
    return (kinds + ["full"] * count)[:count]


def _attending(keys: Keys, count: int) -> set[int]:
    """Layers of a hybrid that attend, by the keys of bamba, lfm2, kimi_linear, jamba and qwen3_next."""
    for key in ("attn_layer_indices", "full_attn_idxs"):
        if isinstance(listed := keys.value(key), list):
            return {whole(index, f"{keys.name}: config.json: {key}", 0) for index in listed}
    linear = keys.value("linear_attn_config")
    if isinstance(linear, Mapping) and isinstance(linear.get("full_attn_layers"), list):  # counted from 1
        return {whole(index, f"{keys.name}: config.json: full_attn_layers") - 1 for index in linear["full_attn_layers"]}
    if keys.value("attn_layer_period") is not None:
        period, offset = keys.number("attn_layer_period"), keys.number("attn_layer_offset", default=0, least=0)
        return {index for index in range(count) if index % period == offset}
    if keys.value("linear_num_value_heads", "full_attention_interval") is not None:
        step = keys.number("full_attention_interval", default=4)
        return {index for index in range(count) if (index + 1) % step == 0}
    return set(range(count))


def _windows(keys: Keys, family: Family, count: int) -> list[Kind]:
    """Sliding windows without a list of layers: all layers, or all but every n-th."""
    if not keys.has("sliding_window") or not keys.flag("use_sliding_window", default=True):
        return ["full"] * count
    step = keys.number("sliding_window_pattern", "_sliding_window_pattern", default=family.pattern, least=0)
    if step:
        return ["full" if (index + 1) % step == 0 else "sliding" for index in range(count)]
    return ["sliding"] * count


def _nemotron(keys: Keys, family: Family) -> LayerStack:
    """Nemotron-H: a layer is a mixer or a feed-forward, with one norm (models/nemotron_h.py)."""
    pattern = keys.value("hybrid_override_pattern")
    listed = next((value for key in LISTS if isinstance(value := keys.value(key), list)), pattern)
    count = keys.number("num_hidden_layers", default=len(listed) if isinstance(listed, str | list) else None)
    words = keys.list_of("layers_block_type", count) or keys.list_of("layer_types", count)
    if words is None and isinstance(pattern, str):
        words = [NEMOTRON.get(letter, letter) for letter in pattern]
    words = words and [NEMOTRON.get(str(word), str(word)) for word in words]
    if words is None:
        raise InputError(f"{keys.name}: config.json: neither hybrid_override_pattern nor layers_block_type is there")
    build = partial(Layer, num_norms=1)
    attention = partial(attention_at, keys, family, 0, "full", has_rope=False)
    made = {
        "mamba": lambda: build(mixers=(state_mixer(keys, family),), feed_forwards=()),
        "attention": lambda: build(mixers=(structs.replace(attention(), name="mixer"),), feed_forwards=()),
        "mlp": lambda: build(mixers=(), feed_forwards=(mlp_at(keys, family, 0),)),
        "moe": lambda: build(mixers=(), feed_forwards=(experts_at(keys, family, 0),)),
    }
    if unknown := [word for word in words if word not in made]:
        raise InputError(f"{keys.name}: config.json: layer {unknown[0]!r} is not modelled; known: {', '.join(made)}")
    kinds = {word: made[word]() for word in dict.fromkeys(words)}
    return LayerStack.of(kinds[word] for word in words)

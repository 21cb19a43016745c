"""Layers of classes that have keys of their own: Gemma 3n and 4, encoders like BERT, Whisper.

In: `Keys` and the `Family`. Out: a `LayerStack` (`special_layers`), and for `embedding_modules` the weights that stand
beside the layers. Source: vllm@0.32 models/gemma4.py, gemma3n.py, bert.py, roberta.py, modernbert.py, whisper.py, and
transformers' configuration classes of the same names.
"""

from __future__ import annotations

from msgspec.structs import replace

from planner.model.families import Family
from planner.model.feeds import experts_at, mlp_at, num_experts
from planner.model.keys import Keys
from planner.model.layer_modules import modules_of
from planner.model.layers import PER_LAYER_INPUTS, Attention, FeedForward, Layer, LayerStack, Mlp, Reach
from planner.model.mixers import attention_at, head_dim, state_mixer
from planner.model.modules import Module, Part, by_inputs, by_outputs, norm, plain, whole

GEMMA4_GLOBAL_HEAD_DIM = 512
"""Width of a head in Gemma 4's full layers without `global_head_dim` (transformers Gemma4TextConfig)."""
GEMMA_PATTERN = {"gemma4": 6, "gemma3n": 5}
"""One in so many layers has full attention without `layer_types` (Gemma4TextConfig, Gemma3nTextConfig)."""


def special_layers(keys: Keys, family: Family) -> LayerStack:
    """Every layer of a model whose `Family.shape` is not `decoder`."""
    match family.shape:
        case "gemma4" | "gemma3n":
            return _gemma(keys, family)
        case "bert":
            return _bert(keys)
        case "mamba":
            return _mamba(keys, family)
        case _:
            return _whisper(keys)


def embedding_modules(keys: Keys, family: Family, num_layers: int) -> tuple[Module, ...]:
    """Weights of the first pipeline stage besides the token embedding, in the order in which vLLM creates them."""
    if family.has_learned_positions:  # two of them for padding (models/opt.py)
        return (plain("embed_positions", keys.number("max_position_embeddings") + 2, keys.number("hidden_size")),)
    match family.shape:
        case "gemma4" | "gemma3n":
            return _per_layer_embedding(keys, family, num_layers)
        case "bert":
            hidden = keys.number("hidden_size")
            tables = [] if keys.value("model_type") == "modernbert" else [
                plain("position_embeddings", keys.number("max_position_embeddings", default=512), hidden),
                plain("token_type_embeddings", keys.number("type_vocab_size", default=2), hidden),
            ]  # fmt: skip
            return (*tables, *norm("LayerNorm", hidden, _has_norm_bias(keys)))
        case "whisper":
            return _whisper_encoder(keys)
        case _:
            return ()


def _gemma(keys: Keys, family: Family) -> LayerStack:
    count = keys.number("num_hidden_layers")
    step = GEMMA_PATTERN[family.shape]
    words = keys.list_of("layer_types", count)
    slides = [word == "sliding_attention" for word in words] if words else [bool((i + 1) % step) for i in range(count)]
    if family.shape == "gemma4":
        slides[-1] = False  # Gemma4TextConfig forces it
    shared = keys.number("num_kv_shared_layers", default=15 if family.shape == "gemma3n" else 0, least=0)
    first_shared = count - shared
    extra = _gemma_extra(keys, family)

    def layer(index: int) -> Layer:
        reach: Reach = "sliding" if slides[index] else "full"
        attention = _gemma_attention(keys, family, reach, is_shared=shared > 0 and index >= first_shared)
        mlp = mlp_at(keys, family, index)
        if keys.flag("use_double_wide_mlp") and 0 < first_shared <= index:
            mlp = replace(mlp, intermediate_size=2 * mlp.intermediate_size)
        feeds: tuple[FeedForward, ...] = (mlp,)
        if family.shape == "gemma4" and num_experts(keys):
            feeds = (mlp, replace(experts_at(keys, family, index), name="", router="router.proj"))
        return Layer(mixers=(attention,), feed_forwards=feeds, num_norms=7 if len(feeds) > 1 else 4, extra=extra)

    return LayerStack.of(layer(index) for index in range(count))


def _gemma_attention(keys: Keys, family: Family, reach: Reach, is_shared: bool) -> Attention:
    """Gemma 4's full layers have wider and fewer heads; the last layers read the KV cache of earlier ones."""
    attention = attention_at(keys, family, 0, reach)
    if family.shape == "gemma3n":  # vLLM keeps the shared layers' keys and values, which the checkpoint has
        return replace(attention, shares_kv=is_shared, keeps_keys=True)
    if reach == "full":
        width = keys.number("global_head_dim", default=GEMMA4_GLOBAL_HEAD_DIM)
        same = keys.flag("attention_k_eq_v")
        groups = keys.number("num_global_key_value_heads", default=attention.num_kv_heads)
        attention = replace(
            attention, head_dim=width, v_head_dim=width, rotary_dim=width, keys_are_values=same,
            num_kv_heads=groups if same else attention.num_kv_heads,
        )  # fmt: skip
    return replace(attention, shares_kv=is_shared)


def _gemma_extra(keys: Keys, family: Family) -> tuple[Module, ...]:
    """Per-layer input of both; AltUp and Laurel of Gemma 3n; the router's scales of Gemma 4."""
    hidden, width = keys.number("hidden_size"), _per_layer_width(keys)
    found: list[Module] = []
    if family.shape == "gemma4" and (count := num_experts(keys)):
        found += [plain("router.scale", hidden), plain("router.per_expert_scale", count)]
    if width:
        found += [whole("per_layer_input_gate", width, hidden), whole("per_layer_projection", hidden, width)]
        found += [plain("post_per_layer_input_norm", hidden)]
    if family.shape == "gemma3n":
        inputs, rank = keys.number("altup_num_inputs", default=4), keys.number("laurel_rank", default=64)
        found += [
            whole("altup.correction_coefs", inputs, inputs), whole("altup.prediction_coefs", inputs**2, inputs),
            whole("altup.modality_router", inputs, hidden), plain("altup.router_norm", hidden),
            plain("altup.correct_output_scale", hidden, itemsize=4), by_outputs("laurel.linear_left", rank, hidden),
            by_inputs("laurel.linear_right", hidden, rank), plain("laurel.post_laurel_norm", hidden),
        ]  # fmt: skip
    return tuple(found)


def _per_layer_width(keys: Keys) -> int:
    return keys.number("hidden_size_per_layer_input", default=0, least=0)


def _per_layer_embedding(keys: Keys, family: Family, num_layers: int) -> tuple[Module, ...]:
    """The embedding of every layer's own input, and what projects to it; AltUp's projections in Gemma 3n."""
    hidden, width = keys.number("hidden_size"), _per_layer_width(keys)
    if not width:
        return ()
    rows = keys.number("vocab_size_per_layer_input", "vocab_size")
    found = [
        Module((Part(PER_LAYER_INPUTS, rows),), width * num_layers, "outputs", is_quantizable=False),
        by_outputs("per_layer_model_projection", width * num_layers, hidden),
        plain("per_layer_projection_norm", width),
    ]
    if family.shape == "gemma3n":
        inputs = keys.number("altup_num_inputs", default=4)
        for name in ("altup_projections", "altup_unembed_projections"):
            found += [by_outputs(f"{name}.{number}", hidden, hidden) for number in range(inputs - 1)]
    return tuple(found)


def _has_norm_bias(keys: Keys) -> bool:
    return keys.value("model_type") != "modernbert" or keys.flag("norm_bias")


def _bert(keys: Keys) -> LayerStack:
    """Encoders: no KV cache, biases everywhere and a plain MLP; ModernBERT is gated, rotates, and has no biases."""
    modern, heads = keys.value("model_type") == "modernbert", keys.number("num_attention_heads")
    width = head_dim(keys)
    rotary = (width, 1.0) if modern else (0, 0.0)
    attention = Attention(
        num_heads=heads, num_kv_heads=heads, head_dim=width, v_head_dim=width, reach="encoder",
        has_bias=not modern or keys.flag("attention_bias"), has_output_bias=not modern or keys.flag("attention_bias"),
        rotary_dim=rotary[0], rope_theta=rotary[1], name="attn" if modern else "attention",
    )  # fmt: skip
    mlp = Mlp(
        intermediate_size=keys.number("intermediate_size"), is_gated=modern,
        has_bias=not modern or keys.flag("mlp_bias"), name="mlp" if modern else "output",
    )  # fmt: skip
    layer = Layer(mixers=(attention,), feed_forwards=(mlp,), has_norm_bias=_has_norm_bias(keys))
    if not modern:
        return LayerStack.of([layer] * keys.number("num_hidden_layers"))
    local = replace(layer, mixers=(replace(attention, rope_theta=2.0),))  # layers with a window have another base
    step = keys.number("global_attn_every_n_layers", default=3)
    return LayerStack.of(local if n % step else layer for n in range(keys.number("num_hidden_layers")))


def _mamba(keys: Keys, family: Family) -> LayerStack:
    """Mamba, Falcon-Mamba and Mamba-2: every layer is a state and one norm (models/mamba.py, mamba2.py)."""
    layer = Layer(mixers=(state_mixer(keys, family),), feed_forwards=(), num_norms=1)
    return LayerStack.of([layer] * keys.number("num_hidden_layers"))


def _whisper_attention(keys: Keys, side: str, reach: Reach) -> Attention:
    heads = keys.number(f"{side}_attention_heads")
    width = keys.number("d_model") // heads
    return Attention(
        num_heads=heads, num_kv_heads=heads, head_dim=width, v_head_dim=width, reach=reach, has_bias=True,
        has_output_bias=True, name="encoder_attn" if reach == "cross" else "self_attn",
    )  # fmt: skip


def _whisper(keys: Keys) -> LayerStack:
    """Whisper's decoder: attention to the text before, attention to the encoder's output, a plain MLP."""
    mixers = (_whisper_attention(keys, "decoder", "full"), _whisper_attention(keys, "decoder", "cross"))
    mlp = Mlp(intermediate_size=keys.number("decoder_ffn_dim"), is_gated=False, has_bias=True)
    layer = Layer(mixers=mixers, feed_forwards=(mlp,), num_norms=3, has_norm_bias=True)
    return LayerStack.of([layer] * keys.number("decoder_layers"))


def _whisper_encoder(keys: Keys) -> tuple[Module, ...]:
    """The audio encoder: two convolutions, positions, its layers and the norms after both stacks."""
    hidden, mels = keys.number("d_model"), keys.number("num_mel_bins")
    mlp = Mlp(intermediate_size=keys.number("encoder_ffn_dim"), is_gated=False, has_bias=True)
    layer = Layer(
        mixers=(_whisper_attention(keys, "encoder", "encoder"),), feed_forwards=(mlp,), has_norm_bias=True
    )  # fmt: skip
    convolutions = [whole(f"conv{n}", hidden, 3 * inputs, is_quantizable=False, has_bias=True)
                    for n, inputs in ((1, mels), (2, hidden))]  # fmt: skip
    positions = [plain("encoder.embed_positions", keys.number("max_source_positions"), hidden),
                 plain("decoder.embed_positions", keys.number("max_target_positions"), hidden)]  # fmt: skip
    layers = list(modules_of(layer, hidden)) * keys.number("encoder_layers")
    return (*convolutions, *positions, *layers, plain("layer_norms", 3 * hidden))

"""The modules of an audio tower and of what projects it to the language model: `audio_modules(config, family, width)`.

In: config.json's `audio_config`, the model_type that holds it, the language model's width. Out: `Module`s in the order
in which vLLM creates them; none for a family that is not known. Source: vllm@0.32 models/qwen2_audio.py,
audioflamingo3.py, qwen2_5_omni_thinker.py (all three run transformers' encoder, which every rank holds whole),
qwen3_omni_moe_thinker.py, qwen3_asr.py, glmasr.py; for Gemma 3n transformers models/gemma3n/modeling_gemma3n.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from planner.model.keys import Keys
from planner.model.modules import Module, by_inputs, by_outputs, norm, plain, whole

WHISPERS = ("qwen2_audio", "audioflamingo3", "qwen2_5_omni", "qwen2_5_omni_thinker")
"""Types whose tower is Whisper's encoder as transformers has it."""
CONVOLVED = ("qwen3_asr", "qwen3_asr_thinker", "qwen3_omni_moe", "qwen3_omni_moe_thinker")
"""Types whose tower begins with three convolutions in two dimensions."""
CHANNELS = 480
"""Channels of these convolutions without `downsample_hidden_size` (transformers Qwen3OmniMoeAudioEncoderConfig)."""
TOKEN_WIDTH = 3584
"""Width of the tower's output without `output_dim` (transformers Qwen2_5OmniAudioEncoderConfig)."""


def audio_modules(config: Mapping[str, Any], family: str, text_hidden_size: int) -> tuple[Module, ...]:
    """Modules of the tower; empty if its family is not known. Raises InputError for a figure that is missing."""
    keys = Keys(config, "audio_config")
    if family in WHISPERS:
        made = [*_whisper(keys), *_whisper_output(keys, family, text_hidden_size)]
        return tuple(replace(module, cut="whole") for module in made)
    if family in CONVOLVED:
        return tuple(_convolved(keys))
    if family == "glmasr":
        return tuple(_glmasr(keys, text_hidden_size))
    if family == "gemma4_unified":  # frames of samples go through one projection (models/gemma4_unified.py)
        frame = keys.number("audio_embed_dim", default=640)
        return (whole("embed_audio.embedding_projection", text_hidden_size, frame),)
    if family == "gemma3n":
        return tuple(_conformer(keys, text_hidden_size))
    return ()


def _width(keys: Keys) -> int:
    return keys.number("d_model", "hidden_size")


def _layers(keys: Keys) -> Iterator[Module]:
    """Attention and a plain MLP, both with biases, and two norms with biases a layer."""
    hidden, inner = _width(keys), keys.number("encoder_ffn_dim", "intermediate_size")
    for number in range(keys.number("encoder_layers", "num_hidden_layers")):
        at = f"audio_tower.layers.{number}"
        yield from (*norm(f"{at}.self_attn_layer_norm", hidden, True), *norm(f"{at}.final_layer_norm", hidden, True))
        yield by_outputs(f"{at}.self_attn.qkv", 3 * hidden, hidden, True)
        yield by_inputs(f"{at}.self_attn.out_proj", hidden, hidden, True)
        yield by_outputs(f"{at}.fc1", inner, hidden, True)
        yield by_inputs(f"{at}.fc2", hidden, inner, True)


def _convolutions(keys: Keys) -> Iterator[Module]:
    """Two convolutions of three steps over time."""
    hidden, mels = _width(keys), keys.number("num_mel_bins", default=128)
    for number, inputs in ((1, mels), (2, hidden)):
        yield whole(f"audio_tower.conv{number}", hidden, 3 * inputs, is_quantizable=False, has_bias=True)


def _whisper(keys: Keys) -> Iterator[Module]:
    yield from _convolutions(keys)
    yield from _layers(keys)
    yield from norm("audio_tower.layer_norm", _width(keys), True)


def _whisper_output(keys: Keys, family: str, width: int) -> Iterator[Module]:
    """What stands around the encoder: learned positions and a projector, or Qwen2.5-Omni's own projection."""
    hidden = _width(keys)
    if family.startswith("qwen2_5_omni"):
        outputs = keys.number("output_dim", default=TOKEN_WIDTH)
        yield plain("audio_tower.audio_bos_eos_token", 2, outputs)
        yield whole("audio_tower.proj", outputs, hidden, has_bias=True)
        return
    yield plain("audio_tower.embed_positions", keys.number("max_source_positions", default=1500), hidden)
    yield whole("multi_modal_projector.linear_1", width, hidden, has_bias=True)
    if family == "audioflamingo3":
        yield whole("multi_modal_projector.linear_2", width, width, has_bias=True)


def _convolved(keys: Keys) -> Iterator[Module]:
    """Three convolutions that halve time and frequency, the encoder, two projections that every rank holds whole."""
    hidden, channels = _width(keys), keys.number("downsample_hidden_size", default=CHANNELS)
    bins = keys.number("num_mel_bins", default=128)
    for number in range(3):
        bins = -(-bins // 2)
        inputs = 9 * (channels if number else 1)
        yield whole(f"audio_tower.conv2d{number + 1}", channels, inputs, is_quantizable=False, has_bias=True)
    yield whole("audio_tower.conv_out", hidden, channels * bins)
    yield from _layers(keys)
    yield from norm("audio_tower.ln_post", hidden, True)
    yield whole("audio_tower.proj1", hidden, hidden, has_bias=True)
    yield whole("audio_tower.proj2", keys.number("output_dim", default=TOKEN_WIDTH), hidden, has_bias=True)


def _glmasr(keys: Keys, width: int) -> Iterator[Module]:
    """GLM-ASR: rotated positions; the projector takes as many frames at once as make the encoder's MLP width."""
    yield from _convolutions(keys)
    yield from _layers(keys)
    yield from norm("audio_tower.norm", _width(keys), True)
    yield by_outputs("multi_modal_projector.linear_1", 2 * width, keys.number("intermediate_size"), True)
    yield by_inputs("multi_modal_projector.linear_2", width, 2 * width, True)


def _conformer(keys: Keys, width: int) -> Iterator[Module]:
    """Gemma 3n's audio encoder, which every rank holds whole, and what embeds its tokens."""
    hidden, kernel = keys.number("hidden_size"), keys.number("conf_conv_kernel_size", default=5)
    yield whole("audio_tower.subsample_conv_projection.conv_0", 128, 9, is_quantizable=False)
    yield whole("audio_tower.subsample_conv_projection.conv_1", 32, 9 * 128, is_quantizable=False)
    yield whole("audio_tower.subsample_conv_projection.input_proj_linear", hidden,
                32 * -(-keys.number("input_feat_size", default=128) // 4))  # fmt: skip
    for number in range(keys.number("conf_num_hidden_layers", default=12)):
        at = f"audio_tower.conformer.{number}"
        for side in ("ffw_layer_start", "ffw_layer_end"):
            yield whole(f"{at}.{side}.ffw_layer_1", 4 * hidden, hidden)
            yield whole(f"{at}.{side}.ffw_layer_2", hidden, 4 * hidden)
        for name in ("q_proj", "k_proj", "v_proj", "relative_position_embedding.pos_proj", "post"):
            yield whole(f"{at}.attention.{name}", hidden, hidden)
        yield whole(f"{at}.lconv1d.linear_start", 2 * hidden, hidden)
        yield whole(f"{at}.lconv1d.linear_end", hidden, hidden)
        yield plain(f"{at}.lconv1d.depthwise_conv1d", hidden, kernel)
        yield plain(f"{at}.norms", 9 * hidden)
    yield plain("embed_audio.embedding", keys.number("vocab_size", default=128), hidden)
    yield by_inputs("embed_audio.embedding_projection", width, hidden)

"""planner/model/audio_modules.py: what an audio tower weighs, and which of it every rank holds. See tests/oracle."""

from __future__ import annotations

from typing import Any

import pytest

from planner.errors import InputError
from planner.model.audio_modules import audio_modules
from planner.model.modules import Module

WHISPER = {"num_mel_bins": 128, "encoder_layers": 32, "encoder_ffn_dim": 5120, "d_model": 1280}
"""Whisper-large's encoder: 637 million parameters (arXiv:2212.04356, table 1, less the decoder)."""


def elements(modules: tuple[Module, ...], ranks: int = 1) -> int:
    total = 0
    for module in modules:
        rows, columns = module.shape(ranks)
        total += rows * columns + (rows if module.has_bias else 0)
    return total


def test_whispers_encoder_is_whole_on_every_rank() -> None:
    modules = audio_modules(WHISPER, "qwen2_audio", 4096)
    assert elements(modules) == pytest.approx(637e6 + 1280 * 4096, rel=0.005)
    assert elements(modules, 4) == elements(modules)


def test_other_encoders_are_divided() -> None:
    config: dict[str, Any] = {**WHISPER, "output_dim": 2048}
    modules = audio_modules(config, "qwen3_asr", 2048)
    assert elements(modules, 4) < 0.3 * elements(modules)


def test_an_unknown_family_has_no_modules_and_a_missing_figure_is_named() -> None:
    assert audio_modules(WHISPER, "voxtral", 4096) == ()
    with pytest.raises(InputError, match=r"audio_config: config\.json: d_model"):
        audio_modules({}, "qwen2_audio", 4096)

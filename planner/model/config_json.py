"""`ModelSpec`: a model's architecture, read from a Hugging Face directory, a bare config.json or a shipped name.

In: a path or name. Out: a frozen value with the names of config.json. Knows nothing of GPUs, sharding or vLLM.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from typing import Any

from planner.errors import InputError
from planner.model.families import FAMILIES, Family
from planner.model.keys import Keys, whole
from planner.model.modules import Module
from planner.model.spec import DTYPE_BYTES, ModelSpec, Quantization
from planner.model.stack import read_layers
from planner.model.vision import FAMILIES as TOWERS
from planner.model.vision import vision_tower

UNKNOWN_POSITIONS = 131072
"""Context length in tokens, assumed where config.json gives none."""
UNKNOWN = Family()
"""Figures of an ordinary decoder, for a model_type that is not known."""


def spec_from_config(config: Mapping[str, Any], name: str, checkpoint_bytes: int | None = None) -> ModelSpec:
    """A spec from the mapping of a config.json. Raises InputError for a key that is missing or not understood."""
    try:
        return _spec(config, name, checkpoint_bytes)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{name}: config.json: a value has the wrong form: {error}") from None


def _spec(config: Mapping[str, Any], name: str, checkpoint_bytes: int | None) -> ModelSpec:
    has_vision_tower = "vision_config" in config or bool(config.get("vision_tower") or config.get("audio_tower"))
    outer_type = str(config.get("model_type", ""))
    outer, config = config, {**config, **config.get("text_config", {})}
    model_type = str(config.get("model_type") or _type_of(config.get("architectures") or outer.get("architectures")))
    family_name = model_type.removesuffix("_text")
    keys, family = Keys({**config, "model_type": family_name}, name), FAMILIES.get(family_name, UNKNOWN)
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    positions = keys.number("max_position_embeddings", default=UNKNOWN_POSITIONS)
    if rope_type == "yarn":
        positions = whole(
            scaling.get("original_max_position_embeddings", positions), f"{name}: config.json: original positions"
        )
    stretches = rope_type in {"yarn", "linear", "dynamic"}
    layers = read_layers(keys, family)
    return ModelSpec(
        name=name,
        model_type=family_name,
        is_known=family_name in FAMILIES and config.get("max_position_embeddings") is not None,
        layers=layers,
        beside=_beside(keys, family, len(layers)),
        has_head=family.shape != "bert",
        hidden_size=keys.number("hidden_size", "d_model"),
        vocab_size=keys.number("vocab_size"),
        max_position_embeddings=positions,
        tie_word_embeddings=keys.flag("tie_word_embeddings", default=family.ties),
        torch_dtype=_torch_dtype(config.get("torch_dtype") or config.get("dtype") or outer.get("torch_dtype")),
        quantization=_quantization(config.get("quantization_config"), name),
        rope_factor=_factor(scaling.get("factor", 1.0), name) if stretches else 1.0,
        has_vision_tower=has_vision_tower,
        vision=vision_tower(config, outer_type if outer_type in TOWERS else family_name) if has_vision_tower else None,
        checkpoint_bytes=checkpoint_bytes,
    )


def _beside(keys: Keys, family: Family, num_layers: int) -> tuple[Module, ...]:
    if family.shape in {"decoder", "nemotron"} and not family.has_learned_positions:
        return ()
    from planner.model.special_stacks import embedding_modules

    return embedding_modules(keys, family, num_layers)


MOST_FACTOR = 1e4


def _factor(value: Any, name: str) -> float:
    if not isinstance(value, int | float) or not 0 < value <= MOST_FACTOR:
        raise InputError(
            f"{name}: config.json: rope_scaling.factor: {reprlib.repr(value)} is not from 0 to {MOST_FACTOR:g}"
        )
    return float(value)


def _torch_dtype(named: Any) -> str:
    """The dtype that weights are held in; bfloat16 for any name not in DTYPE_BYTES (fp8 checkpoints)."""
    text = str(named).removeprefix("torch.")
    return text if text in DTYPE_BYTES else "bfloat16"


def _type_of(architectures: Any) -> str:
    """`Qwen3MoeForCausalLM` -> `qwen3_moe`; empty if config.json names no architecture."""
    if not isinstance(architectures, list) or not architectures:
        return ""
    stem = re.sub(r"(For[A-Z]\w*|LMHeadModel|Model)$", "", str(architectures[0]))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()


def _quantization(config: Mapping[str, Any] | None, name: str) -> Quantization | None:
    """Read quantization_config; None without one. Raises InputError for a method that is not modelled."""
    if not config:
        return None
    method, where = config.get("quant_method"), f"{name}: config.json: quantization_config"
    if method in ("awq", "gptq"):
        bits = whole(config.get("bits", 4), f"{where}.bits", 1, MOST_BITS)
        return Quantization(method=method, bits=bits, group_size=_group(config.get("group_size", 128), where))
    if method == "fp8":
        block = config.get("weight_block_size")
        rows, columns = block or (1, 1)
        sizes = (whole(rows, f"{where}.weight_block_size"), whole(columns, f"{where}.weight_block_size"))
        return Quantization(method="fp8", bits=8, group_size=-1, block_size=sizes if block else None)
    if method == "bitsandbytes":
        return Quantization(method=method, bits=8 if config.get("load_in_8bit") else 4, group_size=64)
    if method == "mxfp4":
        return Quantization(method=method, bits=4, group_size=32)
    if method == "modelopt":
        return Quantization(method=method, bits=4, group_size=16)
    if method == "compressed-tensors":
        groups = config.get("config_groups") or {}
        weights = next((group.get("weights") for group in groups.values() if group.get("weights")), None) or {}
        bits = whole(weights.get("num_bits", 8), f"{where}: num_bits", 1, MOST_BITS)
        return Quantization(method=method, bits=bits, group_size=_group(weights.get("group_size") or -1, where))
    known = "awq, gptq, fp8, bitsandbytes, mxfp4, modelopt, compressed-tensors"
    raise InputError(f"{where}.quant_method: {reprlib.repr(method)}; known: {known}")


MOST_BITS = 32


def _group(value: Any, where: str) -> int:
    """Check a group size in weights; -1 means one scale per row."""
    return -1 if value == -1 else whole(value, f"{where}: group_size")

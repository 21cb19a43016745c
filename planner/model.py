"""`ModelSpec`: a model's architecture, read from a Hugging Face directory, a bare config.json or a shipped name.

In: a path or name. Out: a frozen value with the names of config.json. Knows nothing of GPUs, sharding or vLLM.
"""

from __future__ import annotations

import difflib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from planner.errors import InputError

DENSE_TYPES = {"llama", "mistral", "qwen2", "qwen3"}
"""config.json's model_type of the architectures whose layers this module knows."""

DTYPE_BYTES = {"float32": 4, "float16": 2, "half": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    method: str
    """quantization_config.quant_method, for example awq or gptq; never guessed from a repository's name."""
    bits: int = 4
    group_size: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    name: str
    model_type: str
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    tie_word_embeddings: bool
    torch_dtype: str
    quantization: Quantization | None
    qk_norm: bool
    """Whether queries and keys are normalised per head (Qwen3)."""
    qkv_bias: bool
    rope_factor: float
    """By how much rope scaling stretches the context (yarn, linear, dynamic); 1 without."""
    sliding_window: int | None
    checkpoint_bytes: int | None
    """Bytes of all tensors, from the safetensors headers; None where only config.json is known."""

    @property
    def max_context_tokens(self) -> int:
        """vLLM's derived limit of max_model_len (vllm@0.8.5 config.py:_get_and_verify_max_len)."""
        return int(self.max_position_embeddings * self.rope_factor)


def load_model(source: str, name: str | None = None) -> ModelSpec:
    """Read a model from a directory, a config.json or a shipped name.

    Raises InputError naming what is missing and which names ship with the program.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "config.json"
    if path.is_file():
        config = _read_json(path)
        return spec_from_config(config, name or path.parent.name, _checkpoint_bytes(path.parent))
    config = shipped_config(source)
    return spec_from_config(config, name or source, None)


def shipped_names() -> list[str]:
    return sorted(_shipped())


def shipped_config(name: str) -> Mapping[str, Any]:
    """The architecture shipped under a Hub name, with or without its organisation. Raises InputError."""
    table = _shipped()
    by_short = {full.rpartition("/")[2].lower(): full for full in table}
    full = name if name in table else by_short.get(name.rstrip("/").rpartition("/")[2].lower())
    if full is None:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.3)
        raise InputError(
            f"model {name!r}: no such directory, config.json or shipped name; "
            f"{'near names: ' + ', '.join(near) if near else 'planner models lists the names'}"
        )
    entry = dict(table[full])
    base = entry.pop("_base", None)
    return {**table[base], **entry} if base else entry


@cache
def _shipped() -> dict[str, dict[str, Any]]:
    text = resources.files("planner").joinpath("data/models.json").read_text("utf-8")
    table: dict[str, dict[str, Any]] = json.loads(text)
    return table


def spec_from_config(config: Mapping[str, Any], name: str, checkpoint_bytes: int | None = None) -> ModelSpec:
    """A spec from the mapping of a config.json. Raises InputError for a key that is missing or not understood."""
    config = config.get("text_config", config)
    model_type = config.get("model_type", "")
    if model_type not in DENSE_TYPES:
        raise InputError(
            f"{name}: config.json: model_type: {model_type or 'missing'} is not modelled; "
            f"known: {', '.join(sorted(DENSE_TYPES))}"
        )

    def number(key: str, default: int | None = None) -> int:
        value = config.get(key, default)
        if not isinstance(value, int) or value <= 0:
            raise InputError(f"{name}: config.json: {key}: {value!r} is not a positive whole number")
        return value

    heads = number("num_attention_heads")
    hidden = number("hidden_size")
    scaling = config.get("rope_scaling") or {}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    positions = number("max_position_embeddings")
    if rope_type == "yarn":
        positions = int(scaling.get("original_max_position_embeddings", positions))
    stretches = rope_type in {"yarn", "linear", "dynamic"}
    uses_window = config.get("use_sliding_window", model_type == "mistral")
    return ModelSpec(
        name=name,
        model_type=model_type,
        num_hidden_layers=number("num_hidden_layers"),
        hidden_size=hidden,
        intermediate_size=number("intermediate_size"),
        num_attention_heads=heads,
        num_key_value_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", hidden // heads),
        vocab_size=number("vocab_size"),
        max_position_embeddings=positions,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        torch_dtype=str(config.get("torch_dtype") or config.get("dtype") or "float16"),
        quantization=_quantization(config.get("quantization_config"), name),
        qk_norm=model_type == "qwen3",
        qkv_bias=model_type == "qwen2" or bool(config.get("attention_bias", False)),
        rope_factor=float(scaling.get("factor", 1.0)) if stretches else 1.0,
        sliding_window=config.get("sliding_window") if uses_window else None,
        checkpoint_bytes=checkpoint_bytes,
    )


def _quantization(config: Mapping[str, Any] | None, name: str) -> Quantization | None:
    if not config:
        return None
    method = config.get("quant_method")
    if method not in {"awq", "gptq"}:
        raise InputError(f"{name}: config.json: quantization_config.quant_method: {method!r}; known: awq, gptq")
    return Quantization(method=method, bits=int(config.get("bits", 4)), group_size=int(config.get("group_size", 128)))


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: is not a JSON object")
    return value


def _checkpoint_bytes(directory: Path) -> int | None:
    """Bytes of all tensors by the safetensors headers (8 bytes of length, then JSON); None without such files."""
    total = 0
    files = sorted(directory.glob("*.safetensors"))
    for path in files:
        try:
            with path.open("rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(length))
        except (OSError, struct.error, UnicodeDecodeError, json.JSONDecodeError, MemoryError) as error:
            raise InputError(f"{path}: is not a complete safetensors file: {error}") from None
        spans = (entry["data_offsets"] for key, entry in header.items() if key != "__metadata__")
        total += sum(end - start for start, end in spans)
    return total if files else None

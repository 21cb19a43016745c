"""A GGUF file's header: `read_gguf(path) -> (config, tensor_bytes)`, the architecture as a config.json has it.

Only the header is read, never tensors. It is foreign input: lengths and counts are checked before use.
Source: ggml docs/gguf.md (format, version 2 and 3), ggml-common.h (bytes of a block); names of keys as llama.cpp writes
them, which vLLM maps to the same classes (vllm@0.32 model_executor/model_loader/gguf_loader.py).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from planner.errors import InputError

BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 39: (32, 17),
}  # fmt: skip
"""Weights and bytes of a block, by the number of a type."""
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MOST_TENSORS, MOST_KEYS, MOST_ITEMS, MOST_TEXT_BYTES = 1 << 20, 1 << 16, 1 << 24, 1 << 24
ARCHITECTURES = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe",
    "gemma": "gemma", "gemma2": "gemma2", "gemma3": "gemma3_text", "phi3": "phi3", "starcoder2": "starcoder2",
    "glm4": "glm4", "olmo2": "olmo2", "granite": "granite", "command-r": "cohere", "cohere2": "cohere2",
    "mistral3": "mistral", "seed_oss": "seed_oss", "smollm3": "smollm3", "exaone4": "exaone4",
}  # fmt: skip
"""model_type by general.architecture; others are not known."""
KEYS = {
    "block_count": "num_hidden_layers", "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim", "context_length": "max_position_embeddings", "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok", "expert_feed_forward_length": "moe_intermediate_size",
    "attention.sliding_window": "sliding_window", "vocab_size": "vocab_size",
}  # fmt: skip
"""Keys of config.json by GGUF's, which stand below the architecture's name."""


def read_gguf(path: Path) -> tuple[dict[str, Any], int]:
    """The architecture in the words of config.json, and the bytes of all tensors. Raises InputError."""
    try:
        with path.open("rb") as stream:
            return _read(stream, str(path))
    except (OSError, ValueError, struct.error, MemoryError) as error:
        raise InputError(f"{path}: is not a complete GGUF file: {error}") from None


def _read(stream: BinaryIO, where: str) -> tuple[dict[str, Any], int]:
    if stream.read(4) != b"GGUF":
        raise InputError(f"{where}: is not a GGUF file")
    version, num_tensors, num_keys = _unpack(stream, "<IQQ")
    if version not in (2, 3) or num_tensors > MOST_TENSORS or num_keys > MOST_KEYS:
        raise InputError(f"{where}: its GGUF header is not understood: version {version}, {num_tensors} tensors")
    found: dict[str, Any] = {}
    for _ in range(num_keys):
        key = _text(stream)
        found[key] = _value(stream, _unpack(stream, "<I")[0])
    sizes: dict[str, int] = {}
    for _ in range(num_tensors):
        name, count = _text(stream), 1
        for width in _unpack(stream, f"<{_limited(_unpack(stream, '<I')[0], 8)}Q"):
            count *= width
        kind = _unpack(stream, "<IQ")[0]
        if kind not in BLOCKS:
            raise InputError(f"{where}: {name}: tensors of type {kind} are not known")
        weights, size = BLOCKS[kind]
        sizes[name] = count // weights * size
    return _config(found, sizes), sum(sizes.values())


def _config(found: dict[str, Any], sizes: dict[str, int]) -> dict[str, Any]:
    architecture = str(found.get("general.architecture", ""))
    config = {ours: found[key] for theirs, ours in KEYS.items() if (key := f"{architecture}.{theirs}") in found}
    config["model_type"] = ARCHITECTURES.get(architecture, architecture)
    config["tie_word_embeddings"] = "output.weight" not in sizes
    config["torch_dtype"] = "float16"
    config.setdefault("vocab_size", found.get("tokenizer.ggml.tokens"))
    return config


def _unpack(stream: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(layout, stream.read(struct.calcsize(layout)))


def _limited(count: int, most: int) -> int:
    if count > most:
        raise ValueError(f"{count} items where at most {most} can be")
    return count


def _text(stream: BinaryIO) -> str:
    length = _limited(_unpack(stream, "<Q")[0], MOST_TEXT_BYTES)
    return stream.read(length).decode("utf-8", "replace")


def _value(stream: BinaryIO, kind: int) -> Any:
    """A value; of an array only its length, as no array is needed."""
    if kind == STRING:
        return _text(stream)
    if kind != ARRAY:
        return _unpack(stream, f"<{_scalar(kind)}")[0]
    inner, count = _unpack(stream, "<IQ")
    _limited(count, MOST_ITEMS)
    if inner == STRING:
        for _ in range(count):
            _text(stream)
    else:
        stream.read(count * struct.calcsize(f"<{_scalar(inner)}"))
    return count


def _scalar(kind: int) -> str:
    if kind not in SCALARS:
        raise ValueError(f"values of type {kind} are not known")
    return SCALARS[kind]

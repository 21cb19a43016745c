"""Headers of GGUF files."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from planner.errors import InputError
from planner.estimate.memory.weights import weight_bytes
from planner.model.catalog import load_model

KEYS = {"general.architecture": "qwen3", "qwen3.block_count": 2, "qwen3.embedding_length": 512,
        "qwen3.feed_forward_length": 1024, "qwen3.attention.head_count": 8, "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 64, "qwen3.context_length": 4096}  # fmt: skip
TENSORS = {"token_embd.weight": (14, 512, 4096), "blk.0.ffn_up.weight": (12, 512, 1024), "norm": (0, 512)}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def file(path: Path, keys: dict[str, Any] = KEYS, tensors: dict[str, tuple[int, ...]] = TENSORS) -> str:
    """A GGUF file of version 3 with these keys, a vocabulary of 4096 tokens, and tensors by type and shape."""
    body = b"".join(
        text(key) + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<II", 4, value))
        for key, value in keys.items()
    )
    body += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 4096) + text("a") * 4096
    for name, (kind, *shape) in tensors.items():
        body += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        body += struct.pack("<IQ", kind, 0)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys) + 1) + body)
    return str(path)


def test_a_gguf_file_gives_architecture_and_bytes(tmp_path: Path) -> None:
    spec = load_model(file(tmp_path / "tiny-Q4_K_M.gguf"))
    assert (spec.name, spec.model_type, spec.is_modelled, spec.tie_word_embeddings) == (
        "tiny-Q4_K_M",
        "qwen3",
        True,
        True,
    )
    assert (spec.num_hidden_layers, spec.hidden_size, spec.vocab_size, spec.head_dim) == (2, 512, 4096, 64)
    q6, q4 = 512 * 4096 // 256 * 210, 512 * 1024 // 256 * 144
    assert spec.checkpoint_bytes == q6 + q4 + 512 * 4
    assert weight_bytes(spec, "float16", 2) == spec.checkpoint_bytes // 2


def test_an_architecture_that_is_not_known_is_not_modelled(tmp_path: Path) -> None:
    keys = {key.replace("qwen3", "warp"): value for key, value in KEYS.items()} | {"general.architecture": "warp"}
    assert not load_model(file(tmp_path / "m.gguf", keys)).is_modelled


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"GGUF", "is not a complete GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 9, 1, 1), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 60), "at most 16777216 can be"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("t") + struct.pack("<IQIQ", 1, 8, 99, 0),
            "type 99 are not known",
        ),
    ],
)
def test_a_file_that_is_not_understood_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.gguf: ") as caught:
        load_model(str(path))
    assert message in str(caught.value)

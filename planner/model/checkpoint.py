"""Headers of the weight files in a model directory: `read_safetensors_header`, `tensor_bytes`.

Only headers are read, never tensors. A header is foreign input: its length and offsets are checked before use.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.errors import InputError


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    tensors: frozenset[str]
    tensor_bytes: int
    file_bytes: int
    """Length of the whole file according to its header; a shorter file was cut off when it was copied."""


MOST_HEADER_BYTES = 100_000_000
"""Longest header that safetensors itself accepts (safetensors@0.5 src/tensor.rs: MAX_HEADER_SIZE)."""


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int] | None = None
    """First byte and end of the tensor's data; None for the entry `__metadata__`."""


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """Read the header of a safetensors file: 8 bytes of length, then JSON. Raises InputError.

    The tensors must follow each other without a gap, as the format requires.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > min(MOST_HEADER_BYTES, os.fstat(stream.fileno()).st_size):
                raise InputError(f"{path}: is not a complete safetensors file: its header would have {length} bytes")
            header = msgspec.json.decode(stream.read(length), type=dict[str, _Tensor])
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a complete safetensors file: {error}") from None
    end = 0
    for start, stop in sorted(header[key].data_offsets or (-1, -1) for key in header if key != "__metadata__"):
        if start != end or stop < start:
            raise InputError(f"{path}: its safetensors header is not understood: offsets {start} to {stop} after {end}")
        end = stop
    return SafetensorsHeader(frozenset(header.keys() - {"__metadata__"}), end, 8 + length + end)


def tensor_bytes(directory: Path) -> int | None:
    """Total bytes of all tensors, from the safetensors headers; None if the directory has no such files."""
    files = sorted(directory.glob("*.safetensors"))
    return sum(read_safetensors_header(path).tensor_bytes for path in files) if files else None

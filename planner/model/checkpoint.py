"""Headers of the weight files in a model directory: `read_safetensors_header`, `read_tensors`.

Only headers are read, never tensors. A header is foreign input: its length and offsets are checked before use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from planner.errors import InputError


class StoredTensor(msgspec.Struct, frozen=True):
    """One tensor of a checkpoint, as a safetensors header describes it."""

    dtype: str = ""
    """For example BF16, F32, U8 or F8_E4M3."""
    shape: tuple[int, ...] = ()
    data_offsets: tuple[int, int] | None = None
    """First byte and end of the tensor's data; None for the entry `__metadata__`."""

    @property
    def num_bytes(self) -> int:
        start, stop = self.data_offsets or (0, 0)
        return stop - start


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    tensors: Mapping[str, StoredTensor]
    tensor_bytes: int
    file_bytes: int
    """Length of the whole file according to its header; a shorter file was cut off when it was copied."""


MOST_HEADER_BYTES = 100_000_000
"""Longest header that safetensors itself accepts (safetensors@0.5 src/tensor.rs: MAX_HEADER_SIZE)."""


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
            header = msgspec.json.decode(stream.read(length), type=dict[str, StoredTensor])
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a complete safetensors file: {error}") from None
    header.pop("__metadata__", None)
    end = 0
    for start, stop in sorted(tensor.data_offsets or (-1, -1) for tensor in header.values()):
        if start != end or stop < start:
            raise InputError(f"{path}: its safetensors header is not understood: offsets {start} to {stop} after {end}")
        end = stop
    return SafetensorsHeader(header, end, 8 + length + end)


def read_tensors(directory: Path) -> tuple[Mapping[str, StoredTensor], int] | None:
    """All tensors by name and their total bytes, from the safetensors headers; None if there are no such files."""
    files = sorted(directory.glob("*.safetensors"))
    if len(files) > 1 and (directory / CONSOLIDATED).is_file():  # Mistral's own format of the same weights
        files = [path for path in files if not path.name.startswith("consolidated")] or files
    tensors: dict[str, StoredTensor] = {}
    total = 0
    for path in files:
        header = read_safetensors_header(path)
        tensors |= header.tensors
        total += header.tensor_bytes
    return (tensors, total) if files else None


CONSOLIDATED = "consolidated.safetensors"


class _IndexMetadata(msgspec.Struct, frozen=True):
    total_size: int | None = None


class _WeightsIndex(msgspec.Struct, frozen=True):
    metadata: _IndexMetadata = _IndexMetadata()


def index_bytes(directory: Path) -> int | None:
    """Bytes of all tensors by model.safetensors.index.json, where the files themselves are not there; None without."""
    for path in sorted(directory.glob("*.safetensors.index.json")):
        try:
            return msgspec.json.decode(path.read_bytes(), type=_WeightsIndex).metadata.total_size
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: is no index of weights: {error}") from None
    return None

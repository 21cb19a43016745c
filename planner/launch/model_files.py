"""The model's files, read once before the first launch, so that every launch finds them in the host's memory.

In: a `Problem`. Out: a line that says what was done. Knows nothing of backends. A model that is not on this machine, or
does not fit the memory, is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from planner.errors import InputError
from planner.study import MODEL, Problem
from planner.units import format_gib

CHUNK_BYTES = 16 << 20
SHARE_OF_AVAILABLE = 0.8
"""Largest total size of the files, as a fraction of the host's available memory; the rest is left for the engines."""


def warm_models(problem: Problem) -> str:
    """Read the files of every searched variant. Raises InputError if one cannot be read."""
    names = [str(name) for name in problem.choices.searched.get(MODEL, [problem.default.model])]
    variants = [problem.spec.models[name] for name in names]
    folders = [variant.folder for variant in variants if variant.is_directory]
    return warm(model_files(folders), psutil.virtual_memory().available)


def model_files(folders: Sequence[Path]) -> list[Path]:
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()) if path.is_file()]


def warm(files: Sequence[Path], available_bytes: float) -> str:
    """Read the files through once, if the memory holds them all."""
    total = sum(path.stat().st_size for path in files)
    if not files:
        return "model files  not on this machine: not read beforehand"
    if total > SHARE_OF_AVAILABLE * available_bytes:
        return f"model files  {format_gib(total)} do not stay in {format_gib(available_bytes)} of free host memory"
    for path in files:
        _read_through(path)
    return f"model files  {format_gib(total)} read once, so that launches find them in memory"


def _read_through(path: Path) -> None:
    buffer = bytearray(CHUNK_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None

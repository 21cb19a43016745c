"""Files that people and other programs wrote, read whole up to a bound: `read_bytes`, `read_text`, `parse_json`.

Whatever stands in a file's place (a directory, a pipe, /dev/zero, gigabytes, bytes that are no text, JSON of a million
brackets) ends in an InputError of one line, after bounded time and memory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from planner.errors import InputError
from planner.units import GIB, KIB, MIB

YAML_BYTES = 256 * KIB
"""The parser takes 10 s for a mebibyte; the longest file that ships has 6 KiB."""
JSON_BYTES = 64 * MIB
"""config.json, the index of a checkpoint (that of DeepSeek-V3 has 9 MB), recorded trials."""
LOG_BYTES = 256 * MIB
"""Of a log that is read whole; `planner log` reads any length."""
PROMPTS_BYTES = GIB
"""ShareGPT's file has 673 MB."""
LINE_BYTES = 16 * MIB
"""One line of JSON lines."""


def read_bytes(path: Path, most_bytes: int = JSON_BYTES) -> bytes:
    """A file's content, of a pipe up to its end. Raises InputError."""
    try:
        # A pipe that nobody writes to would block in open(); like this it is an empty file.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                os.set_blocking(descriptor, True)
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # a ValueError is a path with a NUL
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most_bytes:
        raise InputError(f"{path}: is larger than {most_bytes >> 10} KiB, more than such a file may have")
    return content


def read_text(path: Path, most_bytes: int = JSON_BYTES) -> str:
    """A file's text, which is UTF-8. Raises InputError."""
    try:
        return read_bytes(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None

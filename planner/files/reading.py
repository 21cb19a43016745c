"""Read files that people and other programs wrote, whole and up to a size limit: `read_bytes`, `read_text`.

Anything else in a file's place (a directory, a pipe, /dev/zero, gigabytes, bytes that are not text) ends in an
InputError of one line, after bounded time and memory.
"""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from planner.errors import InputError
from planner.units import GIB, KIB, MIB

YAML_BYTES = 256 * KIB
"""Largest YAML file read. The parser takes 10 s for a mebibyte; the longest shipped file has 6 KiB."""
JSON_BYTES = 64 * MIB
"""Largest JSON file read: config.json, a checkpoint's index (DeepSeek-V3's has 9 MB), recorded trials."""
LOG_BYTES = 256 * MIB
"""Largest log read into memory. `planner log` streams, and has no limit."""
PROMPTS_BYTES = GIB
"""Largest file of recorded prompts; ShareGPT's has 673 MB."""
LINE_BYTES = 16 * MIB
"""Longest line of a JSON Lines file."""


def read_bytes(path: Path, most_bytes: int = JSON_BYTES) -> bytes:
    """A file's content; a pipe is read to its end. Raises InputError if unreadable or larger than `most_bytes`."""
    try:
        with open_without_waiting(path) as file:
            content = file.read(most_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > most_bytes:
        raise InputError(f"{path}: is larger than {most_bytes >> 10} KiB, more than such a file may have")
    return content


def open_without_waiting(path: Path) -> BufferedReader:
    """The file, opened to read bytes; a pipe that nobody writes to is an empty file. Raises OSError, ValueError."""
    # open() would block on a pipe without a writer; with O_NONBLOCK it reads as an empty file.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, True)
        return open(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def read_text(path: Path, most_bytes: int = JSON_BYTES) -> str:
    """A file's text, decoded as UTF-8. Raises InputError as `read_bytes` does, or if it is not UTF-8."""
    try:
        return read_bytes(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None

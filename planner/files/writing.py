"""Our own small files: whole or as before, whatever ends the program or the machine; and what a full disk means."""

from __future__ import annotations

import errno
import glob
import os
import time
from contextlib import suppress
from pathlib import Path

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Errors that are the machine's, wherever they come up: a full or failing disk."""
STALE_S = 60.0
"""A write takes milliseconds; what is older was begun by a program that was killed."""


def write_whole(path: Path, data: str | bytes, mode: int | None = None) -> None:
    """Write a file beside it, to the disk, then rename it. Raises OSError; the old file is then as it was.

    What is no file, such as a pipe, is written to.
    """
    data = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    _remove_stale(path)
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            new.chmod(mode)
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # the rename is an entry of the folder
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_stale(path: Path) -> None:
    """What a program that was killed in the middle of writing this file left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        with suppress(OSError):  # somebody else has removed it
            if time.time() - left.stat().st_mtime > STALE_S:
                left.unlink()

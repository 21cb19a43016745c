"""Atomic writes of small files: after a crash the file holds either the old or the new content."""

from __future__ import annotations

import errno
import glob
import os
import time
from contextlib import suppress
from pathlib import Path

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Values of errno for a full, read-only or failing disk: the machine's fault, wherever they are raised."""
STALE_S = 60.0
"""Age in seconds from which a temporary file counts as left by a killed program; a write takes milliseconds."""


def write_whole(path: Path, data: str | bytes, mode: int | None = None) -> None:
    """Write a temporary file beside `path`, sync it to disk, then rename it. `mode`: its permission bits.

    Raises OSError, and then leaves the old file unchanged. A path that is not a file, such as a pipe, is written to
    directly.
    """
    data = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    new = _beside(path)
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
    folder = os.open(path.parent, os.O_RDONLY)  # the rename is stored in the folder, so sync it too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def try_writing(path: Path) -> None:
    """Raises OSError if `write_whole` could not write this path now; changes nothing."""
    if path.exists() and not path.is_file():
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return
    new = _beside(path.resolve())
    new.touch()
    new.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def _remove_stale(path: Path) -> None:
    """Remove temporary files left by a program that was killed while writing this file."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.new"):
        with suppress(OSError):  # somebody else has removed it
            if time.time() - left.stat().st_mtime > STALE_S:
                left.unlink()

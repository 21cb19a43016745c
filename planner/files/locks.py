"""Locks with one holder at a time, and the pid of the holder for whoever comes second."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import BackendError
from planner.files.writing import write_whole

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def holder(name: str) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(name)
        except OSError:
            return "unknown"
        raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return str(_CREDENTIALS.unpack(raw)[0])


@contextmanager
def held(path: Path, taken: str) -> Iterator[None]:
    """Hold a file lock that is released when its process dies.

    Raises BackendError if another process holds it: `taken` is the message, with its {pid} filled in.
    """
    import filelock  # its import takes 50 ms, and only a run needs it

    lock, owner = filelock.FileLock(path), path.with_suffix(".owner")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        pid = owner.read_text("utf-8").strip() if owner.exists() else "unknown"
        raise BackendError(taken.replace("{pid}", pid)) from None
    except OSError as error:
        raise BackendError(f"{path}: cannot be locked: {error.strerror}") from None
    try:
        write_whole(owner, f"{os.getpid()}\n")
        yield
    finally:
        lock.release()

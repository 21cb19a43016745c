"""Locks with one holder at a time, and the pid of the holder for whoever comes second."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import BackendError
from planner.files.writing import write_whole

_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

GLANCE_S = 0.1
"""Seconds that a taken lock is waited for: longer than `is_held` looks at it."""


def holder(name: str) -> str:
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(name)
        except OSError:
            return "unknown"
        raw = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return str(_CREDENTIALS.unpack(raw)[0])


def is_held(path: Path) -> bool:
    """Whether another process holds the lock that `held` takes. Nothing is created.

    Where nobody does, it is taken shared and given back at once, which `held` waits for.
    """
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is no such file, so nobody holds it
    return False


@contextmanager
def held(path: Path, taken: str) -> Iterator[None]:
    """Hold a file lock that is released when its process dies.

    Raises BackendError if another process holds it: `taken` is the message, with its {pid} filled in.
    """
    import filelock  # its import takes 50 ms, and only a run needs it

    lock, owner = filelock.FileLock(path), path.with_suffix(".owner")
    try:
        lock.acquire(timeout=GLANCE_S, poll_interval=GLANCE_S / 4)
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

"""Cores that a trial of a CPU engine has for itself while others run on the same machine: `on_own_cores(spec, held)`.

A core is held as a card is (`cards.py`): by a name in Linux's abstract socket namespace, free as soon as its holder is
dead. Only containers are bound to cores; the load generator goes where the kernel puts it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

CORES_FREE_WITHIN_S = 20.0
"""The process of the trial before ends a moment after its result is known."""
POLL_S = 0.2


def take_cores(cores: Sequence[int], count: int, taken: ExitStack) -> list[int]:
    """The first that are free, as many as there are of `count`."""
    found: list[int] = []
    for core in cores:
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0planner-core-{core}")
        except OSError:
            lock.close()
            continue
        taken.enter_context(lock)
        found.append(core)
        if len(found) == count:
            break
    return found


def parse_cpuset(text: str) -> set[int] | None:
    """`0-3,8` as numbers; None where it is no such list."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return None
        found |= set(range(int(first), int(last or first) + 1))
    return found or None

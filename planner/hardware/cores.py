"""Reserve CPU cores for one trial of a CPU engine while others run on the same machine: `take_cores`.

A core is locked as a card is (`cards.py`): by a name in Linux's abstract socket namespace, free as soon as its holder
is dead. Only containers are bound to cores; the kernel places the load generator.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

CORES_FREE_WITHIN_S = 20.0
"""How long to wait for cores: the previous trial's process ends shortly after its result is known."""
POLL_S = 0.2


def take_cores(cores: Sequence[int], count: int, taken: ExitStack) -> list[int]:
    """Lock up to `count` of the cores, the first that are free, and return them. `taken` releases them."""
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
    """The numbers in `0-3,8`; None if the text is not such a list."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            return None
        found |= set(range(int(first), int(last or first) + 1))
    return found or None

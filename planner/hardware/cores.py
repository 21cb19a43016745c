"""Cores that a trial of a CPU engine has for itself while others run on the same machine: `on_own_cores(spec, held)`.

A core is held as a card is (`cards.py`): by a name in Linux's abstract socket namespace, free as soon as its holder is
dead. Only containers are bound to cores; the load generator goes where the kernel puts it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

import msgspec

from planner.hardware.by_name import find_gpu
from planner.spec import StudySpec

CORES_FREE_WITHIN_S = 20.0
"""The process of the trial before ends a moment after its result is known."""
POLL_S = 0.2


def on_own_cores(spec: StudySpec, held: ExitStack) -> StudySpec:
    """The study in containers on `hardware.cpu_cores` cores that no other planner's trial has until `held` closes.

    As it is where it does not say how many, or where so many are not free: then trials share cores.
    """
    count, container = spec.hardware.cpu_cores, spec.container
    if count is None or container is None or not find_gpu(spec.hardware.gpu).is_cpu:
        return spec
    allowed = os.sched_getaffinity(0)
    if container.cpuset_cpus:
        allowed &= parse_cpuset(container.cpuset_cpus) or set()
    deadline = time.monotonic() + CORES_FREE_WITHIN_S
    while len(allowed) >= count:
        with ExitStack() as taken:
            cores = take_cores(sorted(allowed), count, taken)
            if len(cores) == count:
                held.enter_context(taken.pop_all())
                own = msgspec.structs.replace(container, cpuset_cpus=",".join(map(str, cores)))
                return msgspec.structs.replace(spec, container=own)
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    return spec


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

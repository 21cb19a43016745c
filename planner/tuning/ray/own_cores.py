"""Divide the CPU cores of one Ray host among the CPU engines that it runs at once."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

import msgspec

from planner.hardware import CORES_FREE_WITHIN_S, POLL_S, find_gpu, parse_cpuset, take_cores
from planner.study import StudySpec


def on_own_cores(spec: StudySpec, held: ExitStack) -> StudySpec:
    """The study with containers on `hardware.cpu_cores` cores that no other planner's trial gets until `held` closes.

    The study is unchanged if it gives no number of cores or too few are free; then trials share cores.
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

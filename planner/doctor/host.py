"""Checks of the host: memory, CPUs, /dev/shm, limits, disk, ports."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil

from planner.doctor.check import Case, Check
from planner.estimate import Deployment, memory_danger, shm_danger
from planner.hardware import parse_cpuset
from planner.units import GIB, format_gib

HOST_MEMORY_TOLERANCE = 0.05
SHM = Path("/dev/shm")  # noqa: S108  (its size is read, nothing is written there)
LEAST_DISK_BYTES = 1 * GIB
SAFE_DISK_BYTES = 10 * GIB
"""Free space for logs, compiled code, and what containers write."""
SPARE_FILES = 128
"""Number of open files that this process needs beyond one for each request in flight."""
ULIMITS = {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
           "rttime", "sigpending", "stack"}  # fmt: skip
"""Names of the limits that Docker knows (docker/go-units ulimit.go)."""


def memory(case: Case) -> Check:
    """Check total memory against the study's, and free memory against what a trial takes.

    That is pinned swap space, offloaded weights and the processes themselves.
    """
    name, now = "host memory", psutil.virtual_memory()
    total = case.docker.memory_bytes if case.docker else now.total
    finding = f"{format_gib(total)}, {format_gib(now.available)} available"
    fixes = []
    said = case.spec.hardware.host_memory if case.spec else None
    if said is not None and abs(said - total) > HOST_MEMORY_TOLERANCE * total:
        finding += f"; the study says {format_gib(said)}"
        fixes.append(case.places.change("hardware.host_memory", format_gib(total).replace(" ", "")))
    judged = case.here or case.forecast
    if judged is not None:
        here = replace(judged.problem.placement, host_memory_bytes=now.available)
        there = [replace(judged.deployment(candidate), placement=here) for candidate in case.candidates]
        if danger := _first(memory_danger, there):
            finding += f"; {danger}"
            swap, offload = map(case.places.setting, ("swap_space", "cpu_offload_gb"))
            fixes.append(f"stop other programs, or lower {swap} or {offload}")
    return Check(name, "warning" if fixes else "ok", finding, "; ".join(fixes))


def shm(case: Case) -> Check:
    """Check the /dev/shm that engines get: the host's, or the container's own."""
    name = str(SHM)
    container = case.spec.container if case.spec and case.backend == "docker" else None
    own = container.shm_bytes if container else None
    if own is None and not SHM.is_dir():
        return Check(name, "problem", "there is none", "mount -t tmpfs tmpfs /dev/shm")
    size = shutil.disk_usage(SHM).free if own is None else own
    whose = f"ipc {container.ipc}" if container else "the host's"
    finding = f"{format_gib(size)} free, {whose}"
    judged = case.here or case.forecast
    if judged is not None:
        here = replace(judged.problem.placement, shm_bytes=size)
        there = [replace(judged.deployment(candidate), placement=here) for candidate in case.candidates]
        if danger := _first(shm_danger, there):
            fix = "write container.shm_size, or ipc: host" if own is not None else "mount -o remount,size=8G /dev/shm"
            return Check(name, "problem" if own is not None else "warning", f"{finding}; {danger}", fix)
    return Check(name, "ok", finding)


def _first(danger_of: Callable[[Deployment], str | None], there: list[Deployment]) -> str | None:
    return next((danger for deployment in there if (danger := danger_of(deployment))), None)


def cpus(case: Case) -> Check:
    """Check that the study's cpuset exists, and that no engine process has to share a core."""
    name = "CPUs"
    count = case.docker.num_cpus if case.docker else len(os.sched_getaffinity(0))
    finding = f"{count} to use"
    container = case.spec.container if case.spec and case.backend == "docker" else None
    if container is not None and container.cpuset_cpus:
        asked = parse_cpuset(container.cpuset_cpus)
        fix = f"write container.cpuset_cpus: 0-{count - 1}, or leave it out"
        if asked is None:
            return Check(name, "problem", f"cpuset_cpus {container.cpuset_cpus!r} is no list as 0-3,8", fix)
        if max(asked) >= count:
            return Check(name, "problem", f"{finding}, cpuset_cpus asks for {container.cpuset_cpus}", fix)
        count = len(asked)
        finding += f", engines on {count} of them"
    processes = max((c.layout.instances * (c.layout.gpus_per_instance + 1) for c in case.candidates), default=0)
    if case.needs_gpus and count < processes:
        finding += f"; a trial has up to {processes} busy processes (a rank each card, a server each instance)"
        return Check(name, "warning", finding, "fewer instances, or a machine with more cores")
    return Check(name, "ok", finding)


def ulimits(case: Case) -> Check:
    """Check the containers' limits and this process's open files: it holds a socket for every request in flight."""
    name = "ulimits"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finding = f"open files {files}"
    needed = (case.problem.workload.concurrency if case.problem else 0) + SPARE_FILES
    if files != resource.RLIM_INFINITY and files < needed:
        return Check(name, "problem", f"{finding}, the workload needs {needed}", f"ulimit -n {needed}")
    container = case.spec.container if case.spec and case.backend == "docker" else None
    if container is None:
        return Check(name, "ok", finding)
    finding += "; containers: " + (
        ", ".join(f"{key} {value}" for key, value in container.ulimits.items()) or "none set"
    )
    if unknown := sorted(container.ulimits.keys() - ULIMITS):
        return Check(name, "problem", f"container.ulimits.{unknown[0]}: Docker knows no such limit", "correct its name")
    if case.docker is not None and case.docker.is_rootless and container.ulimits:
        fix = f"raise the hard limits of the Engine's own service, or {case.places.change('container.ulimits', {})}"
        return Check(name, "warning", f"{finding}; a rootless Engine cannot go above its own limits", fix)
    if case.needs_gpus and container.ulimits.get("memlock", 0) != -1:
        return Check(
            name, "warning", f"{finding}; pages are pinned for the cards", "write container.ulimits.memlock: -1"
        )
    return Check(name, "ok", finding)


def disk(case: Case) -> Check:
    """Check the free space where results, logs and containers go."""
    places = {"results": _existing(case.folder)}
    if case.docker is not None and case.docker.root_dir.is_dir():
        places["containers"] = case.docker.root_dir
    free = {f"{what} ({where})": shutil.disk_usage(where).free for what, where in places.items()}
    finding = ", ".join(f"{format_gib(size, 0)} free for {place}" for place, size in free.items())
    least = min(free.values())
    if least < SAFE_DISK_BYTES:
        fix = "make room: docker image prune, or old logs"
        return Check("disk", "problem" if least < LEAST_DISK_BYTES else "warning", finding, fix)
    return Check("disk", "ok", finding)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def ports(case: Case) -> Check | None:
    """Check the ports of the exported service; trials take whatever port is free."""
    if case.spec is None:
        return None
    instances = max((candidate.layout.instances for candidate in case.candidates), default=1)
    first = case.spec.serve.host_port
    wanted = range(first, first + instances)
    listening = {c.laddr.port: c.pid for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr}
    if taken := ", ".join(f"{port} by {_program(listening[port])}" for port in wanted if port in listening):
        finding = f"trials take free ones; run.sh wants {_range(wanted)}, taken: {taken}"
        another = case.places.change("serve.host_port", wanted[-1] + 1)
        return Check("ports", "warning", finding, f"stop it before run.sh, or {another}")
    return Check("ports", "ok", f"{_range(wanted)} free for run.sh; trials take free ones")


def _range(ports: range) -> str:
    return str(ports[0]) if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"


def _program(pid: int | None) -> str:
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})" if pid else "another user's program"
    except psutil.Error:
        return f"pid {pid}"

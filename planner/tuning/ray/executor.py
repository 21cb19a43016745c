"""Trials on the hosts of a Ray cluster, many at once: `ray_executor(...) -> RayExecutor`. Ray is used only here and in
`tasks.py`, which runs on the hosts.

Only the driver holds the study. A host gets a work, launches it on its own Docker Engine or as processes, loads it
from its own loopback address and returns the trial. A lost host costs only its running works, which begin again
elsewhere under their numbers. Ray carries Python objects between processes of one planner version.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from planner.errors import BackendError, InputError, in_short
from planner.hardware import CARDS_FREE_WITHIN_S
from planner.study import Problem, StudySpec
from planner.trials import Trial
from planner.tuning.evaluation import LAUNCHES_OF_A_TRIAL
from planner.tuning.executor import Work
from planner.tuning.quality_gate import Say
from planner.tuning.ray.tasks import NOTHING, Order, Result, judge, launch, look
from planner.tuning.search.store import StudyStore
from planner.units import format_duration

MOST_LOSSES = 3
"""Number of times that a work is lost with its host or process before the study stops."""
STOP_WITHIN_S = 60.0
"""Seconds in which an interrupted trial must stop its engine before its process is killed."""
LOOK_S = 1.0
LOOKED_WITHIN_S = 120.0
"""Seconds in which a host must describe itself before it counts as not answering."""
MOST_LOADS = 10
"""A trial's load may take this many times the longest load so far before its host is considered hung."""
KNOCK_S = 10.0


@dataclass(slots=True)
class Host:
    node_id: str
    name: str
    num_slots: int
    """Number of trials that the host runs at once."""
    num_running: int = 0
    fault: str | None = None
    """Why the host gets no more work; None if it still does."""


@dataclass(frozen=True, slots=True)
class _Task:
    work: Work
    host: Host
    began_s: float


class RayExecutor:
    def __init__(self, problem: Problem, order: Order, hosts: Sequence[Host], log_dir: Path, say: Say) -> None:
        """`say` is called with a line for each host that is left out."""
        self._problem, self._order, self._hosts, self._log_dir, self._say = problem, order, hosts, log_dir, say
        self._tasks: dict[Any, _Task] = {}
        self._waiting: list[Work] = []
        self._losses: dict[int, int] = {}
        self._round_hosts: dict[int, Host] = {}
        self._longest_s = 0.0
        """Longest load so far, in seconds."""
        self.images: Collection[str] = ()
        """Digests or ids of the hosts' images; a single one if they are all alike."""

    @property
    def places(self) -> Mapping[str, int]:
        return {host.name: host.num_slots for host in self._hosts if host.fault is None}

    def one_each(self) -> None:
        for host in self._hosts:
            host.num_slots = 1

    @property
    def has_room(self) -> bool:
        free = sum(max(0, host.num_slots - host.num_running) for host in self._hosts if host.fault is None)
        return free > len(self._waiting)

    @property
    def num_under_way(self) -> int:
        return len(self._tasks) + len(self._waiting)

    def begin(self, work: Work) -> None:
        self._waiting.append(work)
        self._send()

    def next(self) -> Trial:
        while True:
            self._send()
            if not self._tasks:
                raise BackendError(f"no host is left that can launch: {self._faults()}")
            done, _ = ray.wait(list(self._tasks), timeout=LOOK_S)
            for ref in done:
                task = self._tasks.pop(ref)
                task.host.num_running -= 1
                try:
                    result = ray.get(ref)
                except RayTaskError:
                    raise  # planner's own error, which a new launch would repeat
                except RayError as error:
                    is_host_lost = task.host not in _alive([task.host])
                    self._lose(task, "its node is gone" if is_host_lost else in_short(error), is_host_lost)
                    continue
                if result.trial is None:
                    self._retire(task.host, result.fault or "unknown fault")
                    self._waiting.insert(0, task.work)
                    continue
                self._keep_logs(result)
                self._longest_s = max(self._longest_s, result.trial.benchmark_s)
                return result.trial
            self._give_up_overdue()

    def judge(self, store: StudyStore, say: Say) -> None:
        """Run the quality gate on one host. Raises BackendError if that host cannot launch."""
        host = next((host for host in _alive(self._hosts) if host.fault is None), None)
        if host is None:
            raise BackendError(f"no host is left that can launch: {self._faults()}")
        place = NodeAffinitySchedulingStrategy(host.node_id, soft=False)
        task = judge.options(scheduling_strategy=place, **_needs(self._problem)).remote(
            self._order, store.trials(), store.verdicts()
        )
        try:
            verdicts, said, fault = ray.get(task)
        except RayError as error:
            raise BackendError(f"{host.name}: lost while answers were compared: {in_short(error)}") from None
        for line in said:
            say(line)
        store.keep_verdicts(verdicts)
        if fault is not None:
            raise BackendError(f"{host.name}: {fault}")

    def close(self) -> None:
        """Stop the running works on every host and remove what is left there; say where that is not possible.

        A lost host does not fail a study that has ended.
        """
        for ref in self._tasks:
            ray.cancel(ref)
        _, late = (
            ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=STOP_WITHIN_S)
            if self._tasks
            else ([], [])
        )
        for ref in late:
            ray.cancel(ref, force=True)
        self._tasks.clear()
        for host, found in _look_at(self._order, _alive(self._hosts)):
            if (fault := found.get("fault")) and host.fault is None:
                self._say(f"{host.name}: nothing could be removed there: {fault}")

    def _send(self) -> None:
        """Begin waiting works on hosts that have room."""
        for work in list(self._waiting):
            host = self._host_for(work)
            if host is None:
                continue
            self._waiting.remove(work)
            host.num_running += 1
            place = NodeAffinitySchedulingStrategy(host.node_id, soft=False)
            ref = launch.options(scheduling_strategy=place, **_needs(self._problem)).remote(
                self._order, work.on(self._problem, host.name), host.name
            )
            self._tasks[ref] = _Task(work, host, time.monotonic())

    def _host_for(self, work: Work) -> Host | None:
        """A host with a free slot. A round of the finals gets a host to itself, the same for all its launches."""
        usable = [host for host in self._hosts if host.fault is None]
        if work.rerun is None or not work.rerun.is_final:
            named = [host for host in usable if host.name == work.host]
            free = [h for h in named or usable if h.num_running < (1 if work.is_alone else h.num_slots)]
            return min(free, key=lambda host: host.num_running, default=None)
        mine = self._round_hosts.get(work.rerun.round)
        idle = [host for host in usable if host.num_running == 0]
        if mine is None or mine.fault is not None:
            taken = list(map(id, self._round_hosts.values()))
            mine = min(idle, key=lambda host: taken.count(id(host)), default=None)
            if mine is not None:
                self._round_hosts[work.rerun.round] = mine
        return mine if mine in idle else None

    def _give_up_overdue(self) -> None:
        """Give up works that exceed the time of all their launches: their host hangs, although Ray sees it alive."""
        if not self._longest_s:
            return
        launch_s = self._problem.spec.engine.start_timeout + CARDS_FREE_WITHIN_S + MOST_LOADS * self._longest_s
        for ref, task in list(self._tasks.items()):
            taken_s = time.monotonic() - task.began_s
            if taken_s > LAUNCHES_OF_A_TRIAL * launch_s:
                del self._tasks[ref]
                ray.cancel(ref, force=True)
                self._lose(task, f"no answer for {format_duration(taken_s)}", is_host_lost=True)

    def _lose(self, task: _Task, reason: str, is_host_lost: bool) -> None:
        """Begin a work again whose host, or whose process there, is gone. Raises BackendError after MOST_LOSSES."""
        number = task.work.number
        self._losses[number] = self._losses.get(number, 0) + 1
        if self._losses[number] >= MOST_LOSSES:
            raise BackendError(f"trial {number}: lost {MOST_LOSSES} times with its process: {reason}")
        if is_host_lost:
            self._retire(task.host, f"lost with trial {number}: {reason}")
        self._waiting.insert(0, task.work)

    def _retire(self, host: Host, fault: str) -> None:
        if host.fault is None:
            self._say(f"{host.name}: {fault}; the study goes on without it")
        host.fault = fault

    def _faults(self) -> str:
        return "; ".join(f"{host.name}: {host.fault}" for host in self._hosts if host.fault is not None)

    def _keep_logs(self, result: Result) -> None:
        self._log_dir.mkdir(parents=True, exist_ok=True)
        for name, text in result.logs.items():
            (self._log_dir / Path(name).name).write_bytes(text)


@contextmanager
def ray_executor(
    problem: Problem, backend: str, address: str, log_dir: Path, is_exclusive: bool, may_differ: bool, say: Say
) -> Iterator[RayExecutor]:
    """Executor on the checked hosts of a cluster. Raises BackendError without a cluster, InputError if hosts differ."""
    order = Order(_with_whole_paths(problem.spec), backend)
    try:
        _knock(address)
        # Ray's own debugger uses this switch. We report a lost node in one line; no public switch has an effect.
        ray._private.worker._worker_logs_enabled = False
        ray.init(address, namespace="planner", log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise BackendError(f"Ray: no cluster at {address}: {in_short(error)}") from None
    try:
        hosts = _hosts(problem, is_exclusive)
        found = _look_at(order, hosts)
        _compare(found, may_differ)
        executor = RayExecutor(problem, order, hosts, log_dir, say)
        executor.images = {facts["image"] for _, facts in found} - {NOTHING}
        try:
            yield executor
        finally:
            executor.close()
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Try the address first: Ray itself would retry a dead one for minutes. Raises OSError, ValueError."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError("write auto or HOST:PORT")
        socket.create_connection((host, int(port)), KNOCK_S).close()


def _needs(problem: Problem) -> dict[str, float]:
    """Resources that Ray is asked for per trial: cards, or cores for a CPU engine."""
    hardware = problem.spec.hardware
    if problem.gpu.is_cpu:
        return {"num_gpus": 0, "num_cpus": hardware.cpu_cores or 1}
    return {"num_gpus": hardware.num_gpus, "num_cpus": 0}


def _hosts(problem: Problem, is_exclusive: bool) -> list[Host]:
    """The hosts that have what a trial needs. Raises BackendError if there is none."""
    needs = _needs(problem)
    resource, amount = ("CPU", needs["num_cpus"]) if problem.gpu.is_cpu else ("GPU", needs["num_gpus"])
    hosts = []
    nodes = _nodes()
    for node in nodes:
        fitting = int(node["Resources"].get(resource, 0) // amount)
        if node["Alive"] and fitting:
            hosts.append(Host(node["NodeID"], _name(node, nodes), 1 if is_exclusive else fitting))
    if not hosts:
        raise BackendError(f"Ray: no host of the cluster has {amount:g} {resource} for a trial")
    return hosts


def _name(node: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """The host's own name, which a later run finds again; plus Ray's name if several nodes are on one host."""
    name = node["NodeManagerHostname"]
    is_alone = sum(other["NodeManagerHostname"] == name and other["Alive"] for other in nodes) == 1
    return str(name) if is_alone else f"{name} ({node['NodeID'][:6]})"


def _nodes() -> list[dict[str, Any]]:
    return ray.nodes()  # type: ignore[no-untyped-call]


def _alive(hosts: Sequence[Host]) -> list[Host]:
    alive = {node["NodeID"] for node in _nodes() if node["Alive"]}
    return [host for host in hosts if host.node_id in alive]


def _look_at(order: Order, hosts: Sequence[Host]) -> list[tuple[Host, dict[str, str]]]:
    """What each host says of itself. A host that is lost meanwhile gets a fault."""
    refs = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(host.node_id, soft=False)).remote(order)
        for host in hosts
    ]
    found = []
    for host, ref in zip(hosts, refs, strict=True):
        try:
            found.append((host, ray.get(ref, timeout=LOOKED_WITHIN_S)))
        except RayError as error:
            found.append((host, {"fault": in_short(error)}))
    return found


def _compare(found: Sequence[tuple[Host, Mapping[str, str]]], may_differ: bool) -> None:
    """Raise BackendError for a host that cannot launch, InputError for one that differs from the first."""
    for host, facts in found:
        if "fault" in facts:
            raise BackendError(f"{host.name}: {facts['fault']}")
    first, expected = found[0]
    for host, facts in found[1:]:
        for name, value in facts.items():
            is_one_version = name in {"planner", "models"}  # else trials would not be comparable
            if value != expected[name] and (is_one_version or not may_differ):
                rule = "must be alike" if is_one_version else "trials would not compare; --mixed allows it"
                raise InputError(f"{host.name}: {name}: {value}; {first.name}: {expected[name]}: {rule}")


def _with_whole_paths(spec: StudySpec) -> StudySpec:
    """The study with absolute paths, because a host has another working folder."""
    models = {
        name: msgspec.structs.replace(variant, path=str(Path(variant.path).expanduser().absolute()))
        if variant.is_directory
        else variant
        for name, variant in spec.models.items()
    }
    return msgspec.structs.replace(spec, models=models)

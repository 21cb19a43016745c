"""An exported script of either kind, running: containers by `docker run`, or processes by `vllm serve`.

In: a `Script` and its study. Out: a ready `Server`, and the memories that can be read of it. Nothing is left behind.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BackendError
from planner.launch import Ending, EngineInstance, ProcessInstance, Server, serving
from planner.service.verify.memory import Source, card_sources, process_source
from planner.service.verify.script import Script, started_containers
from planner.study import StudySpec


@dataclass(frozen=True, slots=True)
class _FurtherPort:
    """A further engine of a script whose process is the first one's."""

    process: ProcessInstance
    port: int

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_running(self) -> bool:
        return self.process.is_running()

    def log_text(self) -> str:
        return self.process.log_text()

    def ending(self) -> Ending:
        return self.process.ending()

    def stop(self) -> None:
        self.process.stop()


@contextmanager
def started_script(script: Script, spec: StudySpec, log_dir: Path) -> Iterator[tuple[Server, dict[str, Source]]]:
    """Run the script, wait until every engine is ready, and stop it whatever happens.

    Raises EngineError if one does not serve, BackendError otherwise.
    """
    hardware, passed = spec.hardware, spec.engine.pass_env
    cards = card_sources(range(hardware.num_gpus) if hardware.gpu_ids is None else hardware.gpu_ids)
    if script.ports:
        for port in script.ports:
            _refuse_taken(port)
        first = ProcessInstance(
            ["bash", str(script.path)], dict(os.environ), script.ports[0], log_dir / "verify.log", passed
        )
        engines: list[EngineInstance] = [first, *(_FurtherPort(first, port) for port in script.ports[1:])]
        with serving([lambda i: engines[i]] * len(engines), spec.engine.start_timeout, ()) as server:
            yield server, {**cards, "host memory": process_source(first.pid)}
        return
    logs = [log_dir / f"verify-{i}.log" for i in range(len(script.containers))]
    with started_containers(script) as containers:
        instances = [containers.instance(name, passed) for name in script.containers]
        with serving([lambda i: instances[i]] * len(instances), spec.engine.start_timeout, logs) as server:
            hosts = {
                f"host memory of {name}": one.memory for name, one in zip(script.containers, instances, strict=True)
            }
            yield server, {**cards, **hosts}


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BackendError(f"port {port} of the script is taken: something listens there; stop that one first")

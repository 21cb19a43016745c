"""Containers of the Docker Engine known by name: a guard's own, and those that a script started."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import docker.errors

from planner.errors import BackendError
from planner.files import is_secret, redact
from planner.launch.container import GUARD_LABEL, ContainerRun
from planner.launch.docker.door import mapped
from planner.launch.docker.instance import LOG_TAIL_LINES, STOP_TIMEOUT_S, ContainerInstance
from planner.launch.docker.surroundings import surroundings
from planner.study import DOCKER_SHM_BYTES

if TYPE_CHECKING:
    from docker.models.containers import Container


LOOK_TAIL_LINES = 2_000
"""Lines read from a log every few seconds; without a limit the Engine would go through all of it each time."""
_DEFAULT_RUNTIME = "runc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """What the Docker Engine reports about one container."""

    id: str
    is_running: bool
    started_at: str
    exit_code: int | None
    is_out_of_memory_kill: bool
    labels: dict[str, str]


class OwnContainer:
    """The container of this name that carries the guard's label; any other of that name is left alone."""

    def __init__(self, name: str, service: str, passed: Sequence[str] = ()) -> None:
        """`passed`: variables whose values are removed from its log."""
        self.name = name
        self._service = service
        self._passed = passed
        self._surroundings = surroundings()
        with mapped():
            self._client = docker.from_env(timeout=30)

    def close(self) -> None:
        self._client.close()

    def facts(self) -> ContainerFacts | None:
        """Facts about the container; None if there is none. Raises BackendError, also if the name is another's."""
        container = self._found()
        if container is None:
            return None
        state = container.attrs["State"]
        return ContainerFacts(
            id=str(container.id),
            is_running=bool(state["Running"]),
            started_at=state["StartedAt"],
            exit_code=None if state["Running"] else state["ExitCode"],
            is_out_of_memory_kill=bool(state.get("OOMKilled")),
            labels=dict(container.labels),
        )

    def launch(self, run: ContainerRun) -> None:
        """Start it in place of the one that is there. Raises BackendError; then there is none.

        Raises InputError where planner's own container lacks what an engine beside it needs.
        """
        if self._surroundings:
            self._surroundings.check(run.volumes)
        self.remove()
        with mapped():
            container = self._client.containers.create(**run.to_docker_kwargs())
            try:
                container.start()
            except docker.errors.APIError:
                container.remove(force=True, v=True)
                raise

    def remove(self) -> None:
        """Stop and remove it. Its anonymous volumes go with it, named ones stay."""
        container = self._found()
        if container is not None:
            with mapped():
                try:
                    container.stop(timeout=STOP_TIMEOUT_S)
                    container.remove(force=True, v=True)
                except docker.errors.NotFound:
                    pass  # gone already

    def log_text(self, since_s: float | None = None) -> str:
        """The end of its log, or what came after `since_s` (seconds of the wall clock)."""
        container = self._found()
        if container is None:
            return ""
        with mapped():
            raw: bytes = container.logs(tail=LOG_TAIL_LINES if since_s is None else LOOK_TAIL_LINES, since=since_s)
        return redact(raw.decode("utf-8", "replace"), self._passed)

    def _found(self) -> Container | None:
        with mapped():
            try:
                container = self._client.containers.get(self.name)
            except docker.errors.NotFound:
                return None
        if container.name != self.name:  # the name matched the beginning of another container's id
            return None
        if container.labels.get(GUARD_LABEL) != self._service:
            raise BackendError(
                f"container {self.name} has not the label {GUARD_LABEL}={self._service}: it is left alone; remove it "
                "or give the service another name"
            )
        return container


class NamedContainers:
    """Containers that something else starts, known by their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        with mapped():
            self._client = docker.from_env()

    def present(self) -> list[str]:
        """Names of the containers that exist, running or not."""
        return [name for name in self.names if self._find(name) is not None]

    def _find(self, name: str) -> Container | None:
        with mapped():
            try:
                return self._client.containers.get(name)
            except docker.errors.NotFound:
                return None

    def _get(self, name: str) -> Container:
        container = self._find(name)
        if container is None:
            raise BackendError(f"container {name} is not there")
        return container

    def instance(self, name: str, passed: Sequence[str] = ()) -> ContainerInstance:
        """The container of this name as an instance. Raises BackendError if there is none."""
        return ContainerInstance(self._get(name), self._client, passed=passed)

    def run_of(self, name: str, env_names: Collection[str] = (), passed: Sequence[str] = ()) -> ContainerRun:
        """The `docker run` that made a container, with the variables in `env_names` and those that its image does not
        set.

        Variables in `passed`, and secrets, appear by name only. Raises BackendError if there is no such container.
        """
        container = self._get(name)
        config, host = container.attrs["Config"], container.attrs["HostConfig"]
        with mapped():
            from_image = set(self._client.images.get(container.attrs["Image"]).attrs["Config"]["Env"] or ())
        words = [word.partition("=") for word in config["Env"] or ()]
        env = {key: value for key, _, value in words if key in env_names or f"{key}={value}" not in from_image}
        by_name = [key for key in env if key in passed or is_secret(key)]
        binds = [bind.split(":") for bind in host["Binds"] or ()]
        wanted = host.get("DeviceRequests") or []
        ids = [int(i) for request in wanted for i in request.get("DeviceIDs") or () if i.isdecimal()]
        runtime = host.get("Runtime")
        return ContainerRun(
            image=config["Image"],
            name=name,
            command=tuple(config["Cmd"] or ()),
            env={key: value for key, value in env.items() if key not in by_name},
            pass_env=by_name,
            volumes={bind[0]: bind[1] for bind in binds},
            read_only=[bind[1] for bind in binds if "ro" in bind[2:]],
            host_ip=None,
            host_port=None,
            container_port=0,
            runtime=None if runtime == _DEFAULT_RUNTIME and not wanted else runtime,
            gpu_ids=tuple(ids) or None,
            ulimits={limit["Name"]: limit["Soft"] for limit in host["Ulimits"] or ()},
            ipc=host["IpcMode"],
            shm_size_bytes=host["ShmSize"] if host["ShmSize"] != DOCKER_SHM_BYTES else None,
            cpuset_cpus=host["CpusetCpus"] or None,
            restart=None,
        )

    def remove(self) -> None:
        """Stop those that exist and leave nothing behind."""
        for name in self.names:
            if (container := self._find(name)) is not None:
                ContainerInstance(container, self._client).stop()

"""Engines in containers, through the Docker Engine's API. The only module with a client of docker.

Every error of the client becomes ours at one door, `_mapped`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import docker.errors
import requests.exceptions

from planner.backends.base import Server, serving
from planner.container import COMPILE_CACHE_MOUNT, STUDY_LABEL, ContainerRun, trial_runs
from planner.errors import BackendError
from planner.problem import Problem
from planner.space import Candidate
from planner.spec import DOCKER_SHM_BYTES

if TYPE_CHECKING:
    from docker.models.containers import Container

STOP_TIMEOUT_S = 10
LOG_TAIL_LINES = 20_000
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104
_DEFAULT_RUNTIME = "runc"


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn the client's exceptions into BackendError, in one line that says what to do."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise BackendError(f"image not on this machine: {_line(error)}; fetch it with docker pull") from None
    except docker.errors.DockerException as error:
        raise BackendError(f"Docker Engine: {_line(error)}") from None
    except requests.exceptions.RequestException as error:
        raise BackendError(f"Docker Engine does not answer: {_line(error)}") from None


def _line(error: Exception) -> str:
    text = getattr(error, "explanation", None) or str(error)
    return " ".join(str(text).split())


def engine_answers() -> bool:
    """Whether a Docker Engine answers here."""
    try:
        with _mapped():
            client = docker.from_env(timeout=5)
            try:
                client.ping()
            finally:
                client.close()
    except BackendError:
        return False
    return True


class ContainerInstance:
    def __init__(self, container: Container) -> None:
        self._container = container
        with _mapped():
            container.reload()
        published = container.attrs["NetworkSettings"]["Ports"].values()
        binding = next((bindings[0] for bindings in published if bindings), {"HostIp": "", "HostPort": "0"})
        host = binding["HostIp"] if binding["HostIp"] not in _EVERY_ADDRESS else "127.0.0.1"
        self.base_url = f"http://{host}:{binding['HostPort']}"

    def is_running(self) -> bool:
        with _mapped():
            try:
                self._container.reload()
            except docker.errors.NotFound:
                return False
            # One that Docker starts again and again has died all the same.
            return str(self._container.status) == "running" and not self._container.attrs.get("RestartCount")

    def log_text(self) -> str:
        with _mapped():
            try:
                raw: bytes = self._container.logs(tail=LOG_TAIL_LINES)
            except docker.errors.NotFound:
                return "the container was removed by somebody else"
        text = raw.decode("utf-8", "replace")
        state = self._container.attrs.get("State", {})
        if state.get("OOMKilled"):
            text += "\nplanner: the container was killed for using too much host memory (OOMKilled)\n"
        return text

    def exit_code(self) -> int | None:
        state = self._container.attrs.get("State", {})
        return None if state.get("Running") else state.get("ExitCode")

    def stop(self) -> None:
        with _mapped():
            try:
                self._container.stop(timeout=STOP_TIMEOUT_S)
                self._container.remove(force=True, v=True)
            except docker.errors.NotFound:
                pass  # gone already, which is what was asked for


class DockerBackend:
    name = "docker"

    def __init__(self, problem: Problem, log_dir: Path) -> None:
        self._problem = problem
        self._log_dir = log_dir
        with _mapped():
            self._client = docker.from_env()

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:
        return [run.argv() for run in trial_runs(self._problem, candidate, number)]

    def serve(self, candidate: Candidate, number: int) -> AbstractContextManager[Server]:
        runs = trial_runs(self._problem, candidate, number)
        logs = [self._log_dir / f"trial-{number}-{i}.log" for i in range(len(runs))]
        self._make_cache(runs[0])

        def start(index: int) -> ContainerInstance:
            with _mapped():
                container = self._client.containers.create(**runs[index].to_docker_kwargs())
                try:
                    container.start()
                except docker.errors.APIError:
                    container.remove(force=True)
                    raise
            return ContainerInstance(container)

        return serving([start] * len(runs), self._problem.spec.engine.start_timeout, logs)

    def _make_cache(self, run: ContainerRun) -> None:
        """The volume that keeps what engines compile, under the study's label; one that is there stays as it is."""
        for name, mount in run.volumes.items():
            if mount == COMPILE_CACHE_MOUNT:
                with _mapped():
                    self._client.volumes.create(name=name, labels={STUDY_LABEL: self._problem.spec.name})

    def clean_up(self) -> int:
        """Remove the containers that carry this study's label. The volume of compiled code stays."""
        with _mapped():
            left = self._client.containers.list(all=True, filters={"label": f"{STUDY_LABEL}={self._problem.spec.name}"})
            for container in left:
                container.remove(force=True, v=True)
        return len(left)


class NamedContainers:
    """Containers that something else starts, known by their names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        with _mapped():
            self._client = docker.from_env()

    def present(self) -> list[str]:
        """Those that are there, running or not."""
        return [name for name in self.names if self._find(name) is not None]

    def _find(self, name: str) -> Container | None:
        with _mapped():
            try:
                return self._client.containers.get(name)
            except docker.errors.NotFound:
                return None

    def _get(self, name: str) -> Container:
        container = self._find(name)
        if container is None:
            raise BackendError(f"container {name} is not there")
        return container

    def instance(self, name: str) -> ContainerInstance:
        """Raises BackendError when there is none."""
        return ContainerInstance(self._get(name))

    def run_of(self, name: str, env_names: Collection[str] = ()) -> ContainerRun:
        """The `docker run` that made it; of its environment these names and what its image does not say itself.

        Raises BackendError when there is none.
        """
        container = self._get(name)
        config, host = container.attrs["Config"], container.attrs["HostConfig"]
        with _mapped():
            from_image = set(self._client.images.get(container.attrs["Image"]).attrs["Config"]["Env"] or ())
        words = [word.partition("=") for word in config["Env"] or ()]
        env = {key: value for key, _, value in words if key in env_names or f"{key}={value}" not in from_image}
        binds = [bind.split(":") for bind in host["Binds"] or ()]
        wanted = host.get("DeviceRequests") or []
        ids = [int(i) for request in wanted for i in request.get("DeviceIDs") or () if i.isdecimal()]
        runtime = host.get("Runtime")
        return ContainerRun(
            image=config["Image"],
            name=name,
            command=tuple(config["Cmd"] or ()),
            env=env,
            volumes={bind[0]: bind[1] for bind in binds},
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
        """Stop those that are there and leave nothing behind."""
        for name in self.names:
            if (container := self._find(name)) is not None:
                ContainerInstance(container).stop()

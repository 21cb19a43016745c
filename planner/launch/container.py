"""How a candidate becomes a container: `ContainerRun`, as `docker run`, a compose file or arguments of Docker's API.

The same code makes trials, the exported script and a guarded service, so what was measured is what runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from packaging.version import Version

from planner.engine import EngineConfig, serve_args, serve_env
from planner.errors import InputError
from planner.files import matching

GUARD_LABEL = "planner.guard"
RUNG_LABEL = "planner.guard.rung"
LADDER_LABEL = "planner.guard.ladder"
COMPILE_CACHE_MOUNT = "/compile-cache"
RIGHTS: dict[str, Any] = {"security_opt": ["no-new-privileges:true"], "cap_drop": ["MKNOD", "NET_RAW"]}
"""Rights that every container gives up, in the words of docker-py and of compose.

No process gains rights through a setuid bit; vLLM and what it starts need none. Of Docker's default capabilities vLLM
needs neither MKNOD (the runtime makes the devices) nor NET_RAW, whose raw packets serve to spoof others on the bridge.
The rest stays: its root user reads model files of other owners (DAC_OVERRIDE), and custom images may change the user at
their start.
"""


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


CONTAINER_NAME = "letters A to Z, digits, _ . and -, a letter or digit first, at most 128 characters"


class ContainerRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One container of one instance. `command` is what follows the image. Also what a person may edit in a ladder."""

    image: str
    name: Annotated[str, matching(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)", CONTAINER_NAME)]
    """Name of the container, as Docker accepts it; a guard's files are named after it."""
    command: tuple[str, ...]
    env: dict[str, str] = {}
    pass_env: list[str] = []
    """Names of variables that come from the environment of whoever launches it. Their values are written nowhere."""
    volumes: dict[str, str] = {}
    """Host directory, or the name of a volume -> directory in the container."""
    read_only: list[str] = []
    """Directories in the container, from `volumes`, that it may not write."""
    host_ip: str | None = None
    """Address that the port is published on; None publishes on every address."""
    host_port: Port | None = None
    """Port on the host; None lets Docker choose a free port."""
    container_port: Port
    runtime: str | None = None
    gpu_ids: tuple[int, ...] | None = None
    """Cards that the container sees. None: all cards with a runtime, no card without one."""
    ulimits: dict[str, int] = {}
    ipc: str = "host"
    shm_size_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Limit on host memory; the kernel kills a container that exceeds it."""
    cpuset_cpus: str | None = None
    restart: str | None = None
    labels: dict[str, str] = {}

    def argv(self) -> list[str]:
        """`docker run ...` as an argument list."""
        return ["docker", "run", *(word for option in self.options() for word in option), self.image, *self.command]

    def options(self) -> list[list[str]]:
        """The options of `docker run`, each with its value."""
        options = [["-d"]]
        if self.runtime:
            gpus = "all" if self.gpu_ids is None else f'"device={",".join(map(str, self.gpu_ids))}"'
            options += [[f"--runtime={self.runtime}"], [f"--gpus={gpus}"]]
        options.append(["--name", self.name])
        options += [[f"--{name.replace('_', '-')}={word}"] for name, words in RIGHTS.items() for word in words]
        options += [["-v", f"{host}:{to}{':ro' * (to in self.read_only)}"] for host, to in self.volumes.items()]
        options.append(["-p", f"{self._published()}{self.container_port}"])
        if self.cpuset_cpus:
            options.append(["--cpuset-cpus", self.cpuset_cpus])
        options += [["--ulimit", f"{name}={limit}"] for name, limit in self.ulimits.items()]
        if self.restart:
            options.append(["--restart", self.restart])
        options.append([f"--ipc={self.ipc}"])
        if self.shm_size_bytes:
            options.append([f"--shm-size={self.shm_size_bytes}"])
        if self.memory_limit_bytes:
            options.append([f"--memory={self.memory_limit_bytes}"])
        options += [["-e", f"{name}={value}"] for name, value in self.env.items()]
        options += [["-e", name] for name in self.pass_env]
        options += [["--label", f"{name}={value}"] for name, value in self.labels.items()]
        return options

    def _published(self) -> str:
        port = "" if self.host_port is None else str(self.host_port)
        return f"{self.host_ip}:{port}:" if self.host_ip else f"{port}:"

    def to_docker_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of docker-py's `containers.create`. Raises InputError: a passed variable is not set."""
        from docker.types import Ulimit

        kwargs: dict[str, Any] = {
            "image": self.image,
            "command": list(self.command),
            "name": self.name,
            "environment": {**self.env, **passed_env(self.pass_env)},
            "volumes": {
                host: {"bind": to, "mode": "ro" if to in self.read_only else "rw"} for host, to in self.volumes.items()
            },
            "ports": {f"{self.container_port}/tcp": (self.host_ip or "0.0.0.0", self.host_port)},  # noqa: S104  (Docker's word for every address)
            "ulimits": [Ulimit(name=name, soft=limit, hard=limit) for name, limit in self.ulimits.items()],
            "ipc_mode": self.ipc,
            "labels": self.labels,
            **RIGHTS,
        }
        if self.shm_size_bytes:
            kwargs["shm_size"] = self.shm_size_bytes
        if self.memory_limit_bytes:
            kwargs["mem_limit"] = self.memory_limit_bytes
        if self.cpuset_cpus:
            kwargs["cpuset_cpus"] = self.cpuset_cpus
        if self.restart:
            kwargs["restart_policy"] = {"Name": self.restart}
        return {**kwargs, **card_kwargs(self.runtime, self.gpu_ids)}

    def to_compose(self) -> dict[str, Any]:
        """The same container as a service of a compose file. `$` is doubled, or compose would read a variable name."""
        service: dict[str, Any] = {
            "image": self.image,
            "container_name": self.name,
            "command": list(self.command),
            "environment": self.env,
            "volumes": [
                {"type": _mount_type(host), "source": host, "target": to}
                | ({"read_only": True} if to in self.read_only else {})
                for host, to in self.volumes.items()
            ],
            "ports": [f"{self._published()}{self.container_port}"],
            "ulimits": self.ulimits,
            **RIGHTS,
            "ipc": self.ipc,
            "shm_size": self.shm_size_bytes,
            "mem_limit": self.memory_limit_bytes,
            "cpuset": self.cpuset_cpus,
            "restart": self.restart,
            "runtime": self.runtime,
            "labels": self.labels,
        }
        if self.runtime:
            which: dict[str, Any] = (
                {"count": "all"} if self.gpu_ids is None else {"device_ids": [*map(str, self.gpu_ids)]}
            )
            devices = [{"driver": "nvidia", "capabilities": ["gpu"], **which}]
            service["deploy"] = {"resources": {"reservations": {"devices": devices}}}
        filled: dict[str, Any] = without_variables({k: v for k, v in service.items() if v not in (None, {}, [])})
        if self.pass_env:
            passed = {name: f"${{{name}:?is not set}}" for name in self.pass_env}
            filled["environment"] = {**filled.get("environment", {}), **passed}
        return filled

    def with_engine(
        self, engine: EngineConfig, env: Mapping[str, str], version: Version, extra_args: Sequence[str]
    ) -> ContainerRun:
        """The same container with an engine's settings: its flags, then `extra_args`, and its environment."""
        return msgspec.structs.replace(
            self,
            command=(*self.command, *serve_args(engine, version), *extra_args),
            env={**self.env, **env, **serve_env(engine, version)},
        )


def card_kwargs(runtime: str | None, gpu_ids: tuple[int, ...] | None) -> dict[str, Any]:
    """Arguments of docker-py that select cards: these, or all for None; empty without a runtime."""
    from docker.types import DeviceRequest

    if runtime is None:
        return {}
    which: dict[str, Any] = {"count": -1} if gpu_ids is None else {"device_ids": [str(i) for i in gpu_ids]}
    return {"runtime": runtime, "device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}


def _mount_type(source: str) -> str:
    return "bind" if source.startswith("/") else "volume"


def without_variables(value: Any) -> Any:
    """The value with every `$` doubled, as compose and Kubernetes write a literal one."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: without_variables(part) for key, part in value.items()}
    return [without_variables(part) for part in value] if isinstance(value, list) else value


def passed_env(names: Sequence[str]) -> dict[str, str]:
    """Values of these variables of this process. Raises InputError, which names the first that is not set."""
    if missing := [name for name in names if not os.environ.get(name)]:
        raise InputError(f"engine.pass_env: {missing[0]} is not set here; export it, or leave it out of the study")
    return {name: os.environ[name] for name in names}

"""How a candidate becomes a container: `ContainerRun`, as `docker run`, a compose file or arguments of Docker's API.

Trials, the exported script and a guarded service are made here, by the same code: what was measured is what runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from packaging.version import Version

from planner.engine.config import EngineConfig
from planner.engine.flags import compile_cache_env, serve_args, serve_env
from planner.errors import InputError
from planner.launcher import LAUNCHER
from planner.study.candidate import Candidate
from planner.study.problem import Problem
from planner.study.spec import ContainerSpec

STUDY_LABEL = "planner.study"
TRIAL_LABEL = "planner.trial"
LAUNCHER_LABEL = "planner.launcher"
GUARD_LABEL = "planner.guard"
RUNG_LABEL = "planner.guard.rung"
LADDER_LABEL = "planner.guard.ladder"
COMPILE_CACHE_MOUNT = "/compile-cache"
RIGHTS: dict[str, Any] = {"security_opt": ["no-new-privileges:true"], "cap_drop": ["MKNOD", "NET_RAW"]}
"""What every container goes without, in the words of docker-py and of compose.

Nothing gains rights by a setuid bit: vLLM and what it starts need none. Of Docker's default capabilities it makes no
devices (the runtime does) and no raw packets, which are for spoofing others on the bridge. The rest stays: its root
reads model files of other owners (DAC_OVERRIDE), and images of one's own may change the user at their start.
"""


class ContainerRun(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One container of one instance. `command` is what follows the image. Also what a person may edit in a ladder."""

    image: str
    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$(?!\n)")]
    """As Docker takes it; a guard's files are named after it."""
    command: tuple[str, ...]
    env: dict[str, str] = {}
    pass_env: list[str] = []
    """Variables that come from the environment of whoever launches it: their values are written nowhere."""
    volumes: dict[str, str] = {}
    """Host directory, or a volume's name -> directory in the container."""
    read_only: list[str] = []
    """Of these directories in the container those it may not write."""
    host_ip: str | None = None
    """None publishes on every address."""
    host_port: int | None = None
    """None lets Docker choose a free port."""
    container_port: int
    runtime: str | None = None
    gpu_ids: tuple[int, ...] | None = None
    """None: all cards (with a runtime) or no card (without)."""
    ulimits: dict[str, int] = {}
    ipc: str = "host"
    shm_size_bytes: int | None = None
    memory_limit_bytes: int | None = None
    """Host memory; the kernel kills what takes more."""
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
        """The same as a service of a compose file; `$` is doubled, or compose would read a variable's name."""
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
        """The same container with an engine's settings: its flags, then further ones, and its environment."""
        return msgspec.structs.replace(
            self,
            command=(*self.command, *serve_args(engine, version), *extra_args),
            env={**self.env, **env, **serve_env(engine, version)},
        )


def card_kwargs(runtime: str | None, gpu_ids: tuple[int, ...] | None) -> dict[str, Any]:
    """What docker-py is told about cards: these, or all; nothing without a runtime."""
    from docker.types import DeviceRequest

    if runtime is None:
        return {}
    which: dict[str, Any] = {"count": -1} if gpu_ids is None else {"device_ids": [str(i) for i in gpu_ids]}
    return {"runtime": runtime, "device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}


def _mount_type(source: str) -> str:
    return "bind" if source.startswith("/") else "volume"


def without_variables(value: Any) -> Any:
    """Every `$` doubled, as compose and Kubernetes write one that begins no variable's name."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: without_variables(part) for key, part in value.items()}
    return [without_variables(part) for part in value] if isinstance(value, list) else value


def passed_env(names: Sequence[str]) -> dict[str, str]:
    """These variables of this process. Raises InputError, which names the first that is not set."""
    if missing := [name for name in names if not os.environ.get(name)]:
        raise InputError(f"engine.pass_env: {missing[0]} is not set here; export it, or leave it out of the study")
    return {name: os.environ[name] for name in names}


def trial_runs(problem: Problem, candidate: Candidate, number: int) -> list[ContainerRun]:
    """The containers of a trial: loopback ports that Docker chooses, labels by which they are found again."""
    labels = {STUDY_LABEL: problem.spec.name, TRIAL_LABEL: str(number), LAUNCHER_LABEL: LAUNCHER.id}
    name = f"planner-{problem.spec.name}-{number}"
    bare = [
        _bare_run(problem, candidate, i, f"{name}-{i}", "127.0.0.1", None, labels)
        for i in range(candidate.layout.instances)
    ]
    engine, env, extra_args = candidate.engine, dict(candidate.env), problem.spec.engine.extra_args
    return [run.with_engine(engine, env, problem.version, extra_args) for run in bare]


def service_runs(problem: Problem, candidate: Candidate) -> list[ContainerRun]:
    """The containers of the exported service: the study's name and port, one port more for each further instance."""
    restart, extra_args = problem.spec.serve.restart, problem.spec.engine.extra_args
    return [
        msgspec.structs.replace(
            run.with_engine(candidate.engine, dict(candidate.env), problem.version, extra_args), restart=restart
        )
        for run in bare_runs(problem, candidate)
    ]


def bare_runs(problem: Problem, candidate: Candidate) -> list[ContainerRun]:
    """The same containers without the engine's settings and without a restart policy."""
    serve = problem.spec.serve
    names = [serve.name, *(f"{serve.name}-{i}" for i in range(1, candidate.layout.instances))]
    return [_bare_run(problem, candidate, i, name, None, serve.host_port + i, {}) for i, name in enumerate(names)]


def cache_volume(problem: Problem) -> str:
    """Of the trials and of the exported service: with what they compiled it starts as they did, memory included."""
    return f"planner-{problem.spec.name}-compile-cache"


def _bare_run(
    problem: Problem,
    candidate: Candidate,
    instance: int,
    name: str,
    host_ip: str | None,
    host_port: int | None,
    labels: dict[str, str],
) -> ContainerRun:
    container = container_spec(problem)
    variant = problem.spec.models[candidate.model]
    model, volumes, read_only = variant.path, {}, []
    if variant.is_directory:
        model = f"{container.model_mount.rstrip('/')}/{variant.basename}"
        volumes, read_only = {str(variant.folder.absolute()): model}, [model]
        if any(":" in place for place in (*volumes, model)):
            raise InputError(f"models.{candidate.model}.path: {variant.path}: Docker mounts no path with a colon")
    elif (cache := Path("~/.cache/huggingface").expanduser()).is_dir():
        volumes = {str(cache): "/root/.cache/huggingface"}  # or every trial would download the model again
    if problem.spec.engine.compile_cache:
        volumes[cache_volume(problem)] = COMPILE_CACHE_MOUNT
    return ContainerRun(
        image=container.image,
        name=name,
        command=("--model", model, *name_args(problem)),
        env=cache_env(problem, COMPILE_CACHE_MOUNT),
        pass_env=list(problem.spec.engine.pass_env),
        volumes=volumes,
        read_only=read_only,
        host_ip=host_ip,
        host_port=host_port,
        container_port=container.container_port,
        runtime=container.runtime if not problem.gpu.is_cpu else None,
        gpu_ids=gpu_ids(problem, candidate, instance),
        ulimits=container.ulimits,
        ipc=container.ipc,
        shm_size_bytes=container.shm_size,
        memory_limit_bytes=container.memory_limit,
        cpuset_cpus=container.cpuset_cpus,
        labels=labels,
    )


def container_spec(problem: Problem) -> ContainerSpec:
    """The study's container section. Raises InputError where there is none."""
    if problem.spec.container is None:
        raise InputError(f"{problem.spec.name}: container: missing key; the docker backend and run.sh need an image")
    return problem.spec.container


def name_args(problem: Problem) -> list[str]:
    return ["--served-model-name", problem.spec.serve.name]


def engine_args(problem: Problem, candidate: Candidate) -> list[str]:
    """Everything after the model: served name, settings, the study's further flags. The same for every backend."""
    return [*name_args(problem), *serve_args(candidate.engine, problem.version), *problem.spec.engine.extra_args]


def cache_env(problem: Problem, folder: str) -> dict[str, str]:
    """Where this study's engines keep what they compile; whatever else names such a place wins."""
    return compile_cache_env(folder) if problem.spec.engine.compile_cache else {}


def engine_env(problem: Problem, candidate: Candidate) -> dict[str, str]:
    return {**dict(candidate.env), **serve_env(candidate.engine, problem.version)}


def gpu_ids(problem: Problem, candidate: Candidate, instance: int) -> tuple[int, ...] | None:
    """The cards of one instance; None when it has all of the machine."""
    hardware, share = problem.spec.hardware, candidate.layout.gpus_per_instance
    if candidate.layout.instances == 1 and share == hardware.num_gpus and hardware.gpu_ids is None:
        return None
    return tuple(hardware.cards[instance * share : (instance + 1) * share])

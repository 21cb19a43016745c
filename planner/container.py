"""How a candidate becomes `docker run`: `ContainerRun`, in words for a script and for the Docker Engine's API.

Trials and the exported script are made here, by the same code: what was measured is what is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planner.engine import compile_cache_env, serve_args, serve_env
from planner.errors import InputError
from planner.problem import Problem
from planner.space import Candidate
from planner.spec import ContainerSpec

STUDY_LABEL = "planner.study"
TRIAL_LABEL = "planner.trial"
COMPILE_CACHE_MOUNT = "/compile-cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRun:
    """One container of one instance. `command` is what follows the image."""

    image: str
    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    volumes: dict[str, str]
    """Host directory, or a volume's name -> directory in the container."""
    host_ip: str | None
    """None publishes on every address."""
    host_port: int | None
    """None lets Docker choose a free port."""
    container_port: int
    runtime: str | None
    gpu_ids: tuple[int, ...] | None
    """None: all cards (with a runtime) or no card (without)."""
    ulimits: dict[str, int]
    ipc: str
    shm_size_bytes: int | None
    cpuset_cpus: str | None
    restart: str | None
    labels: dict[str, str] = field(default_factory=dict)

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
        options += [["-v", f"{host}:{inside}"] for host, inside in self.volumes.items()]
        options.append(["-p", f"{self._published()}{self.container_port}"])
        if self.cpuset_cpus:
            options.append(["--cpuset-cpus", self.cpuset_cpus])
        options += [["--ulimit", f"{name}={limit}"] for name, limit in self.ulimits.items()]
        if self.restart:
            options.append(["--restart", self.restart])
        options.append([f"--ipc={self.ipc}"])
        if self.shm_size_bytes:
            options.append([f"--shm-size={self.shm_size_bytes}"])
        options += [["-e", f"{name}={value}"] for name, value in self.env.items()]
        options += [["--label", f"{name}={value}"] for name, value in self.labels.items()]
        return options

    def _published(self) -> str:
        port = "" if self.host_port is None else str(self.host_port)
        return f"{self.host_ip}:{port}:" if self.host_ip else f"{port}:"

    def to_docker_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of docker-py's `containers.create`."""
        from docker.types import Ulimit

        kwargs: dict[str, Any] = {
            "image": self.image,
            "command": list(self.command),
            "name": self.name,
            "environment": self.env,
            "volumes": {host: {"bind": inside, "mode": "rw"} for host, inside in self.volumes.items()},
            "ports": {f"{self.container_port}/tcp": (self.host_ip or "0.0.0.0", self.host_port)},  # noqa: S104
            "ulimits": [Ulimit(name=name, soft=limit, hard=limit) for name, limit in self.ulimits.items()],
            "ipc_mode": self.ipc,
            "labels": self.labels,
        }
        if self.shm_size_bytes:
            kwargs["shm_size"] = self.shm_size_bytes
        if self.cpuset_cpus:
            kwargs["cpuset_cpus"] = self.cpuset_cpus
        if self.restart:
            kwargs["restart_policy"] = {"Name": self.restart}
        return {**kwargs, **card_kwargs(self.runtime, self.gpu_ids)}


def card_kwargs(runtime: str | None, gpu_ids: tuple[int, ...] | None) -> dict[str, Any]:
    """What docker-py is told about cards: these, or all; nothing without a runtime."""
    from docker.types import DeviceRequest

    if runtime is None:
        return {}
    which: dict[str, Any] = {"count": -1} if gpu_ids is None else {"device_ids": [str(i) for i in gpu_ids]}
    return {"runtime": runtime, "device_requests": [DeviceRequest(capabilities=[["gpu"]], **which)]}


def trial_runs(problem: Problem, candidate: Candidate, number: int) -> list[ContainerRun]:
    """The containers of a trial: loopback ports that Docker chooses, labels by which they are found again."""
    labels = {STUDY_LABEL: problem.spec.name, TRIAL_LABEL: str(number)}
    name = f"planner-{problem.spec.name}-{number}"
    return [
        _run(problem, candidate, i, f"{name}-{i}", "127.0.0.1", None, labels) for i in range(candidate.layout.instances)
    ]


def service_runs(problem: Problem, candidate: Candidate) -> list[ContainerRun]:
    """The containers of the exported service: the study's name and port, one port more for each further instance."""
    serve = problem.spec.serve
    names = [serve.name, *(f"{serve.name}-{i}" for i in range(1, candidate.layout.instances))]
    return [
        _run(problem, candidate, i, name, None, serve.host_port + i, {}, serve.restart) for i, name in enumerate(names)
    ]


def cache_volume(problem: Problem) -> str:
    """Of the trials and of the exported service: with what they compiled it starts as they did, memory included."""
    return f"planner-{problem.spec.name}-compile-cache"


def _run(
    problem: Problem,
    candidate: Candidate,
    instance: int,
    name: str,
    host_ip: str | None,
    host_port: int | None,
    labels: dict[str, str],
    restart: str | None = None,
) -> ContainerRun:
    container = container_spec(problem)
    variant = problem.spec.models[candidate.model]
    model, volumes = variant.path, {}
    if variant.is_directory:
        model = f"{container.model_mount.rstrip('/')}/{variant.basename}"
        volumes = {str(Path(variant.path).expanduser().absolute()): model}
    elif (cache := Path("~/.cache/huggingface").expanduser()).is_dir():
        volumes = {str(cache): "/root/.cache/huggingface"}  # or every trial would download the model again
    if problem.spec.engine.compile_cache:
        volumes[cache_volume(problem)] = COMPILE_CACHE_MOUNT
    return ContainerRun(
        image=container.image,
        name=name,
        command=("--model", model, *engine_args(problem, candidate)),
        env={**cache_env(problem, COMPILE_CACHE_MOUNT), **engine_env(problem, candidate)},
        volumes=volumes,
        host_ip=host_ip,
        host_port=host_port,
        container_port=container.container_port,
        runtime=container.runtime if not problem.gpu.is_cpu else None,
        gpu_ids=gpu_ids(problem, candidate, instance),
        ulimits=container.ulimits,
        ipc=container.ipc,
        shm_size_bytes=container.shm_size,
        cpuset_cpus=container.cpuset_cpus,
        restart=restart,
        labels=labels,
    )


def container_spec(problem: Problem) -> ContainerSpec:
    """The study's container section. Raises InputError where there is none."""
    if problem.spec.container is None:
        raise InputError(f"{problem.spec.name}: container: missing key; the docker backend and run.sh need an image")
    return problem.spec.container


def engine_args(problem: Problem, candidate: Candidate) -> list[str]:
    """Everything after the model: served name, settings, the study's further flags. The same for every backend."""
    name = ["--served-model-name", problem.spec.serve.name]
    return [*name, *serve_args(candidate.engine, problem.version), *problem.spec.engine.extra_args]


def cache_env(problem: Problem, folder: str) -> dict[str, str]:
    """Where this study's engines keep what they compile; whatever else names such a place wins."""
    return compile_cache_env(folder) if problem.spec.engine.compile_cache else {}


def engine_env(problem: Problem, candidate: Candidate) -> dict[str, str]:
    return {**dict(candidate.env), **serve_env(candidate.engine, problem.version)}


def gpu_ids(problem: Problem, candidate: Candidate, instance: int) -> tuple[int, ...] | None:
    """The cards of one instance; None when it has them all."""
    share = candidate.layout.gpus_per_instance
    if candidate.layout.instances == 1 and share == problem.spec.hardware.num_gpus:
        return None
    return tuple(range(instance * share, (instance + 1) * share))

"""The container runs of a candidate: one per instance, with its GPUs, its arguments, environment and labels.

In: a problem and a candidate. Out: `ContainerRun`s for trials, for services and for bare engines.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from planner.engine import compile_cache_env, serve_args, serve_env
from planner.errors import InputError
from planner.launch.container import COMPILE_CACHE_MOUNT, ContainerRun
from planner.launch.ownership import LAUNCHER
from planner.study import Candidate, ContainerSpec, Problem, StudySpec

HUB_CACHE = Path("~/.cache/huggingface")
"""Folder of Hugging Face's cache, which containers share where it exists."""
STUDY_LABEL = "planner.study"
TRIAL_LABEL = "planner.trial"
LAUNCHER_LABEL = "planner.launcher"


def trial_runs(problem: Problem, candidate: Candidate, number: int) -> list[ContainerRun]:
    """The containers of a trial, with loopback ports that Docker chooses and labels by which they are found again."""
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


def downloads_words(spec: StudySpec) -> str | None:
    """What to say if every container would download its model anew, as none shares a cache; None if not."""
    names = [variant.path for variant in spec.models.values() if not variant.is_directory]
    if not names or HUB_CACHE.expanduser().is_dir():
        return None
    return (
        f"{', '.join(names)}: every container downloads it anew, as there is no {HUB_CACHE} to share: create that "
        "folder, or name a model directory"
    )


def cache_volume(problem: Problem) -> str:
    """Name of the volume with compiled code, shared by trials and the exported service.

    With what the trials compiled, the service starts as they did, memory included.
    """
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
    elif (cache := HUB_CACHE.expanduser()).is_dir():
        volumes = {str(cache): "/root/.cache/huggingface"}  # without it every trial would download the model again
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
    """The study's container section. Raises InputError if there is none."""
    if problem.spec.container is None:
        raise InputError(f"{problem.spec.name}: container: missing key; the docker backend and run.sh need an image")
    return problem.spec.container


def name_args(problem: Problem) -> list[str]:
    return ["--served-model-name", problem.spec.serve.name]


def engine_args(problem: Problem, candidate: Candidate) -> list[str]:
    """All arguments after the model: served name, settings, the study's extra flags. The same for every backend."""
    return [*name_args(problem), *serve_args(candidate.engine, problem.version), *problem.spec.engine.extra_args]


def cache_env(problem: Problem, folder: str) -> dict[str, str]:
    """Variables that say where this study's engines keep compiled code; any other setting of such a place wins."""
    return compile_cache_env(folder) if problem.spec.engine.compile_cache else {}


def engine_env(problem: Problem, candidate: Candidate) -> dict[str, str]:
    return {**dict(candidate.env), **serve_env(candidate.engine, problem.version)}


def gpu_ids(problem: Problem, candidate: Candidate, instance: int) -> tuple[int, ...] | None:
    """The cards of one instance; None if it has all cards of the machine."""
    hardware, share = problem.spec.hardware, candidate.layout.gpus_per_instance
    if candidate.layout.instances == 1 and share == hardware.num_gpus and hardware.gpu_ids is None:
        return None
    return tuple(hardware.cards[instance * share : (instance + 1) * share])

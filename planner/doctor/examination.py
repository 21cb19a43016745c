"""`planner doctor`: everything that must be true before the first launch. `examine(...) -> [Check, ...]`.

The list of checks is in `examine`; each is a small function of a `Case` in the module of its subject. Changes nothing
except the user's cache, which keeps what images answer about themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import msgspec

from planner.doctor import docker as docker_checks
from planner.doctor import flags as flag_checks
from planner.doctor import gpus as gpu_checks
from planner.doctor import host as host_checks
from planner.doctor.check import BackendName, Case, Check, cards_used
from planner.doctor.models import models
from planner.errors import BackendError, InputError
from planner.estimate import load_calibrations
from planner.hardware import GpuFacts, read_gpus, recognise
from planner.launch import EngineFacts, engine_facts, image_facts
from planner.study import Forecast, Problem, StudySpec, Workspace
from planner.units import Bytes

NOT_READY = 3
"""Exit code if there is a problem; warnings alone give 0."""


def parse_backend(text: str) -> BackendName:
    """The backend named by a text. Raises InputError."""
    for name in get_args(BackendName):
        if name == text:
            return name
    raise InputError(f"--backend {text}: allowed: {', '.join(get_args(BackendName))}; simulated needs no machine")


def examine(case: Case, told: Callable[[str], None] = lambda _: None) -> list[Check]:
    """All checks, in the order in which a launch would meet them. `told` is called before something takes long."""
    found = [
        docker_checks.engine(case),
        docker_checks.nvidia_runtime(case),
        gpu_checks.driver(case),
        gpu_checks.cards(case),
        gpu_checks.memory(case),
        gpu_checks.links(case),
        host_checks.memory(case),
        host_checks.cpus(case),
        host_checks.shm(case),
        host_checks.ulimits(case),
        host_checks.disk(case),
        host_checks.ports(case),
        *models(case),
        gpu_checks.settings(case),
        docker_checks.image(case),
        docker_checks.cuda(case),
        docker_checks.cards_in_container(case),
        flag_checks.program_found(case),
    ]
    found += _engine_lines(case, found, told)
    return [check for check in found if check is not None]


def _engine_lines(case: Case, found: Sequence[Check | None], told: Callable[[str], None]) -> list[Check | None]:
    """The checks of what the engine's program reports about itself."""
    if any(check is not None and check.name == "vLLM program" and check.status == "problem" for check in found):
        return []
    try:
        program = flag_checks.read_program(case, told)
    except BackendError as error:
        return [Check("vLLM flags", "warning", f"not checked: {error}", "run the engine's --help by hand")]
    return [flag_checks.version(case, program), flag_checks.flags(case, program)]


def read_case(spec: StudySpec | None, folder: Path, backend: BackendName, gpus: GpuFacts | None = None) -> Case:
    """Read the machine and look the study up. `gpus` replaces what the driver says.

    Raises InputError if the study is wrong; a model that cannot be read is a finding, not an error.
    """
    gpus = read_gpus() if gpus is None else gpus
    if backend == "process":
        gpus = gpus.only(tuple(card for card in gpus.cards if is_visible(card.index, card.uuid)))
    docker, docker_error, image = None, "", None
    if backend == "docker":
        try:
            docker = engine_facts()
        except BackendError as error:
            docker_error = str(error)
        if docker is not None and spec is not None and spec.container is not None:
            with suppress(BackendError):  # the image check reports that it is missing
                image = image_facts(spec.container.image)
    case = Case(
        backend=backend, gpus=gpus, docker=docker, docker_error=docker_error, image=image, spec=spec, folder=folder
    )
    if spec is None:
        return case
    calibrations = load_calibrations(Workspace(folder, simulated=False).calibration_path)
    try:
        forecast = Forecast(Problem.of(spec), calibrations)
    except InputError:
        if all(check.status != "problem" for check in models(case)):
            raise
        return case
    here = Forecast(Problem.of(_as_found(spec, gpus, docker)), calibrations)
    return replace(case, forecast=forecast, here=here)


def _as_found(spec: StudySpec, gpus: GpuFacts, docker: EngineFacts | None) -> StudySpec:
    """The study with this machine's real cards, their memory and links, and its host memory."""
    import psutil

    hardware = spec.hardware
    total = docker.memory_bytes if docker else psutil.virtual_memory().total
    changes: dict[str, Any] = {"host_memory": Bytes(total)}
    cards = cards_used(spec, gpus)
    if cards:
        least = min(card.total_bytes for card in cards)
        with suppress(InputError):  # a card that is not in the table is judged as the one that the study names
            changes["gpu"] = recognise(cards[0].name, least).name
        changes |= {"gpu_memory": Bytes(least), "interconnect": gpus.only(cards).interconnect}
    return msgspec.structs.replace(spec, hardware=msgspec.structs.replace(hardware, **changes))


def is_visible(index: int, uuid: str) -> bool:
    """Whether CUDA_VISIBLE_DEVICES lets a process see the card."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is None:
        return True
    return any(word == str(index) or (word and uuid.startswith(word)) for word in map(str.strip, listed.split(",")))


def exit_code(checks: Sequence[Check]) -> int:
    return NOT_READY if any(check.status == "problem" for check in checks) else 0


def document(case: Case, checks: Sequence[Check]) -> dict[str, Any]:
    """The document that `--json` prints."""
    return {
        "study": case.spec.name if case.spec else None,
        "deployment": case.spec.deployment_words if case.spec else None,
        "backend": case.backend,
        "ready": exit_code(checks) == 0,
        "checks": [msgspec.to_builtins(check) for check in checks],
    }

"""One machine's part of a study: the backend that launches on it, its cards, and the facts that records keep of it."""

from __future__ import annotations

from planner.errors import BackendError
from planner.hardware import Cards, Machine, read_gpus
from planner.launch.backend import Backend
from planner.launch.docker.backend import DockerBackend
from planner.launch.docker.door import image_facts
from planner.launch.docker.image import ImageFacts
from planner.launch.process import ProcessBackend
from planner.study import Problem, Workspace


def make_backend(problem: Problem, workspace: Workspace, backend: str) -> Backend:
    if backend == "docker":
        return DockerBackend(problem, workspace.log_dir)
    return ProcessBackend(problem, workspace.log_dir, workspace.compile_cache_dir)


def cards_of(problem: Problem, backend: str) -> Cards:
    """The cards that a run holds on this machine; none if the backend is simulated or the study runs on a CPU."""
    return Cards(() if backend == "simulated" or problem.gpu.is_cpu else problem.spec.hardware.cards)


def machine_of(problem: Problem, backend: str) -> Machine:
    """The facts about the launching machine that records keep."""
    if backend not in {"docker", "process"}:
        return Machine()
    driver = None if problem.gpu.is_cpu else read_gpus().driver or None
    image = image_here(problem, backend)
    if image is None:
        return Machine(driver)
    return Machine(driver, image.digest or image.id, image.lasting_name if image.digest else None)


def image_here(problem: Problem, backend: str) -> ImageFacts | None:
    """Facts about the study's image on this machine; None if it is absent, which the launch then reports."""
    if backend != "docker" or problem.spec.container is None:
        return None
    try:
        return image_facts(problem.spec.container.image)
    except BackendError:
        return None

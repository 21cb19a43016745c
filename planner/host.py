"""One machine's part of a study: the backend that launches on it, its cards, what its records say of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from planner.backends.base import Backend
from planner.backends.docker import DockerBackend, image_facts
from planner.backends.image import ImageFacts
from planner.backends.process import ProcessBackend
from planner.bench_session import OnStage
from planner.benchmark import Measure, Measurement, Repeats, live
from planner.container import container_spec
from planner.errors import BackendError, InputError
from planner.hardware.cards import Cards
from planner.hardware.driver import read_gpus
from planner.hardware.machine import Machine
from planner.problem import Problem
from planner.space import Candidate
from planner.trial import Trial
from planner.workspace import Workspace


def make_backend(problem: Problem, workspace: Workspace, backend: str) -> Backend:
    if backend == "docker":
        return DockerBackend(problem, workspace.log_dir)
    return ProcessBackend(problem, workspace.log_dir, workspace.compile_cache_dir)


def cards_of(problem: Problem, backend: str) -> Cards:
    """What a run takes of the machine; no cards where none are used."""
    return Cards(() if backend == "simulated" or problem.gpu.is_cpu else problem.spec.hardware.cards)


def measure_here(problem: Problem, backend: Backend, cards: Cards) -> Measure:
    """Measure on this machine. Before each launch what was left is removed and the cards must be free."""
    on_engine = live(problem, backend)

    def measure(candidate: Candidate, number: int, on_stage: OnStage, repeats: Repeats) -> Measurement:
        backend.clean_up()  # of a planner that died since and whose trial this may be
        cards.wait_until_free()
        return on_engine(candidate, number, on_stage, repeats)

    return measure


def machine_of(problem: Problem, backend: str) -> Machine:
    """What the records say of the machine that launches."""
    if backend not in {"docker", "process"}:
        return Machine()
    driver = None if problem.gpu.is_cpu else read_gpus().driver or None
    image = image_here(problem, backend)
    if image is None:
        return Machine(driver)
    return Machine(driver, image.digest or image.id, image.lasting_name if image.digest else None)


def image_here(problem: Problem, backend: str) -> ImageFacts | None:
    """What the study's image is on this machine; None without one, and the launch says what is wrong with it."""
    if backend != "docker" or problem.spec.container is None:
        return None
    try:
        return image_facts(problem.spec.container.image)
    except BackendError:
        return None


def refuse_other_image(problem: Problem, here: Collection[str], trials: Sequence[Trial]) -> None:
    """Raises InputError where earlier trials were measured in another image than the one that is `here`.

    `here`: what a record may call it; empty where nobody knows.
    """
    measured = {trial.provenance.machine.image_digest for trial in trials} - {None}
    if here and measured and measured.isdisjoint(here):
        image = container_spec(problem).image
        raise InputError(
            f"{problem.spec.name}: container.image: {image} stands for {' or '.join(here)} now, but the trials were "
            f"measured in {', '.join(map(str, measured))} and would not compare: fetch that image again, or give the "
            "study a new name"
        )

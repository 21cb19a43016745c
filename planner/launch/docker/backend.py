"""Engines in containers, through the Docker Engine's API. Only `named.py` beside it has a client of docker.

Every error of the client becomes ours at one door, `mapped`.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, closing
from functools import partial
from pathlib import Path

import docker.errors

from planner.errors import BackendError, Disturbed
from planner.launch.backend import Server, serving
from planner.launch.container import COMPILE_CACHE_MOUNT, ContainerRun
from planner.launch.docker.door import ANSWER_TIMEOUT_S, LOOK_TIMEOUT_S, _line, mapped
from planner.launch.docker.image import image_of
from planner.launch.docker.instance import ContainerInstance, _remove
from planner.launch.docker.outages import AWAY, Outages
from planner.launch.docker.surroundings import surroundings
from planner.launch.live.knobs import PATHS, Knobs
from planner.launch.ownership import is_left_over
from planner.launch.runs import LAUNCHER_LABEL, STUDY_LABEL, TRIAL_LABEL, trial_runs
from planner.study import Candidate, Problem

_TAKEN = re.compile("already in use|already allocated|removal of container")
"""Errors that may pass: the port is in use, or somebody else is just removing a container of that name."""


class DockerBackend:
    name = "docker"

    def __init__(self, problem: Problem, log_dir: Path) -> None:
        self._problem = problem
        self._log_dir = log_dir
        self._outages = Outages()
        self._images: dict[str, str] = {}
        self._surroundings = surroundings()
        if self._surroundings:
            self._surroundings.check()
        with mapped():
            self._client = docker.from_env(timeout=ANSWER_TIMEOUT_S)
            self._looks = docker.from_env(timeout=LOOK_TIMEOUT_S)

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:
        return [run.argv() for run in trial_runs(self._problem, candidate, number)]

    def serve(self, candidate: Candidate, number: int, live: bool = False) -> AbstractContextManager[Server]:
        runs = trial_runs(self._problem, candidate, number)
        knobs = Knobs(self._log_dir / f"trial-{number}-live", len(runs)) if live else None
        if knobs is not None:
            paths = self._image_paths(runs[0].image)
            runs = [knobs.added_to(run, instance, paths) for instance, run in enumerate(runs)]
        if self._surroundings:
            self._surroundings.check(runs[0].volumes)
        logs = [self._log_dir / f"trial-{number}-{i}.log" for i in range(len(runs))]
        self._remove_labelled(f"{TRIAL_LABEL}={number}")  # left by a launch that was disturbed
        self._make_cache(runs[0])
        starts = [lambda i: self._start(runs[i])] * len(runs)
        return serving(starts, self._problem.spec.engine.start_timeout, logs, knobs)

    def _image_paths(self, image: str) -> str | None:
        """The image's own PYTHONPATH; None if it has none, or is not here, which the launch then reports."""
        try:
            with mapped():
                env = self._client.images.get(image).attrs["Config"].get("Env") or []
        except BackendError:
            return None
        return next((text.partition("=")[2] for text in env if text.startswith(f"{PATHS}=")), None)

    def _start(self, run: ContainerRun) -> ContainerInstance:
        """Create and start a container. Raises Disturbed if the next try may well succeed."""
        with mapped():
            try:
                image = self._lasting_name(run.image)
                container = self._client.containers.create(**{**run.to_docker_kwargs(), "image": image})
                try:
                    container.start()
                except docker.errors.APIError:
                    _remove(container)
                    raise
            except docker.errors.ImageNotFound:
                raise BackendError(f"image not on this machine: {run.image}; fetch it with docker pull") from None
            except AWAY:
                self._outages.ask(self._looks.ping)
                raise Disturbed("the Docker Engine was away while it was launched") from None
            except docker.errors.APIError as error:
                if _TAKEN.search(str(error)):
                    raise Disturbed(f"it could not be launched: {_line(error)}") from None
                raise
        return ContainerInstance(container, self._looks, self._outages, run.pass_env)

    def _lasting_name(self, image: str) -> str:
        """A name for what the image's name stood for at the first launch: all launches of a run use the same image."""
        if image not in self._images:
            self._images[image] = image_of(image, self._client.images.get(image).attrs).lasting_name
        return self._images[image]

    def _make_cache(self, run: ContainerRun) -> None:
        """Create the volume that keeps compiled code, under the study's label; an existing one stays as it is."""
        labels = {STUDY_LABEL: self._problem.spec.name}
        for name, mount in run.volumes.items():
            if mount == COMPILE_CACHE_MOUNT:
                with mapped():
                    self._outages.ask(partial(self._client.volumes.create, name=name, labels=labels))

    def clean_up(self) -> int:
        """Remove the containers that carry this study's label, but none that another planner has under way.

        The volume of compiled code stays.
        """
        return self._remove_labelled()

    def _remove_labelled(self, *labels: str) -> int:
        """Remove this study's containers that carry these labels too; returns how many."""
        with mapped():
            return self._outages.ask(lambda: _remove_left(self._client, self._problem.spec.name, *labels))


def remove_left(study: str) -> int:
    """Remove the containers of dead planners of a study. Raises BackendError, also if no Engine answers now."""
    with mapped(), closing(docker.from_env(timeout=ANSWER_TIMEOUT_S)) as client:
        return _remove_left(client, study)


def _remove_left(client: docker.DockerClient, study: str, *labels: str) -> int:
    """Remove the study's containers with these labels, except those of a living planner; returns how many."""
    wanted: dict[str, str | list[str] | bool] = {"label": [f"{STUDY_LABEL}={study}", *labels]}
    ours = client.containers.list(all=True, filters=wanted, ignore_removed=True)
    left = [container for container in ours if is_left_over(container.labels.get(LAUNCHER_LABEL))]
    for container in left:
        _remove(container)
    return len(left)

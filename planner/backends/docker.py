"""Engines in containers, through the Docker Engine's API. Only `named.py` beside it has a
client of docker.

Every error of the client becomes ours at one door, `mapped`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import docker.errors
import requests.exceptions

from planner.backends.base import Ending, Server, serving
from planner.backends.image import ImageFacts, image_of
from planner.backends.outages import AWAY, Outages
from planner.container import (
    COMPILE_CACHE_MOUNT,
    LAUNCHER_LABEL,
    RIGHTS,
    STUDY_LABEL,
    TRIAL_LABEL,
    ContainerRun,
    card_kwargs,
    trial_runs,
)
from planner.errors import BackendError, Disturbed
from planner.files.redaction import redact
from planner.launcher import is_left_over
from planner.study.candidate import Candidate
from planner.study.problem import Problem

if TYPE_CHECKING:
    from docker.models.containers import Container


T = TypeVar("T")

STOP_TIMEOUT_S = 10
ANSWER_TIMEOUT_S, LOOK_TIMEOUT_S = 60, 10
"""Of what starts or stops something, and of questions that are asked every second."""
LOG_TAIL_LINES = 20_000
_GONE = {404, 409}
"""Not there, or about to be removed."""
_TAKEN = re.compile("already in use|already allocated|removal of container")
"""A port, or the name of a container that somebody else removes just now."""
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104  (how Docker tells what is published; nothing listens there)


@contextmanager
def mapped() -> Iterator[None]:
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
    return redact(" ".join(str(text).split()))


def engine_answers() -> bool:
    """Whether a Docker Engine answers here."""
    try:
        with mapped(), closing(docker.from_env(timeout=5)) as client:
            client.ping()
    except BackendError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What a Docker Engine says of itself and of the machine it runs on."""

    version: str
    runtimes: tuple[str, ...]
    cdi_devices: tuple[str, ...]
    """Devices by CDI names, as nvidia.com/gpu=0; Engines before 28 name none."""
    num_cpus: int
    memory_bytes: int
    root_dir: Path
    is_rootless: bool
    is_local: bool
    """Asked through an address of this machine."""


def engine_facts() -> EngineFacts:
    """Raises BackendError where no Engine answers."""
    with mapped(), closing(docker.from_env(timeout=10)) as client:
        info = client.info()
        host = urlsplit(client.api.base_url).hostname  # docker-py: http+docker://localhost is a socket, .../ssh is ssh
    return EngineFacts(
        version=info["ServerVersion"],
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        cdi_devices=tuple(device["ID"] for device in info.get("DiscoveredDevices") or []),
        num_cpus=info["NCPU"],
        memory_bytes=info["MemTotal"],
        root_dir=Path(info["DockerRootDir"]),
        is_rootless=any("name=rootless" in option for option in info.get("SecurityOptions") or []),
        is_local=host in LOCAL_HOSTS,
    )


def image_facts(name: str) -> ImageFacts:
    """Raises BackendError where the image is not on this machine."""
    with mapped(), closing(docker.from_env(timeout=10)) as client:
        return image_of(name, client.images.get(name).attrs)


@dataclass(frozen=True, slots=True)
class Ended:
    exit_code: int
    stdout: str
    stderr: str


def run_to_end(
    image: str,
    command: Sequence[str],
    *,
    program: str | None = None,
    env: Mapping[str, str] | None = None,
    runtime: str | None = None,
    timeout_s: int = 300,
) -> Ended:
    """One command in a container of its own, without a network; `program` instead of the image's own.

    With a runtime it sees all cards, as a trial's container does. Raises BackendError, also when it does not end.
    """
    with mapped(), closing(docker.from_env(timeout=timeout_s)) as client:
        container = client.containers.create(
            image,
            list(command),
            name=f"planner-doctor-{uuid.uuid4().hex[:8]}",
            network_mode="none",
            entrypoint=program,
            environment=dict(env or {}),
            **RIGHTS,
            **card_kwargs(runtime, None),
        )
        try:
            container.start()
            code = container.wait(timeout=timeout_s)["StatusCode"]
            out, err = (
                container.logs(stdout=stdout, stderr=not stdout).decode("utf-8", "replace") for stdout in (True, False)
            )
        finally:
            container.remove(force=True, v=True)
    return Ended(code, out, err)


class ContainerLog:
    """The log of a container that somebody started, of all its starts, read as it comes."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def name(self) -> str:
        return f"container {self._container.name}"

    def chunks(self, follow: bool) -> Iterator[bytes]:
        """What was written so far; with `follow` also what comes, until the container ends."""
        with mapped():
            yield from self._container.logs(stdout=True, stderr=True, stream=True, follow=follow)

    def exit_code(self) -> int | None:
        """None while it runs."""
        with mapped():
            try:
                self._container.reload()
            except docker.errors.NotFound:
                return None  # removed while its log was read
        state = self._container.attrs.get("State", {})
        is_over = state.get("Status") in {"exited", "dead"}
        return state.get("ExitCode") if is_over else None


@contextmanager
def container_log(name: str) -> Iterator[ContainerLog | None]:
    """The log of a container by name or id; None where there is none. Raises BackendError without a Docker Engine."""
    with mapped():
        client = docker.from_env()
    with closing(client):
        with mapped():
            try:
                container = client.containers.get(name)
            except docker.errors.NotFound:
                container = None
        yield None if container is None else ContainerLog(container)


class ContainerInstance:
    """A container; `looks` is a client that does not wait long, for what is asked every second.

    `passed`: variables whose values are taken out of what it prints.
    """

    def __init__(
        self,
        container: Container,
        looks: docker.DockerClient,
        outages: Outages | None = None,
        passed: Sequence[str] = (),
    ) -> None:
        self._container = container
        self._outages = outages or Outages()
        self._outages_before = self._outages.count
        self._looks = looks
        self._passed = passed
        self._is_gone = False
        self._ask(container.reload)
        published = container.attrs["NetworkSettings"]["Ports"].values()
        binding = next((bindings[0] for bindings in published if bindings), {"HostIp": "", "HostPort": "0"})
        host = binding["HostIp"] if binding["HostIp"] not in _EVERY_ADDRESS else "127.0.0.1"
        self.base_url = f"http://{host}:{binding['HostPort']}"

    def _ask(self, call: Callable[[], T]) -> T:
        with mapped():
            return self._outages.ask(call)

    @property
    def _state(self) -> Mapping[str, Any]:
        """As it was when last looked at."""
        return self._container.attrs.get("State") or {}

    def is_running(self) -> bool | None:
        """None while the Docker Engine is away."""
        with mapped():
            try:
                self._container.attrs = self._looks.containers.get(str(self._container.id)).attrs
            except docker.errors.NotFound:
                self._is_gone = True
                return False
            except AWAY:
                self._outages.note()
                return None
        self._outages.answered()
        # One that Docker starts again and again has died all the same.
        return self._state.get("Status") == "running" and not self._container.attrs.get("RestartCount")

    def log_text(self) -> str:
        def read() -> bytes:
            try:
                return bytes(self._container.logs(tail=LOG_TAIL_LINES))
            except docker.errors.APIError as error:
                if error.status_code not in _GONE:
                    raise
                return b"the container was removed by somebody else"

        text = redact(self._ask(read).decode("utf-8", "replace"), self._passed)
        if self._state.get("OOMKilled"):
            text += "\nplanner: the container was killed for using too much host memory (OOMKilled)\n"
        return text

    def ending(self) -> Ending:
        code = self._state.get("ExitCode")
        if self._is_gone:
            return Ending(None, disturbance="somebody removed its container")
        if self._state.get("OOMKilled"):
            return Ending(code, oom_killed=True)
        if self._state.get("Paused"):
            return Ending(None, disturbance="somebody paused its container")
        if self._outages.count > self._outages_before:
            return Ending(code, disturbance=f"the Docker Engine was away, its container ended (exit code {code})")
        if self._was_told_to_end():
            return Ending(code, disturbance=f"somebody stopped its container (exit code {code})")
        return Ending(code)

    def _was_told_to_end(self) -> bool:
        """Whether the Engine was asked to send a signal to it, as `docker stop` and `docker kill` do."""
        began, ended = (
            int(datetime.fromisoformat(f"{self._state[key][:19]}+00:00").timestamp())
            for key in ("StartedAt", "FinishedAt")
        )
        only = {"container": self._container.id, "event": "kill"}
        return bool(self._ask(lambda: list(self._looks.events(since=began, until=ended + 1, filters=only))))

    def stop(self) -> None:
        def stop_and_remove() -> None:
            try:
                if self._state.get("Paused"):  # a frozen process does not even die
                    self._container.unpause()
                self._container.stop(timeout=STOP_TIMEOUT_S)
            except docker.errors.NotFound:
                return  # gone already, which is what was asked for
            _remove(self._container)

        self._ask(stop_and_remove)


def _remove(container: Container) -> None:
    """Also where it is gone, or somebody else removes it just now: then its name is free only when that is done."""
    with suppress(docker.errors.NotFound):
        try:
            container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            container.wait(condition="removed")


class DockerBackend:
    name = "docker"

    def __init__(self, problem: Problem, log_dir: Path) -> None:
        self._problem = problem
        self._log_dir = log_dir
        self._outages = Outages()
        self._images: dict[str, str] = {}
        with mapped():
            self._client = docker.from_env(timeout=ANSWER_TIMEOUT_S)
            self._looks = docker.from_env(timeout=LOOK_TIMEOUT_S)

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:
        return [run.argv() for run in trial_runs(self._problem, candidate, number)]

    def serve(self, candidate: Candidate, number: int) -> AbstractContextManager[Server]:
        runs = trial_runs(self._problem, candidate, number)
        logs = [self._log_dir / f"trial-{number}-{i}.log" for i in range(len(runs))]
        self._remove_labelled(f"{TRIAL_LABEL}={number}")  # of a launch that was disturbed
        self._make_cache(runs[0])
        return serving([lambda i: self._start(runs[i])] * len(runs), self._problem.spec.engine.start_timeout, logs)

    def _start(self, run: ContainerRun) -> ContainerInstance:
        """Raises Disturbed where the next try may well succeed."""
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
        """Of what the image's name stood for at the first launch: all launches of a run have the same."""
        if image not in self._images:
            self._images[image] = image_of(image, self._client.images.get(image).attrs).lasting_name
        return self._images[image]

    def _make_cache(self, run: ContainerRun) -> None:
        """The volume that keeps what engines compile, under the study's label; one that is there stays as it is."""
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
        """Those of this study that carry these labels too; how many there were."""
        with mapped():
            return self._outages.ask(lambda: _remove_left(self._client, self._problem.spec.name, *labels))


def remove_left(study: str) -> int:
    """Remove the containers of dead planners of a study. Raises BackendError, also where no Engine answers now."""
    with mapped(), closing(docker.from_env(timeout=ANSWER_TIMEOUT_S)) as client:
        return _remove_left(client, study)


def _remove_left(client: docker.DockerClient, study: str, *labels: str) -> int:
    """Those of the study that carry these labels too, but none that a planner which lives has under way."""
    wanted: dict[str, str | list[str] | bool] = {"label": [f"{STUDY_LABEL}={study}", *labels]}
    ours = client.containers.list(all=True, filters=wanted, ignore_removed=True)
    left = [container for container in ours if is_left_over(container.labels.get(LAUNCHER_LABEL))]
    for container in left:
        _remove(container)
    return len(left)

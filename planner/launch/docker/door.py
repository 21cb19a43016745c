"""Requests to the Docker Engine: each with a time limit, its errors mapped to BackendError, its facts as values.

In: docker's client. Out: `mapped`, `engine_facts`, `image_facts`, `run_to_end`. It does not know what a trial is."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import docker.errors
import requests.exceptions

from planner.errors import BackendError
from planner.files import redact
from planner.launch.container import RIGHTS, card_kwargs
from planner.launch.docker.image import ImageFacts, image_of

T = TypeVar("T")
ANSWER_TIMEOUT_S, LOOK_TIMEOUT_S = 60, 10
"""Seconds to wait for an answer: to calls that start or stop something, and to questions asked every second."""
SOON_S = 3
"""Seconds to wait for an answer that is of help, but not needed."""
LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


@contextmanager
def mapped() -> Iterator[None]:
    """Turn the client's exceptions into a BackendError of one line that says what to do."""
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
    """What a Docker Engine reports about itself and its machine."""

    version: str
    runtimes: tuple[str, ...]
    cdi_devices: tuple[str, ...]
    """CDI names of devices, such as nvidia.com/gpu=0; Engines before 28 name none."""
    num_cpus: int
    memory_bytes: int
    root_dir: Path
    is_rootless: bool
    is_local: bool
    """Whether the Engine was asked through an address of this machine."""


def engine_facts() -> EngineFacts:
    """Facts about the Docker Engine. Raises BackendError if no Engine answers."""
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
    """Facts about an image. Raises BackendError if it is not on this machine."""
    with mapped(), closing(docker.from_env(timeout=10)) as client:
        return image_of(name, client.images.get(name).attrs)


def tags_here(repository: str) -> list[str]:
    """Tags of a repository's images on this machine. Raises BackendError if no Engine answers soon."""
    with mapped(), closing(docker.from_env(timeout=SOON_S)) as client:
        names = [name for image in client.images.list(name=repository) for name in image.tags]
    return [name.rpartition(":")[2] for name in names if name.rpartition(":")[0] == repository]


@dataclass(frozen=True, slots=True)
class EndedContainer:
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
) -> EndedContainer:
    """Run one command in a container of its own, without a network; `program` replaces the image's entrypoint.

    With a runtime it sees all cards, as a trial's container does. Raises BackendError, also if it does not end in time.
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
    return EndedContainer(code, out, err)

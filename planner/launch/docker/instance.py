"""One engine in a container: its log, its end, its removal. In: a started container. Out: a `ContainerInstance`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import docker.errors
import psutil

from planner.errors import BackendError
from planner.files import redact
from planner.launch.backend import Ending
from planner.launch.docker.door import T, mapped
from planner.launch.docker.outages import AWAY, Outages

if TYPE_CHECKING:
    from docker.models.containers import Container


STOP_TIMEOUT_S = 10
LOG_TAIL_LINES = 20_000
_GONE = {404, 409}
"""HTTP status of a container that is not there, or is about to be removed."""
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104  (how Docker tells what is published; nothing listens there)


class ContainerLog:
    """The log of a container that somebody started, over all its starts, read as it comes."""

    def __init__(self, container: Container) -> None:
        self._container = container

    @property
    def name(self) -> str:
        return f"container {self._container.name}"

    def chunks(self, follow: bool) -> Iterator[bytes]:
        """The log written so far; with `follow` also what comes, until the container ends."""
        with mapped():
            yield from self._container.logs(stdout=True, stderr=True, stream=True, follow=follow)

    def exit_code(self) -> int | None:
        """Exit code of the container; None while it runs, or if it was removed."""
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
    """The log of a container by name or id; None if there is none. Raises BackendError without a Docker Engine."""
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
    """One engine in a container.

    `looks`: a client with a short timeout, for questions asked every second. `passed`: variables whose values are
    removed from its log.
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
        """State of the container at the last look."""
        return self._container.attrs.get("State") or {}

    def is_running(self) -> bool | None:
        """Whether it runs; None while the Docker Engine is away."""
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
        # A container that Docker restarts again and again counts as dead.
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
        """Whether the Engine was asked to send it a signal, as `docker stop` and `docker kill` do."""
        began, ended = (
            int(datetime.fromisoformat(f"{self._state[key][:19]}+00:00").timestamp())
            for key in ("StartedAt", "FinishedAt")
        )
        only = {"container": self._container.id, "event": "kill"}
        return bool(self._ask(lambda: list(self._looks.events(since=began, until=ended + 1, filters=only))))

    def memory(self) -> tuple[float, float] | None:
        """Bytes of host memory that cannot be reclaimed, and bytes left to its limit or on this host; None if unknown.

        Anonymous and shared memory of its control group; without a limit Docker names the host's whole memory.
        """

        def read() -> dict[str, Any]:
            found = self._container.stats(stream=False, one_shot=True)
            return found if isinstance(found, dict) else {}

        try:
            found = self._ask(read).get("memory_stats", {})
        except BackendError:
            return None
        usage, parts = found.get("usage"), found.get("stats", {})
        if usage is None:
            return None
        pinned = [parts[name] for name in ("anon", "shmem") if name in parts]  # version 2 of control groups
        used = sum(pinned) if pinned else usage - parts.get("total_inactive_file", 0)
        left = max(0, found.get("limit", usage) - usage + parts.get("inactive_file", 0))
        return float(used), float(min(left, psutil.virtual_memory().available))

    def stop(self) -> None:
        def stop_and_remove() -> None:
            try:
                if self._state.get("Paused"):  # a frozen process does not react to signals
                    self._container.unpause()
                self._container.stop(timeout=STOP_TIMEOUT_S)
            except docker.errors.NotFound:
                return  # it is gone already, which is the goal
            _remove(self._container)

        self._ask(stop_and_remove)


def _remove(container: Container) -> None:
    """Remove a container, also if it is gone or somebody else is removing it; then wait until its name is free."""
    with suppress(docker.errors.NotFound):
        try:
            container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != HTTPStatus.CONFLICT:
                raise
            container.wait(condition="removed")

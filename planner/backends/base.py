"""The plug point: a `Backend` serves a candidate; entering returns ready servers, leaving always stops them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from planner.diagnosis import diagnose
from planner.errors import EngineError, EngineStartTimeout
from planner.space import Candidate

POLL_S = 0.5


class Instance(Protocol):
    """One started engine, ready or not."""

    @property
    def base_url(self) -> str: ...

    def is_running(self) -> bool: ...

    def log_text(self) -> str: ...

    def exit_code(self) -> int | None:
        """None while it runs."""

    def stop(self) -> None:
        """Stop it and leave nothing behind. May be called twice."""


@dataclass(frozen=True, slots=True)
class Server:
    """The ready instances of one candidate."""

    instances: Sequence[Instance]
    start_s: float
    """From launch until every instance answered /health."""

    @property
    def base_urls(self) -> list[str]:
        return [instance.base_url for instance in self.instances]

    def is_alive(self) -> bool:
        return all(instance.is_running() for instance in self.instances)

    def death(self) -> EngineError:
        """Why an instance that no longer runs died, from its log."""
        dead = next((i for i in self.instances if not i.is_running()), self.instances[0])
        return diagnose(dead.log_text(), dead.exit_code())


class Backend(Protocol):
    name: str

    def serve(self, candidate: Candidate, number: int) -> AbstractContextManager[Server]:
        """Launch trial `number`. Raises EngineError when this candidate does not serve, BackendError otherwise."""

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:
        """The argv of each instance, as `serve` would run it."""

    def clean_up(self) -> int:
        """Remove what an earlier, killed run of this study left; how many were removed."""


Start = Callable[[int], Instance]


@contextmanager
def serving(starts: Sequence[Start], timeout_s: float, log_paths: Sequence[Path]) -> Iterator[Server]:
    """Start every instance, wait until all answer, keep their logs, stop them whatever happens.

    No log paths: the instances write their logs themselves.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        instances: list[Instance] = []
        for index, start in enumerate(starts):
            instance = start(index)
            instances.append(instance)
            stack.callback(instance.stop)
            if log_paths:
                stack.callback(_keep_log, instance, log_paths[index])
        for instance in instances:
            wait_until_ready(instance, began + timeout_s)
        yield Server(tuple(instances), time.monotonic() - began)


def _keep_log(instance: Instance, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(instance.log_text(), "utf-8")


def wait_until_ready(instance: Instance, deadline: float) -> None:
    """Ready is `/health` 200 (vLLM answers only after the engine is up). Raises EngineError."""
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while True:
            if not instance.is_running():
                raise diagnose(instance.log_text(), instance.exit_code())
            try:
                if client.get(f"{instance.base_url}/health").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            if time.monotonic() > deadline:
                log = instance.log_text()
                raise EngineStartTimeout("not ready in time; see the log's end", log[-4000:])
            time.sleep(POLL_S)

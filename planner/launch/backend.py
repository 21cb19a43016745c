"""The plug point: a `Backend` serves a candidate; entering returns ready servers, leaving always stops them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from planner.benchmark import Access, Asker, NoAnswer
from planner.engine import diagnose
from planner.errors import Disturbed, EngineStartTimeout, PlannerError
from planner.launch.kept_logs import keep_log
from planner.launch.live.knobs import Knobs
from planner.study import Candidate

POLL_S = 0.5
HEALTH_TIMEOUT_S = 5.0
"""Seconds in which /health must be answered as a whole."""
REACH_ATTEMPTS = 10
"""Questions, POLL_S apart, after which an engine that runs counts as cut off."""
PORT_IN_USE = "port in use"
"""Name of a cause that `planner/engine/log/` knows."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an instance that no longer runs ended, as far as its launcher knows."""

    exit_code: int | None
    oom_killed: bool = False
    """Whether the kernel killed it for exceeding its container's memory limit."""
    disturbance: str | None = None
    """Who or what ended it from outside; None if it ended by itself."""


class EngineInstance(Protocol):
    """One started engine, ready or not."""

    @property
    def base_url(self) -> str: ...

    def is_running(self) -> bool | None:
        """Whether it runs; None if that is unknown right now. Raises BackendError if it stays unknown for long."""

    def log_text(self) -> str: ...

    def ending(self) -> Ending:
        """How an instance that no longer runs ended."""

    def stop(self) -> None:
        """Stop it and leave nothing behind. May be called twice."""


@dataclass(frozen=True, slots=True)
class Server:
    """The ready instances of one candidate."""

    instances: Sequence[EngineInstance]
    start_s: float
    """Seconds from launch until every instance answered /health."""
    knobs: Knobs | None = None
    """What turns limits of its schedulers while it serves, where it was launched for that."""

    @property
    def base_urls(self) -> list[str]:
        return [instance.base_url for instance in self.instances]

    def is_alive(self) -> bool:
        """Whether every instance runs, as far as is known now."""
        return all(instance.is_running() is not False for instance in self.instances)

    def check(self) -> None:
        """Raise the cause of death of an instance that has died, if any; waits until the state is known. One that runs
        and cannot be reached is Disturbed: a network that was cut is no setting's fault.
        """
        for instance in self.instances:
            _check_runs(instance)
        with Asker(Access(), timeout_s=HEALTH_TIMEOUT_S) as asker:
            for instance in self.instances:
                _check_reached(asker, instance)


def _check_runs(instance: EngineInstance) -> None:
    while (is_running := instance.is_running()) is None:
        time.sleep(POLL_S)
    if not is_running:
        raise death_of(instance)


def _check_reached(asker: Asker, instance: EngineInstance) -> None:
    """Ask until there is any answer; a hung engine, which takes the question and says nothing, counts as reached."""
    for attempt in range(REACH_ATTEMPTS):
        if attempt:
            time.sleep(POLL_S)
        try:
            asker.ask("GET", f"{instance.base_url}/health")
            return
        except NoAnswer as error:
            if not error.is_cut:
                return
            said = str(error)
        _check_runs(instance)
    raise Disturbed(f"it runs and cannot be reached at {instance.base_url}: {said}")


def death_of(instance: EngineInstance) -> PlannerError:
    """Why an instance ended, to be raised: EngineError from its log, or Disturbed if its settings are not at fault."""
    ending = instance.ending()
    if ending.disturbance is not None:
        return Disturbed(ending.disturbance)
    error = diagnose(instance.log_text(), ending.exit_code, ending.oom_killed)
    if error.cause == PORT_IN_USE:  # the port was free when the engine was launched
        return Disturbed(f"another process took its port: {error}")
    return Disturbed(f"{error.cause}: {error}") if error.is_outside else error


class Backend(Protocol):
    name: str

    def serve(self, candidate: Candidate, number: int, live: bool = False) -> AbstractContextManager[Server]:
        """Launch trial `number`, with knobs if `live`. Raises EngineError if it does not serve, else BackendError."""

    def commands(self, candidate: Candidate, number: int) -> list[list[str]]:
        """The argv of each instance, as `serve` would run it."""

    def clean_up(self) -> int:
        """Remove what an earlier, killed run of this study left; returns how many were removed."""


Start = Callable[[int], EngineInstance]


@contextmanager
def serving(
    starts: Sequence[Start], timeout_s: float, log_paths: Sequence[Path], knobs: Knobs | None = None
) -> Iterator[Server]:
    """Start every instance, wait until all answer, keep their logs, and stop them whatever happens.

    `timeout_s`: seconds until all must be ready. Without `log_paths` the instances write their logs themselves.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        if knobs is not None:
            stack.callback(knobs.remove)
        instances: list[EngineInstance] = []
        for index, start in enumerate(starts):
            instance = start(index)
            instances.append(instance)
            stack.callback(instance.stop)
            if log_paths:
                stack.callback(keep_log, instance.log_text, log_paths[index])
        for instance in instances:
            wait_until_ready(instance, began + timeout_s)
        yield Server(tuple(instances), time.monotonic() - began, knobs)


def wait_until_ready(instance: EngineInstance, deadline: float) -> None:
    """Wait until `/health` answers 200; vLLM answers only after the engine is up. Raises EngineError, or Disturbed."""
    with Asker(Access(), timeout_s=HEALTH_TIMEOUT_S) as asker:
        while True:
            if instance.is_running() is False:
                raise death_of(instance)
            try:
                answer = asker.ask("GET", f"{instance.base_url}/health")
                if answer.is_ok:
                    return
                said = f"status {answer.status}"
            except NoAnswer as error:
                said = str(error)  # most often: nobody listens yet
            if time.monotonic() > deadline:
                log = instance.log_text()
                raise EngineStartTimeout(f"not ready in time: /health: {said}; see the log's end", log[-4000:])
            time.sleep(POLL_S)

"""Following a load while it is sent: a `Watcher` is told of each request and asked whether to go on.

In: records and moments of a running load. Out: a reason to end it early, or None. Nothing is sent here.
"""

from __future__ import annotations

from typing import Protocol

from planner.benchmark.load.progress import Moment
from planner.benchmark.records import RequestRecord

STOPPED = "stopped"
"""Reason when the caller has seen enough; also the error of each request without an answer then."""
ENGINE_DIED = "engine died"
"""Reason, and the error of each request without an answer, when the engine is gone."""
TICK_S = 0.1
"""Seconds between two calls of `stop_reason`."""
ALIVE_S = 1.0
"""Seconds between two calls of `is_alive` while nothing fails; a broken connection makes the next tick ask."""


class Watcher(Protocol):
    """Follows one load. All methods are called in the process that called `send_load`."""

    def on_record(self, record: RequestRecord) -> None:
        """Called once for each request that has ended, in the order of the ends."""

    def on_progress(self, done: int, total: int) -> None:
        """Called after `on_record` with the number of requests that have ended and their total."""

    def stop_reason(self, moment: Moment) -> str | None:
        """Return the reason to end the load now, or None to go on. Called at every tick, so it must be quick."""

    def is_alive(self) -> bool:
        """Whether the engine still runs; False ends the load with ENGINE_DIED. May block: called from a thread."""


class SilentWatcher:
    """Lets every load run to its end; the base of watchers that need only some of the methods."""

    def on_record(self, record: RequestRecord) -> None:
        """Ignore it."""

    def on_progress(self, done: int, total: int) -> None:
        """Ignore it."""

    def stop_reason(self, moment: Moment) -> str | None:  # noqa: ARG002
        return None

    def is_alive(self) -> bool:
        return True


NO_WATCHER: Watcher = SilentWatcher()

"""How a guard reports: JSON lines in a file and on stdout, a webhook, and metrics for Prometheus on the loopback.

Reporting must never stop the guarding: a full disk, a closed pipe or a dead webhook is reported on stderr once and then
ignored.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import httpx
import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from planner.benchmark import NoAnswer, ask_server
from planner.errors import BackendError
from planner.service.guard.decisions import GuardEvent, Seen, State

WEBHOOK_TIMEOUT_S = 10.0
MOST_WAITING = 1000
"""Most events queued for the webhook; further ones are not posted."""
LOOPBACK = "127.0.0.1"

METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "planner_guard_up": ("1 while the engine serves", ("container",)),
    "planner_guard_rung": ("of the ladder; 0 is the winner", ("container",)),
    "planner_guard_rungs": ("that the ladder has", ()),
    "planner_guard_retry_seconds": ("until the next start; 0 while none is waited for", ("container",)),
    "planner_guard_start_seconds": ("from the last launch until it was healthy", ("container",)),
    "planner_guard_ttft_p95_seconds": ("time to first token of the last minute's requests", ("container",)),
    "planner_guard_token_age_seconds": ("since the engine last did anything, where it serves", ("container",)),
    "planner_guard_events_total": ("events by name", ("container", "event")),
    "planner_guard_failures_total": ("failures by kind", ("container", "kind")),
}
"""Name of a metric -> (its help text, its labels)."""


class Reporter:
    """The one place that emits events and metrics of all containers of a service."""

    def __init__(
        self, service: str, events_path: Path, rung_names: list[str], webhook: str | None, quiet: bool = False
    ) -> None:
        self._service = service
        self._path = events_path
        self._rung_names = rung_names
        self._webhook = webhook
        self._quiet = quiet
        self._queue: asyncio.Queue[tuple[str, GuardEvent, bytes] | None] = asyncio.Queue(MOST_WAITING)
        self._poster: asyncio.Task[None] | None = None
        self._complained: set[str] = set()
        self.registry = CollectorRegistry()
        self._metrics: dict[str, Gauge | Counter] = {}
        for name, (words, labels) in METRICS.items():
            kind: type[Gauge | Counter] = Counter if name.endswith("_total") else Gauge
            self._metrics[name] = kind(name, words, labels, registry=self.registry)
        self._metrics["planner_guard_rungs"].set(len(rung_names))  # type: ignore[union-attr]

    def serve_metrics(self, port: int) -> Callable[[], None]:
        """Serve metrics on the loopback, and return what ends it. Raises BackendError if the port is taken."""
        try:
            server, thread = start_http_server(port, LOOPBACK, self.registry)
        except OSError as error:
            raise BackendError(
                f"metrics port {LOOPBACK}:{port}: {error.strerror}; choose another with --metrics-port, or 0 for none"
            ) from None

        def end() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return end

    def tell(self, container: str, event: GuardEvent, log: Path | None = None) -> None:
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
            "container": container,
            "event": event.name,
            "rung": event.rung,
            "rung_name": self._rung_names[event.rung] if event.rung < len(self._rung_names) else "",
            "reason": event.reason,
            "evidence": {**event.evidence, **({} if log is None else {"log": str(log)})},
        }
        self._count("planner_guard_events_total", container, event.name)
        if event.name == "failed":
            self._count("planner_guard_failures_total", container, str(event.evidence["kind"]))
        if event.name == "serving":
            self._set("planner_guard_start_seconds", container, float(event.evidence["start_s"] or 0.0))
        line = msgspec.json.encode(record)
        self._write(lambda: _append(self._path, line), "the events file")
        if not self._quiet:
            self._write(lambda: _print(sys.stdout, line), "stdout")
        if self._webhook is not None and event.name != "webhook_failed":
            if self._poster is None:
                self._poster = asyncio.get_running_loop().create_task(self._post_all(self._webhook))
            with suppress(asyncio.QueueFull):  # the webhook has been dead for long; the file has all events
                self._queue.put_nowait((container, event, line))

    def show(self, container: str, state: State, seen: Seen, now_s: float) -> None:
        """Update the metrics that are measured rather than counted."""
        is_serving = state.phase == "serving"
        self._set("planner_guard_up", container, float(is_serving))
        self._set("planner_guard_rung", container, float(state.rung))
        wait_s = state.retry_at_s - now_s if state.phase == "down" else 0.0
        self._set("planner_guard_retry_seconds", container, max(0.0, wait_s))
        self._set("planner_guard_token_age_seconds", container, now_s - state.pulse.token_at_s if is_serving else 0.0)
        if seen.ttft_p95_s is not None:
            self._set("planner_guard_ttft_p95_seconds", container, seen.ttft_p95_s)

    async def close(self) -> None:
        """Wait for the posts under way, at most WEBHOOK_TIMEOUT_S."""
        if self._poster is not None:
            with suppress(asyncio.QueueFull):
                self._queue.put_nowait(None)
            await asyncio.wait([self._poster], timeout=WEBHOOK_TIMEOUT_S)
            self._poster.cancel()

    def complain(self, where: str, error: Exception) -> None:
        """Print an error on stderr, once for each place."""
        if where not in self._complained:
            self._complained.add(where)
            _print(sys.stderr, f"planner: {where}: {error}".encode())

    def _set(self, name: str, container: str, value: float) -> None:
        self._metrics[name].labels(container).set(value)  # type: ignore[union-attr]

    def _count(self, name: str, container: str, what: str) -> None:
        self._metrics[name].labels(container, what).inc()

    def _write(self, write: Callable[[], None], where: str) -> None:
        try:
            write()
        except OSError as error:
            self.complain(where, error)

    async def _post_all(self, url: str) -> None:
        """Post events one after the other, so that they arrive in order."""
        async with httpx.AsyncClient() as client:
            while (waiting := await self._queue.get()) is not None:
                container, event, line = waiting
                try:
                    answer = await ask_server(
                        client, "POST", url, msgspec.json.decode(line), timeout_s=WEBHOOK_TIMEOUT_S
                    )
                except NoAnswer as error:
                    what = error.kind
                else:
                    if answer.is_success:
                        continue
                    what = f"status {answer.status}"
                reason = f"{event.name}: {what}"
                self.tell(container, GuardEvent(name="webhook_failed", rung=event.rung, reason=reason))


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line + b"\n")


def _print(stream: TextIO, line: bytes) -> None:
    stream.write(line.decode() + "\n")
    stream.flush()

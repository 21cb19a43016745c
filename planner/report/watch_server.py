"""`planner watch`: looks at a study once a second and shows it as a page on the loopback, until Ctrl-C.

In: a study, a port, receivers of notifications. Out: an HTTP server with two answers, the page and its parts. Only this
machine reaches it, and only under a name of this machine, so that no page of a foreign site can read it.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from planner.errors import BackendError, PlannerError
from planner.launch import sigterm_as_interrupt
from planner.report.html.watch_page import WatchParts, rendered_parts, rendered_watch, watch_parts
from planner.report.notify import FailureNews, Notifier, Receiver
from planner.report.watch.sight import Sight, StudyWatch
from planner.study import StudySpec
from planner.terminal import make_console
from planner.trials import best_trial

LOOPBACK = "127.0.0.1"
NAMES = {"127.0.0.1", "localhost", "[::1]"}
"""Names under which a browser of this machine, or at the end of an SSH tunnel, asks."""
LOOK_S, CLOSER_S = 1.0, 3.0
"""Seconds between two looks, and between two of those that take longer."""
SPARED = 9
"""Seconds of rest for each second of a look that takes longer: else a busy machine would show everything late."""
NICE = 5
"""How much priority is given up: the load of a launch may be sent from the same cores."""
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def run_watch(
    spec: StudySpec,
    folder: Path,
    is_simulated: bool,
    storage: str | None,
    port: int,
    receivers: Sequence[Receiver] = (),
) -> None:
    """Serve until SIGINT or SIGTERM. Raises InputError without such a study, BackendError if the port is taken."""
    watch = StudyWatch(spec, folder, is_simulated, storage)
    shown = Shown(watch.look())
    server = page_server(shown, port)
    os.nice(NICE)
    notifier, news = Notifier(watch.problem, receivers), WatchNews(shown.sight)
    threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
    threading.Thread(target=_look_closer, args=(watch,), name="closer", daemon=True).start()
    try:
        with suppress(KeyboardInterrupt), sigterm_as_interrupt():
            make_console().print(
                f"watching {spec.name}: http://{LOOPBACK}:{server.server_port}/  (Ctrl-C ends it)", soft_wrap=True
            )
            while True:
                time.sleep(LOOK_S)
                shown.look(watch)
                news.tell(shown.sight, notifier)
    finally:
        server.shutdown()
        server.server_close()
        notifier.close()


def _look_closer(watch: StudyWatch) -> None:
    while True:
        began_s = time.monotonic()
        with suppress(PlannerError):  # the next look says what is wrong
            watch.look_closer()
        time.sleep(max(CLOSER_S, SPARED * (time.monotonic() - began_s)))


class Shown:
    """The latest sight of a study, and what is wrong if it cannot be read any more."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self._trouble: str | None = None

    def look(self, watch: StudyWatch) -> None:
        try:
            self.sight, self._trouble = watch.look(), None
        except PlannerError as error:
            self._trouble = f"cannot be read any more: {error}"

    def parts(self) -> WatchParts:
        parts = watch_parts(self.sight)
        return parts if self._trouble is None else replace(parts, banners=(*parts.banners, self._trouble))


def page_server(shown: Shown, port: int) -> ThreadingHTTPServer:
    """A server of the page on the loopback; port 0: any that is free. Raises BackendError if the port is taken."""

    class Answers(_PageAnswers):
        source = shown

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Answers)
    except OSError as error:
        raise BackendError(
            f"port {LOOPBACK}:{port}: {error.strerror}; choose another with --port, or 0 for any that is free"
        ) from None


class _PageAnswers(BaseHTTPRequestHandler):
    """Answers `/` and `/parts`; any other question is refused."""

    source: ClassVar[Shown]
    timeout = 10
    server_version, sys_version = "planner", ""

    def do_GET(self) -> None:
        name = self.headers.get("host", "").rpartition(":")[0] or self.headers.get("host", "")
        if name not in NAMES:
            self.send_error(403, "asked under a foreign name")
        elif self.path == "/":
            nonce = secrets.token_urlsafe(16)
            self._answer(rendered_watch(self.source.parts(), nonce), nonce)
        elif self.path == "/parts":
            self._answer(rendered_parts(self.source.parts()), "none")
        else:
            self.send_error(404, "only / is here")

    def _answer(self, text: str, nonce: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", POLICY.format(nonce=nonce))
        self.send_header("cache-control", "no-store")
        self.send_header("x-content-type-options", "nosniff")
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: the terminal is for the study."""


class WatchNews:
    """What has happened between two sights, told once. What was so when the watching began is no news."""

    def __init__(self, first: Sight) -> None:
        self._last, self._failures = first, FailureNews()
        for trial in first.trials:
            self._failures.of(first.problem, trial)
        self._may_stop = first.state.is_over

    def tell(self, sight: Sight, notifier: Notifier) -> None:
        """Tell what `sight` has that the last one had not."""
        known = {trial.number for trial in self._last.trials}
        for trial in sight.trials:
            if trial.number not in known and (words := self._failures.of(sight.problem, trial)) is not None:
                notifier.tell("launch_failed", words)
        left = sight.closer.left
        if left is not None and left.is_little and not self._may_stop and not sight.state.is_over:
            self._may_stop = True
            gain = "nothing" if not left.gain else f"{left.gain:+.1%}"
            notifier.tell("can_stop", f"you can stop: the best of all that is left is expected to give {gain}")
        if sight.state.is_over and not self._last.state.is_over:
            event = {"ended": "ended", "interrupted": "interrupted", "killed": "killed"}.get(
                sight.state.kind, "stopped"
            )
            notifier.tell(event, f"{sight.state.kind}, {sight.state.words}; {_best_words(sight)}")  # type: ignore[arg-type]
        self._last = sight


def _best_words(sight: Sight) -> str:
    best = best_trial(sight.problem, list(sight.trials))
    if best is None or best.value is None:
        return "no launch has kept every limit"
    return f"best: trial {best.number}, {sight.problem.objective.format(best.value)}"

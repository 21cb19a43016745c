"""Tells people away from the terminal: `Notifier` posts to webhooks, ntfy and Slack; `Notified` watches a session.

In: URLs and what happened. Out: posts, sent by a thread of its own. A receiver that refuses, is slow or fails is named
once on stderr: a notification never ends or delays a study. A URL may hold a secret, so only its host is ever shown.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from planner.benchmark import Access, NoAnswer, asker_of
from planner.errors import InputError, PlannerError
from planner.files import redactor
from planner.study import Candidate, Problem
from planner.trials import Trial, outcome_text
from planner.tuning import Observer, Plan, SessionObserver

TIMEOUT_S = 10.0
"""Most seconds for one post."""
PAUSES_S = (2.0, 10.0)
"""Seconds before a post that failed is tried again."""
CLOSE_S = 15.0
"""Most seconds that the command waits at its end for posts under way; the study is over and stored by then."""
MOST_WAITING = 100
"""Most notifications that wait for a receiver; further ones are dropped."""
MOST_CHARACTERS = 1500
"""Longest text of a notification: Slack takes 40 000 characters, ntfy 4096 bytes."""
Form = Literal["webhook", "ntfy", "slack"]
FORMS: dict[str, Form] = {"ntfy+": "ntfy", "slack+": "slack"}
"""Beginning of a URL that says which form its receiver takes."""
Event = Literal["ended", "interrupted", "stopped", "killed", "launch_failed", "can_stop"]
ALLOWED = (
    "allowed are http and https URLs, with ntfy+ or slack+ before them where the host does not say the form; for "
    "example https://ntfy.sh/TOPIC"
)


@dataclass(frozen=True, slots=True)
class Receiver:
    url: str
    form: Form
    host: str

    def request(self, study: str, event: Event, text: str) -> tuple[str, dict[str, Any]]:
        """URL and JSON body of a post.

        Slack: incoming webhooks take `text`. ntfy: a JSON message is posted to the root and names its topic.
        """
        if self.form == "slack":
            return self.url, {"text": f"planner, {study}: {text}"}
        if self.form == "ntfy":
            root, _, topic = self.url.rstrip("/").rpartition("/")
            return f"{root}/", {"topic": topic, "title": f"planner: {study}", "message": text}
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return self.url, {"event": event, "study": study, "text": text, "time": time}


def receiver_of(written: str) -> Receiver:
    """The receiver that a URL of --notify means. Raises InputError without the URL's path, which may be a secret."""
    prefix = next((prefix for prefix in FORMS if written.startswith(prefix)), "")
    url = written.removeprefix(prefix)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InputError(f"--notify: is no URL; {ALLOWED}") from None
    if parts.scheme not in {"http", "https"} or not host or any(char.isspace() for char in url):
        raise InputError(f"--notify: is no URL of a receiver; {ALLOWED}")
    form: Form = FORMS.get(prefix, "webhook")
    if not prefix and host == "hooks.slack.com":
        form = "slack"
    elif not prefix and host.startswith("ntfy."):
        form = "ntfy"
    if form == "ntfy" and (parts.query or len(parts.path.strip("/")) == 0):
        raise InputError(f"--notify: {host}: ntfy needs a topic, as in https://{host}/TOPIC")
    return Receiver(url, form, host)


class Notifier:
    """Posts what happens to all receivers, in order, from a thread of its own."""

    def __init__(self, problem: Problem, receivers: Sequence[Receiver]) -> None:
        self._study, self._receivers = problem.spec.name, tuple(receivers)
        self._redacted = redactor(problem.spec.engine.pass_env)
        self._waiting: queue.Queue[tuple[Event, str] | None] = queue.Queue(MOST_WAITING)
        self._complained: set[str] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._post_all, name="notify", daemon=True)
        if receivers:
            self._thread.start()

    def tell(self, event: Event, text: str) -> None:
        """Queue a notification; returns at once."""
        if self._receivers:
            with suppress(queue.Full):  # nobody has taken any for hours
                self._waiting.put_nowait((event, self._redacted(text)[:MOST_CHARACTERS]))

    def close(self) -> None:
        """Wait for the posts under way, at most CLOSE_S."""
        if not self._receivers:
            return
        self._closing.set()
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            self._complain("notifications", f"not all were taken within {CLOSE_S:g} s")

    def _post_all(self) -> None:
        while (told := self._waiting.get()) is not None:
            for receiver in self._receivers:
                self._post(receiver, *told)

    def _post(self, receiver: Receiver, event: Event, text: str) -> None:
        """Post once, and again after each of PAUSES_S while it fails; at the command's end without a pause."""
        url, body = receiver.request(self._study, event, text)
        for pause_s in (*PAUSES_S, None):
            if (fault := _fault(url, body)) is None:
                return
            if pause_s is not None:
                self._closing.wait(pause_s)
        self._complain(receiver.host, f"{event}: {fault}")

    def _complain(self, who: str, what: str) -> None:
        if who not in self._complained:
            self._complained.add(who)
            print(f"planner: notify {who}: {what}; the study goes on", file=sys.stderr, flush=True)


@contextmanager
def notified(problem: Problem, receivers: Sequence[Receiver]) -> Iterator[Notifier]:
    """A notifier while the context is open; an error that ends it is told as `stopped`."""
    notifier = Notifier(problem, receivers)
    try:
        yield notifier
    except PlannerError as error:
        notifier.tell("stopped", f"stopped: {error}")
        raise
    finally:
        notifier.close()


def _fault(url: str, body: dict[str, Any]) -> str | None:
    """Post once. Why it failed, without any part of the URL; None if it was taken."""
    try:
        with asker_of(url, Access(), TIMEOUT_S) as asker:
            answer = asker.ask("POST", url, body)
    except NoAnswer as error:
        return error.kind
    except (InputError, OSError) as error:
        return type(error).__name__
    return None if answer.is_success else f"status {answer.status}"


class FailureNews:
    """Which failed launches are news: the first of each kind of failure."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def of(self, problem: Problem, trial: Trial) -> str | None:
        """What to tell of a trial; None if it did not fail, or as one before it."""
        if trial.failure is None or trial.failure.kind in self._told:
            return None
        self._told.add(trial.failure.kind)
        return f"trial {trial.number} failed: {outcome_text(problem, trial)}; more like it are not told"


class Notified:
    """A session's observer that tells the notifier what it passes on."""

    def __init__(self, observer: SessionObserver, notifier: Notifier) -> None:
        self._observer, self._notifier, self._news = observer, notifier, FailureNews()

    def say(self, line: str) -> None:
        self._observer.say(line)

    def ended_early(self, line: str) -> None:
        self._notifier.tell("can_stop", line)
        self._observer.ended_early(line)

    @contextmanager
    def watching(self, plan: Plan, past: list[Trial], target: int, finals: int) -> Iterator[Observer]:
        def tell(trial: Trial) -> None:
            if (words := self._news.of(plan.problem, trial)) is not None:
                self._notifier.tell("launch_failed", words)

        with self._observer.watching(plan, past, target, finals) as watcher:
            yield _Telling(watcher, tell)


class _Telling:
    """Observer of launches that tells of those that end, then passes them on."""

    def __init__(self, watcher: Observer, tell: Callable[[Trial], None]) -> None:
        self._watcher, self._tell = watcher, tell

    def started(self, number: int, candidate: Candidate) -> None:
        self._watcher.started(number, candidate)

    def stage(self, stage: str, done: int, total: int) -> None:
        self._watcher.stage(stage, done, total)

    def finished(self, trial: Trial) -> None:
        self._tell(trial)
        self._watcher.finished(trial)

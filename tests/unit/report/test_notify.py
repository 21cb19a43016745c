"""Notifications: their three forms at a real receiver, and receivers that fail, which end and delay nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import planner.report.notify
from planner.errors import BackendError, InputError
from planner.report.notify import FailureNews, Notified, Notifier, notified, receiver_of
from planner.study.problem import Problem
from planner.trials.trial import Failure
from planner.tuning.plan import make_plan
from planner.tuning.session import NobodyWatches

Make = Callable[..., Problem]
Got = list[tuple[str, dict[str, Any]]]


@contextmanager
def receiving(statuses: list[int] | None = None) -> Iterator[tuple[str, Got]]:
    """A receiver on the loopback: its root, and what it got. `statuses`: its first answers; then 200."""
    got: Got = []
    left = list(statuses or [])

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(left.pop(0) if left else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner.report.notify, "PAUSES_S", (0.01, 0.01))


def test_each_form_has_its_body(make_problem: Make) -> None:
    problem = make_problem()
    with receiving() as (root, got):
        urls = (f"{root}/hook?key=1", f"ntfy+{root}/my-topic", f"slack+{root}/services/T/B/x")
        notifier = Notifier(problem, [receiver_of(url) for url in urls])
        notifier.tell("can_stop", "you can stop")
        notifier.close()
    (hook, plain), (ntfy, message), (slack, text) = got
    assert (hook, ntfy, slack) == ("/hook?key=1", "/", "/services/T/B/x")
    assert plain.pop("time")
    assert plain == {"event": "can_stop", "study": problem.spec.name, "text": "you can stop"}
    assert message == {"topic": "my-topic", "title": f"planner: {problem.spec.name}", "message": "you can stop"}
    assert text == {"text": f"planner, {problem.spec.name}: you can stop"}


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://ntfy.sh/topic", "ntfy"),
        ("http://ntfy.example:8080/topic", "ntfy"),
        ("https://hooks.example/planner", "webhook"),
    ],
)
def test_the_host_says_the_form(url: str, form: str) -> None:
    assert receiver_of(url).form == form


@pytest.mark.parametrize(
    "url",
    ["", "hooks.example/SECRETPATH", "ftp://x/SECRETPATH", "https:///SECRETPATH", "https://[SECRETPATH", "https://ntfy.sh/",
     "http://x:99999/SECRETPATH", "https://x/SECRETPATH more", "slack+SECRETPATH"],
)  # fmt: skip
def test_what_is_no_receiver_is_refused_without_its_path(url: str) -> None:
    with pytest.raises(InputError, match=r"^--notify: ") as error:
        receiver_of(url)
    assert "SECRETPATH" not in str(error.value)
    assert "https://" in str(error.value)


def test_a_receiver_that_fails_for_a_moment_is_told_again(make_problem: Make) -> None:
    with receiving([500, 503]) as (root, got):
        notifier = Notifier(make_problem(), [receiver_of(root)])
        notifier.tell("ended", "ended")
        notifier.close()
    assert len(got) == 3


def test_a_receiver_that_fails_is_named_once_and_without_its_path(
    make_problem: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    with receiving([500] * 6) as (root, got):
        notifier = Notifier(make_problem(), [receiver_of(f"{root}/SECRETPATH")])
        notifier.tell("launch_failed", "one")
        notifier.tell("ended", "two")
        notifier.close()
        assert len(got) == 6
    assert capsys.readouterr().err == "planner: notify 127.0.0.1: launch_failed: status 500; the study goes on\n"


def test_nobody_there_ends_nothing(make_problem: Make, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        with notified(make_problem(), [receiver_of(f"http://127.0.0.1:{refusing.getsockname()[1]}/x")]) as notifier:
            notifier.tell("ended", "ended")
    assert "notify 127.0.0.1: ended: Connect" in capsys.readouterr().err


def test_a_receiver_that_never_answers_delays_nothing(
    make_problem: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planner.report.notify, "CLOSE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        notifier = Notifier(make_problem(), [receiver_of(f"http://127.0.0.1:{silent.getsockname()[1]}/x")])
        for _ in range(500):
            notifier.tell("launch_failed", "returns at once, though nobody takes them")
        notifier.close()
        assert "not all were taken within 0.2 s" in capsys.readouterr().err


def test_what_a_session_says_is_told(
    make_problem: Make, launch: Callable[..., list[Any]], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    problem = make_problem()
    (trial,) = launch(problem)
    failed = Failure(kind="OutOfMemory", message="CUDA out of memory, hf_abcdefghijklmnop")
    broken = [replace(trial, number=n, outcome="failed", value=None, failure=failed) for n in (1, 2)]
    plan = make_plan(problem.spec, tmp_path, 2, "simulated")

    def run(root: str) -> None:
        with notified(problem, [receiver_of(root)]) as notifier:
            session = Notified(NobodyWatches(), notifier)
            with session.watching(plan, [], 2, 0) as watcher:
                for one in (trial, *broken):
                    watcher.finished(one)
            session.say("nobody is told of this")
            session.ended_early("stopped after 2 of 30 launches")
            raise BackendError("no Docker Engine answers")

    with receiving() as (root, got):
        with pytest.raises(BackendError):
            run(root)
        told = [(body["event"], body["text"]) for _, body in got]
    assert [event for event, _ in told] == ["launch_failed", "can_stop", "stopped"]
    assert told[0][1].startswith("trial 1 failed: ")
    assert "hf_abcdefghijklmnop" not in told[0][1]
    assert told[2][1] == "stopped: no Docker Engine answers"


def test_the_first_failure_of_each_kind_is_news(make_problem: Make, launch: Callable[..., list[Any]]) -> None:
    problem = make_problem()
    (trial,) = launch(problem)
    news = FailureNews()
    kinds = [None, "OutOfMemory", "OutOfMemory", "StartTimeout"]
    trials = [
        replace(trial, number=n, outcome="failed", value=None, failure=kind and Failure(kind=kind, message=kind))
        for n, kind in enumerate(kinds)
    ]
    assert [news.of(problem, one) is not None for one in trials] == [False, True, False, True]

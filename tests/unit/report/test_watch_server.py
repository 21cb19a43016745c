"""The page of a study under way, asked for as a browser asks; and what is told of what happens meanwhile."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from planner.errors import BackendError, InputError
from planner.files.locks import held
from planner.report.watch.sight import Closer, Sight, StudyWatch
from planner.report.watch.state import StudyState
from planner.report.watch_server import LOOPBACK, Shown, WatchNews, page_server
from planner.study.loading import load_study
from planner.trials.trial import Failure
from planner.tuning.search.watched import Left

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def watch(run: Run, study: Path, kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> StudyWatch:
    """A study of two trials that ended, in a folder of its own for each test."""
    if "watched" not in kept:
        code, _, errors = run(f"tune {study} --backend simulated --trials 2 --no-finals --quiet")
        assert code == 0, errors
        kept["watched"] = tmp_path_factory.mktemp("watched") / "simulated"
        shutil.copytree(study.parent / "simulated", kept["watched"])
    else:
        shutil.copytree(kept["watched"], study.parent / "simulated")
    return StudyWatch(load_study(study), study.parent, True, None)


@pytest.fixture
def port(watch: StudyWatch) -> Iterator[int]:
    shown = Shown(watch.look())
    server = page_server(shown, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
    try:
        connection.request(method, path, headers={} if host is None else {"host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), {k.lower(): v for k, v in answer.getheaders()}
    finally:
        connection.close()


def test_the_page_and_its_parts(port: int) -> None:
    status, page, headers = ask(port, "/")
    assert status == 200
    nonce = headers["content-security-policy"].partition("'nonce-")[2].partition("'")[0]
    assert page.count(f'<script nonce="{nonce}">') == page.count("<script") == 1
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', ""), "it names nobody to ask"
    status, parts, headers = ask(port, "/parts")
    assert status == 200
    assert parts.strip() in page
    assert headers["cache-control"] == "no-store"
    for words in ("ended", "Best so far", "Left to gain", "search 2 of 2 launches, no finals", "SIMULATED", "trial"):
        assert words in parts
    assert ask(port, "/")[2]["content-security-policy"] != ask(port, "/")[2]["content-security-policy"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "", "localhost.evil"])
def test_a_foreign_name_gets_nothing(port: int, host: str) -> None:
    status, text, _ = ask(port, "/parts", host)
    assert status == 403
    assert "Best" not in text


def test_only_the_page_is_there(port: int) -> None:
    assert ask(port, "/parts", "localhost:9478")[0] == ask(port, "/", "[::1]:1")[0] == 200
    assert ask(port, "/../study.yaml")[0] == ask(port, "/study.db")[0] == 404
    assert ask(port, "/", method="POST")[0] == 501


def test_a_taken_port_is_one_line(port: int, watch: StudyWatch) -> None:
    with pytest.raises(BackendError, match=rf"^port 127\.0\.0\.1:{port}: .*--port"):
        page_server(Shown(watch.look()), port)


def test_looking_changes_no_file(watch: StudyWatch, study: Path) -> None:
    def digests() -> dict[Path, str]:
        files = (path for path in study.parent.rglob("*") if path.is_file())
        return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = digests()
    watch.look()
    watch.look_closer()
    sight = watch.look()
    assert sight.closer.left is not None
    assert sight.closer.log_words == "the embedded simulated engine writes no log"
    assert digests() == before


def test_who_holds_the_lock_runs_it(watch: StudyWatch) -> None:
    assert watch.look().state.kind == "ended"
    with held(watch.workspace.lock_path, ""):
        assert watch.look().state.kind == "running"
    watch.workspace.session_path.unlink()
    assert watch.look().state.kind == "idle"


def test_a_study_without_trials_is_one_line(run: Run, study: Path) -> None:
    assert run(f"watch {study}") == (
        2, "", f"planner: {study.parent}: no trials yet: run planner tune first; for simulated ones add --simulated\n",
    )  # fmt: skip
    code, _, errors = run("watch nowhere.yaml")
    assert (code, errors.count("\n")) == (2, 1)


def test_a_foreign_database_is_one_line(study: Path) -> None:
    other = study.parent / "other.db"

    with closing(sqlite3.connect(other)) as database:
        database.execute("create table mine (a int)")
    with pytest.raises(InputError, match="a database of something else"):
        StudyWatch(load_study(study), study.parent, False, f"sqlite:///{other}")


def test_a_storage_that_goes_away_is_said_and_the_last_sight_kept(watch: StudyWatch, study: Path) -> None:
    shown = Shown(watch.look())
    (study.parent / "simulated" / "study.db").unlink()
    shown.look(watch)
    (banner,) = (words for words in shown.parts().banners if "cannot be read" in words)
    assert banner.endswith("study.db: is gone")
    assert "Best so far" in [tile.name for tile in shown.parts().tiles]


class Remembers:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def tell(self, event: str, text: str) -> None:
        self.told.append((event, text))


def test_news_are_told_once(watch: StudyWatch) -> None:
    first: Sight = replace(watch.look(), state=StudyState("running", "a planner runs it"))
    notifier: Any = Remembers()
    news = WatchNews(first)
    news.tell(first, notifier)
    assert notifier.told == []
    failure = Failure(kind="Hang", message="no")
    failed = replace(first.trials[0], number=9, outcome="failed", value=None, failure=failure)
    second = replace(first, trials=(*first.trials, failed), closer=Closer(left=Left(0.001, is_little=True)))
    for _ in range(2):
        news.tell(second, notifier)
    gone = replace(second, state=StudyState("killed", "planner (pid 4 on box) is gone"))
    for _ in range(2):
        news.tell(gone, notifier)
    assert [event for event, _ in notifier.told] == ["launch_failed", "can_stop", "killed"]
    assert notifier.told[1][1].endswith("expected to give +0.1%")
    assert notifier.told[2][1].startswith("killed, planner (pid 4 on box) is gone; best: trial ")

"""Storages that are another program's, missing, locked or named with a password: untouched, waited for, never shown."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from planner.errors import InputError
from planner.study.problem import Problem
from planner.tuning.search.claims import shown, without_secrets
from planner.tuning.search.search import Search
from planner.tuning.search.store import StudyStore
from tests.forecasts import forecast_of

FOREIGN = {
    "books": "create table books(title text)",
    "studies of another kind": "create table studies(id integer, title text)",
    "studies among others": "create table studies(id integer); create table clients(name text)",
    "Optuna's names with others' columns": "create table studies(id integer); create table trials(id integer)",
}


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("creates", [True, False])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_database_stays_as_it_is(
    make_problem: Callable[..., Problem], tmp_path: Path, kind: str, creates: bool
) -> None:
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as database:
        database.executescript(FOREIGN[kind])
    before = digest(tmp_path)
    with pytest.raises(InputError, match="a database of something else, with tables "):
        StudyStore(make_problem(), f"sqlite:///{tmp_path}/foreign.db", creates=creates)
    assert digest(tmp_path) == before


def test_reading_makes_no_database_and_no_study(make_problem: Callable[..., Problem], tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/study.db"
    with pytest.raises(InputError, match="there is no such file"):
        StudyStore(make_problem(), storage, creates=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "study.db").touch()
    with pytest.raises(InputError, match="has no study yet"):
        StudyStore(make_problem(), storage, creates=False)
    assert (tmp_path / "study.db").read_bytes() == b""
    StudyStore(make_problem(name="first"), storage)
    before = digest(tmp_path)
    with pytest.raises(InputError, match="has no study 'second'; it has: first"):
        StudyStore(make_problem(name="second"), storage, creates=False)
    assert StudyStore(make_problem(name="first"), storage, creates=False).trials() == []
    assert digest(tmp_path) == before


def test_an_interrupted_creation_is_finished(make_problem: Callable[..., Problem], tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    Search.open(forecast_of(make_problem()), f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        database.executescript("drop table trial_heartbeats")
    assert StudyStore(make_problem(), f"sqlite:///{path}").trials() == []


def test_a_locked_file_is_waited_for(make_problem: Callable[..., Problem], tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    StudyStore(make_problem(), f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    holder.execute("begin exclusive")
    timer = threading.Timer(6.0, lambda: holder.execute("rollback"))  # SQLite itself gives up after 5 s
    timer.start()
    try:
        assert StudyStore(make_problem(), f"sqlite:///{path}").trials() == []
    finally:
        timer.join()
        holder.close()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://canary:canary@host/study",
        "postgresql+psycopg://host/study?user=u&password=canary",
        "postgresql+psycopg://u:half@canary@host/study",
        "sqlite:///study.db?key=canary",
    ],
)
def test_no_part_of_a_url_that_may_be_secret_is_shown(url: str) -> None:
    assert "canary" not in shown(url)
    error = sqlalchemy.exc.OperationalError("connect", {}, Exception(f"cannot resolve canary of {url}"))
    assert "canary" not in without_secrets(error, url)

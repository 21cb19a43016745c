"""A PostgreSQL server of its own for a test: `with postgresql() as url`.

Its folder is not one of pytest's: those are root's own, and become so again whenever another pytest begins.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy

from tests.gears import is_missing
from tests.integration.studies import free_port

INSTALLED = Path("/usr/lib/postgresql")


def _program(name: str) -> str:
    found = shutil.which(name) or next(map(str, sorted(INSTALLED.glob(f"*/bin/{name}"), reverse=True)), None)
    if found is None:
        is_missing(f"{name} of PostgreSQL is not installed")
    return found


def _user() -> str | None:
    """It refuses to run as root."""
    return "postgres" if os.getuid() == 0 else None


@contextmanager
def postgresql() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="planner-postgresql-") as folder, _serving(Path(folder)) as url:
        yield url


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    data, port, user = folder / "data", free_port(), _user()
    data.mkdir()
    if user is not None:
        for own in (folder, data):
            os.chown(own, pwd.getpwnam(user).pw_uid, -1)
    run = {"check": True, "user": user, "cwd": "/", "stdout": subprocess.DEVNULL, "timeout": 600}
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "planner", "-N"], **run)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    subprocess.run([pg_ctl, "-D", data, "-w", "-l", data / "log", "-o", options, "start"], **run)
    try:
        yield f"postgresql+psycopg://planner@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([pg_ctl, "-D", data, "-w", "-m", "immediate", "stop"], **run)


@contextmanager
def away(url: str, seconds: float | None) -> Iterator[None]:
    """Stop the server, as a crash does, and start it again after these seconds; None: when the context ends."""
    pg_ctl, run = _program("pg_ctl"), {"check": True, "user": _user(), "cwd": "/", "timeout": 600}
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        data = connection.execute(sqlalchemy.text("show data_directory")).scalar_one()
    engine.dispose()
    quiet = {**run, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([pg_ctl, "-D", data, "-w", "-m", "immediate", "stop"], **quiet)
    again = [pg_ctl, "-D", data, "-w", "-l", f"{data}/log", "restart"]  # with the options of before
    timer = threading.Timer(seconds or 0.0, lambda: subprocess.run(again, **quiet))
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        if seconds is None:
            timer.start()
        timer.join()

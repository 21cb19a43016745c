"""`Claims`: which planner works on which trial of a study. One planner on SQLite, or several on a PostgreSQL server.

A planner about to take a trial is `alone` for that moment: it holds an advisory lock of the server, which ends with
its connection. While it has trials it writes the server's time beside each. Another planner that finds this time older
than `LOST_AFTER_S` takes the trial over. Only the server's clock counts, so the hosts' clocks may differ.

Source: PostgreSQL, Explicit Locking, advisory locks; Gray & Cheriton 1989, Leases.
"""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from urllib.parse import unquote

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from planner.errors import BackendError, InputError, in_short
from planner.tuning.search.patience import connection_limits, wait_for
from planner.version import install_hint

BEAT_S = 5.0
"""Seconds between two signs of life."""
LOST_AFTER_S = 40.0
"""Seconds without a sign of life after which a planner counts as dead. If it was only cut off, it loses its trial."""


def is_shared(url: str | None) -> bool:
    """Whether several planners may use this storage at once. Raises InputError for a storage that is not supported."""
    if url is None:
        return False
    try:
        kind = sqlalchemy.make_url(url).get_backend_name()
    except SQLAlchemyError:
        raise InputError(
            f"storage {url[:100]}: cannot be opened: no URL; write sqlite:///FILE or postgresql+psycopg://..."
        ) from None
    except ValueError:  # which sqlalchemy lets pass
        scheme = url.partition(":")[0][:100]
        raise InputError(f"storage {scheme}: cannot be opened: the URL's port is no number") from None
    if kind not in {"sqlite", "postgresql"}:
        raise InputError(
            f"storage {shown(url)}: cannot be opened: allowed: sqlite (one machine), postgresql+psycopg (several)"
        )
    return kind == "postgresql"


def shown(url: str | None) -> str:
    """A storage's URL to show to people: without user, password and query, each of which may hold a secret."""
    if url is None:
        return "in memory"
    try:
        parsed = sqlalchemy.make_url(url)
    except (SQLAlchemyError, ValueError):
        return "no URL"
    host = None if parsed.host is None else parsed.host.rpartition("@")[2]  # of a password with an @ that is not quoted
    plain = sqlalchemy.URL.create(parsed.drivername, host=host, port=parsed.port, database=parsed.database)
    return plain.render_as_string()


def without_secrets(error: BaseException, url: str | None) -> str:
    """A driver's error in short, without what it may quote of the URL's user, password and query."""
    text = in_short(error)
    address, _, query = (url or "").partition("?")
    user_info = address.partition("://")[2].rpartition("@")[0]
    for piece in sorted(re.split(r"[:@&=/]", f"{user_info}&{query}"), key=len, reverse=True):
        if len(piece) > 2:
            text = text.replace(piece, "***").replace(unquote(piece), "***")
    return text


class Claims:
    def __init__(self, url: str | None, study: str, beat: Callable[[int, float], None]) -> None:
        """`beat(trial id, server time)` writes a sign of life. Raises InputError for a storage of another kind."""
        self.owner = uuid.uuid4().hex
        """Owner id written to the trials that this planner takes."""
        self.is_shared = is_shared(url)
        self._beat = beat
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._key = int.from_bytes(hashlib.blake2b(study.encode(), digest_size=8).digest(), "big", signed=True)
        self._url = url
        self._is_patient = False
        if self.is_shared and url is not None:
            try:
                limits = {**connection_limits(sqlalchemy.make_url(url))}
                limits.pop("options", None)  # another planner may do for hours what is done `alone_for`
                self._engine = sqlalchemy.create_engine(
                    url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, connect_args=limits
                )
            except ImportError as error:
                raise InputError(f"storage {shown(url)}: needs {error.name}: {install_hint('postgresql')}") from None

    def alone(self) -> AbstractContextManager[None]:
        """Context in which no other planner takes a trial. Raises BackendError if the server is lost."""
        return self._locked(self._key) if self.is_shared else nullcontext()

    def alone_for(self, what: str) -> AbstractContextManager[None]:
        """Context in which no other planner does `what`. It may be long: other planners still take trials meanwhile."""
        return self._locked(self._key ^ (1 + sum(what.encode()))) if self.is_shared else nullcontext()

    @contextmanager
    def _locked(self, key: int) -> Iterator[None]:
        try:
            connection = self._engine.connect()
            if not self._is_patient:  # the server was there: from now on it may be away for a while
                wait_for(self._engine)
                self._is_patient = True
            connection.execute(sqlalchemy.text("select pg_advisory_lock(:key)"), {"key": key})
        except SQLAlchemyError as error:
            words = without_secrets(error, self._url)
            raise BackendError(f"storage {shown(self._url)}: does not answer: {words}") from None
        try:
            yield
        finally:
            connection.invalidate()  # releases the lock, whatever happened to the server
            connection.close()

    def now(self) -> float:
        """Server time, in seconds since 1970."""
        with self._engine.connect() as connection:
            return float(connection.execute(sqlalchemy.text("select extract(epoch from now())")).scalar_one())

    def hold(self, trial_id: int) -> None:
        """Give signs of life for a trial from now on. The first is written before this returns."""
        if not self.is_shared:
            return
        self._beat(trial_id, self.now())
        with self._lock:
            self._held.add(trial_id)
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep_beating, name="signs of life", daemon=True)
            self._thread.start()

    def let_go(self, trial_id: int) -> None:
        with self._lock:  # no beat is on its way when this returns
            self._held.discard(trial_id)

    def is_lost(self, last_sign: float | None, now: float) -> bool:
        return last_sign is None or now - last_sign > LOST_AFTER_S

    def _keep_beating(self) -> None:
        pause = threading.Event()
        while not pause.wait(BEAT_S):
            try:
                now = self.now()
                with self._lock:
                    for trial_id in self._held:
                        self._beat(trial_id, now)
            except (SQLAlchemyError, BackendError):
                continue  # the server is briefly unreachable; the next sign may reach it

"""Who works on which trial of a study: `Claims`. One planner alone on SQLite, or several on one PostgreSQL server.

A planner that is about to take a trial is `alone` for that moment: it holds an advisory lock of the server, which ends
with its connection. While it has trials it writes the server's time beside each; who finds that time older than
`LOST_AFTER_S` takes the trial over. Only the server's clock counts, so those of the hosts may differ.

Source: PostgreSQL, Explicit Locking, advisory locks; Gray & Cheriton 1989, Leases.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from planner.errors import BackendError, InputError, in_short

BEAT_S = 5.0
"""Between two signs of life."""
LOST_AFTER_S = 40.0
"""A planner that gave no sign for so long is dead; one that was only cut off finds its trial with somebody else."""


def is_shared(url: str | None) -> bool:
    """Whether several planners may use this storage at once. Raises InputError for one we cannot share or keep."""
    if url is None:
        return False
    try:
        kind = sqlalchemy.make_url(url).get_backend_name()
    except SQLAlchemyError:
        raise InputError(
            f"storage {url[:100]}: cannot be opened: no URL; write sqlite:///FILE or postgresql+psycopg://..."
        ) from None
    if kind not in {"sqlite", "postgresql"}:
        raise InputError(
            f"storage {shown(url)}: cannot be opened: allowed: sqlite (one machine), postgresql+psycopg (several)"
        )
    return kind == "postgresql"


def shown(url: str | None) -> str:
    """A storage's URL without its password."""
    if url is None:
        return "in memory"
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "no URL"


class Claims:
    def __init__(self, url: str | None, study: str, beat: Callable[[int, float], None]) -> None:
        """`beat(trial id, server time)` writes a sign of life. Raises InputError for a storage of another kind."""
        self.owner = uuid.uuid4().hex
        """Of the trials that this planner takes."""
        self.is_shared = is_shared(url)
        self._beat = beat
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._key = int.from_bytes(hashlib.blake2b(study.encode(), digest_size=8).digest(), "big", signed=True)
        self._shown = shown(url)
        if self.is_shared and url is not None:
            try:
                self._engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
            except ImportError as error:
                raise InputError(
                    f"storage {self._shown}: needs {error.name}: pip install 'planner[postgresql]'"
                ) from None

    def alone(self) -> AbstractContextManager[None]:
        """No other planner takes a trial meanwhile. Raises BackendError when the server is lost."""
        return self._locked(self._key) if self.is_shared else nullcontext()

    def alone_for(self, what: str) -> AbstractContextManager[None]:
        """The same for something longer than taking a trial, which goes on meanwhile."""
        return self._locked(self._key ^ (1 + sum(what.encode()))) if self.is_shared else nullcontext()

    @contextmanager
    def _locked(self, key: int) -> Iterator[None]:
        try:
            connection = self._engine.connect()
            connection.execute(sqlalchemy.text("select pg_advisory_lock(:key)"), {"key": key})
        except SQLAlchemyError as error:
            raise BackendError(f"storage {self._shown}: does not answer: {in_short(error)}") from None
        try:
            yield
        finally:
            connection.invalidate()  # the lock goes with it, whatever happened to the server
            connection.close()

    def now(self) -> float:
        """Seconds since 1970 by the server's clock."""
        with self._engine.connect() as connection:
            return float(connection.execute(sqlalchemy.text("select extract(epoch from now())")).scalar_one())

    def hold(self, trial_id: int) -> None:
        """Give signs of life for it from now on, the first before this returns."""
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
                continue  # the server is away for a moment; the next sign may reach it

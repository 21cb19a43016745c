"""Wait for a database server that is away for a while, or that holds what is asked: `connection_limits`, `wait_for`.

In: a storage's URL, SQLAlchemy's engine of it. Out: connections that notice a dead server, and are made again while it
is away for less than WAIT_S. Knows nothing of studies.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
from sqlalchemy import event

WAIT_S = 120
"""Seconds that a locked storage, or a server that does not answer, is waited for; as for an absent Docker Engine."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
_LIBPQ = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
    "options": f"-c lock_timeout={WAIT_S * 1000}",
}
"""Parameters of libpq (PostgreSQL, Database Connection Control Functions): a host that is cut off is noticed within a
minute, a lock of another program is waited for as long as a locked file."""


def connection_limits(url: sqlalchemy.URL) -> Mapping[str, Any]:
    """Keywords of the driver's connect; what the URL itself says stays as it is."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": WAIT_S}
    if url.get_driver_name() not in {"psycopg", "psycopg2"}:
        return {}
    return {name: value for name, value in _LIBPQ.items() if name not in url.query}


def wait_for(engine: sqlalchemy.Engine) -> None:
    """Make later connections of the engine wait for its server; the first, made before, tells a wrong URL at once."""

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, words: Sequence[Any], names: Mapping[str, Any]) -> Any:
        deadline, pause = time.monotonic() + WAIT_S, FIRST_PAUSE_S
        while True:
            try:
                return dialect.connect(*words, **names)
            except dialect.loaded_dbapi.OperationalError:
                if time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

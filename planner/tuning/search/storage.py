"""Optuna's storage, opened: `created` makes what is missing, `found` never writes; neither touches a foreign one.

In: a storage URL, a study's name. Out: Optuna's study, or one InputError without a password. `claims.py` says who works
on what in a shared one, `store.py` what is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
import sqlalchemy
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from planner.errors import BackendError, InputError
from planner.tuning.search.claims import shown, without_secrets
from planner.tuning.search.patience import connection_limits, wait_for

TABLES = {
    "alembic_version", "studies", "study_directions", "study_system_attributes", "study_user_attributes",
    "trial_heartbeats", "trial_intermediate_values", "trial_params", "trial_system_attributes",
    "trial_user_attributes", "trial_values", "trials", "version_info",
}  # fmt: skip
"""Optuna's tables (optuna@5.0 storages/_rdb/models.py); a planner that was killed may have left some of them only."""
STUDY_COLUMNS = {"study_id", "study_name"}


def created(
    storage: str | None, name: str, direction: Literal["maximize", "minimize"], alone: AbstractContextManager[None]
) -> optuna.Study:
    """The study, created if there is none. Raises InputError for a storage that cannot be opened or is foreign,
    BackendError for a server that does not answer.

    `alone`: context in which no other planner creates tables.
    """
    with _told(storage), alone:
        if storage is not None:
            _refuse_foreign(storage)
        return optuna.create_study(
            study_name=name,
            storage=None if storage is None else _rdb(storage),
            direction=direction,
            load_if_exists=True,
        )


def found(storage: str, name: str) -> optuna.Study:
    """The stored study; nothing is created or changed. Raises InputError if there is no such storage or study."""
    with _told(storage):
        path = _file_of(storage)
        if path is not None and not path.exists():
            raise InputError(f"storage {shown(storage)}: there is no such file")
        if not _refuse_foreign(storage):
            raise InputError(f"storage {shown(storage)}: has no study yet: run planner tune first")
        rdb = _rdb(storage, creates=False)
        names = optuna.get_all_study_names(rdb)
        if name not in names:
            known = ", ".join(sorted(names)[:5]) or "none"
            raise InputError(f"storage {shown(storage)}: has no study {name!r}; it has: {known}")
        return optuna.load_study(study_name=name, storage=rdb)


@contextmanager
def storage_kept(storage: str) -> Iterator[None]:
    """Raise BackendError if the storage cannot be read or written, as on a full disk: it is no fault of a trial."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise BackendError(_lost(storage, error)) from None
    except FileNotFoundError as error:
        if not _is_gone(storage):
            raise
        raise BackendError(_lost(storage, error)) from None


def _is_gone(storage: str) -> bool:
    path = _file_of(storage)
    return path is not None and not path.exists()


def _lost(storage: str, error: Exception) -> str:
    """The words for a storage that failed while it was in use."""
    if _is_gone(storage):
        return f"the study's storage: {_file_of(storage)} is gone, deleted or moved meanwhile; what it held is lost"
    causes = (getattr(cause, "orig", None) for cause in (error, error.__cause__, error.__context__))
    words = without_secrets(next((cause for cause in causes if cause is not None), error), storage)
    return f"the study's storage: {words}; finished trials are kept: mend that, then the same command continues"


def _rdb(storage: str, *, creates: bool = True) -> optuna.storages.RDBStorage:
    rdb = optuna.storages.RDBStorage(storage, engine_kwargs=_patient(storage), skip_table_creation=not creates)
    if _file_of(storage) is None:
        wait_for(rdb.engine)
    return rdb


def _patient(storage: str) -> dict[str, Any]:
    """Keywords of SQLAlchemy's engine that make it wait for a lock, and notice a server that went away."""
    url = sqlalchemy.make_url(storage)
    return {"connect_args": dict(connection_limits(url)), "pool_pre_ping": url.get_backend_name() != "sqlite"}


@contextmanager
def _told(storage: str | None) -> Iterator[None]:
    """Raise InputError, without a password, for whatever the storage's drivers say while it is opened."""
    try:
        yield
    except RuntimeError as error:  # tables of another Optuna version; its message says what to do
        words = str(error).replace("$STORAGE_URL", shown(storage))
        raise InputError(f"storage {shown(storage)}: {words}") from None
    except OperationalError as error:
        words = without_secrets(error, storage)
        if "readonly database" in words and _is_gone(storage or "sqlite://"):
            raise BackendError(_lost(storage or "sqlite://", error)) from None
        if storage is not None and _file_of(storage) is None:
            raise BackendError(f"storage {shown(storage)}: does not answer: {words}") from None
        raise InputError(f"storage {shown(storage)}: cannot be opened: {words}") from None
    except optuna.exceptions.StorageInternalError as error:
        raise BackendError(_lost(storage or "sqlite://", error)) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, ValueError) as error:
        raise InputError(f"storage {shown(storage)}: cannot be opened: {without_secrets(error, storage)}") from None


def _file_of(storage: str) -> Path | None:
    """Path of an SQLite storage's file; None for a server, and for a database in memory."""
    url = sqlalchemy.make_url(storage)
    is_file = url.get_backend_name() == "sqlite" and url.database and not url.database.startswith((":", "file:"))
    return Path(str(url.database)) if is_file else None


def _refuse_foreign(storage: str) -> bool:
    """Whether Optuna's tables are there. Raises InputError for another program's, which stay alone."""
    engine = sqlalchemy.create_engine(storage, **_patient(storage))
    try:
        inspector = sqlalchemy.inspect(engine)
        tables = set(inspector.get_table_names())
        columns = {column["name"] for column in inspector.get_columns("studies")} if "studies" in tables else set()
    finally:
        engine.dispose()
    is_whole = tables >= TABLES and columns >= STUDY_COLUMNS
    is_begun = tables <= TABLES and (not columns or columns >= STUDY_COLUMNS)
    if not is_whole and not is_begun:
        words = ", ".join(sorted(tables)[:5])
        raise InputError(f"storage {shown(storage)}: a database of something else, with tables {words}")
    return is_whole

"""The store's database: engine, transactions, errors of our family."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, NullPool, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from opendt.errors import ConfigError, OpenDTError, TerminalError, TransientError
from opendt.lake.retry import READ_ONLY
from opendt.lake.unwritable import complete_but_unwritable
from opendt.settings import Settings
from opendt.store.models import Base

STORE_FILE = "store.sqlite"


def store_url(settings: Settings) -> str:
    """The SQLAlchemy address of the store: the setting, or SQLite beside the lake."""
    return settings.store.url or f"sqlite:///{Path(settings.lake.path).absolute() / STORE_FILE}"


def open_engine(settings: Settings, *, read_only: bool) -> Engine:
    """An engine whose tables exist.

    A SQLite store that is not there yet is read as an empty one, without creating it.

    Raises ``ConfigError`` for an address that makes no sense, ``TransientError`` for a server that does not answer.
    """
    try:
        url = make_url(store_url(settings))
        if url.get_backend_name() == "sqlite":
            return _sqlite(Path(url.database or ":memory:"), read_only, settings.lake.busy_timeout_ms)
        engine = create_engine(url, pool_pre_ping=True)
    except OSError as error:
        raise ConfigError(
            f"setting store.url: cannot make the store's folder ({error}).", setting="store.url"
        ) from None
    except (ImportError, ValueError, ArgumentError) as error:
        raise ConfigError(f"setting store.url: {error}.", setting="store.url") from None
    with reported():
        Base.metadata.create_all(engine)
    return engine


def _sqlite(file: Path, read_only: bool, busy_timeout_ms: int) -> Engine:
    missing = str(file) == ":memory:" or (read_only and not file.exists())
    if missing:
        engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    elif read_only and complete_but_unwritable(file):
        return _unchanging(file)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": busy_timeout_ms / 1_000})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    with reported():
        Base.metadata.create_all(engine)
    return engine


def _unchanging(file: Path) -> Engine:
    """An engine on a file in a folder that cannot be written: SQLite is told that nobody else changes it either."""
    address = f"{file.absolute().as_uri()}?immutable=1"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _on_begin(connection: Connection) -> None:
    """A transaction that will write says so at once: SQLite does not wait for a reader that turns writer."""
    writes = connection.get_execution_options().get("writes", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def session(engine: Engine, *, writes: bool) -> Iterator[Session]:
    """A session in one transaction, committed at the end of the block."""
    with reported(), Session(engine.execution_options(writes=writes), expire_on_commit=False) as opened, opened.begin():
        yield opened


@contextmanager
def reported() -> Iterator[None]:
    """Turn database errors into ours: transient where waiting may help."""
    try:
        yield
    except OpenDTError:
        raise
    except IntegrityError as error:
        raise TransientError(
            f"the store refused a change made at the same moment ({_line(error)}). Try again."
        ) from error
    except OperationalError as error:
        if any(part in str(error.orig).lower() for part in READ_ONLY):
            raise TerminalError(
                f"the store's folder cannot be written ({_line(error)}). Make it writable, or set store.url."
            ) from error
        raise TransientError(f"the store is locked or does not answer ({_line(error)}). Try again.") from error
    except DBAPIError as error:
        raise TerminalError(f"the store cannot be used: {_line(error)}") from error


def _line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__

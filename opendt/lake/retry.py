"""Waiting for other writers: which errors pass by themselves, how long to back off, one lock per folder."""

from __future__ import annotations

import fcntl
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

import duckdb

from opendt.errors import LakeBusyError, LakeError, OpenDTError

Result = TypeVar("Result")

_PASSING = (
    "database is locked",
    "database table is locked",
    "transaction conflict",
    "conflict on",
    "exceeded the maximum retry count",
    "could not serialize access",
    "deadlock detected",
    "duplicate key value violates unique constraint",
    "unique constraint failed: ducklake_",
    "connection refused",
    "server closed the connection",
    "the database system is starting up",
    "too many clients",
)

# What SQLite says where it may not write; also when reading, as it has to make files beside the catalogue.
READ_ONLY = ("unable to open database file", "attempt to write a readonly database")
_READ_ONLY_HINT = "Make the lake's folder writable, or name another one with --lake."


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed later: another writer got in first, or the server is away."""
    text = str(error).lower()
    return isinstance(error, LakeBusyError) or (
        isinstance(error, duckdb.Error) and any(part in text for part in _PASSING)
    )


def cannot_write(error: duckdb.Error) -> bool:
    """Whether the catalogue or its folder cannot be written."""
    return any(part in str(error).lower() for part in READ_ONLY)


def as_lake_error(error: duckdb.Error, what: str) -> OpenDTError:
    """The error of our family for one of DuckDB's: ``LakeBusyError`` where waiting may help, else ``LakeError``."""
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if is_passing(error):
        return LakeBusyError(f"{what}: another writer holds the catalogue ({first_line}). Try again.")
    if cannot_write(error):
        return LakeError(f"{what}: its folder cannot be written ({first_line}). {_READ_ONLY_HINT}")
    return LakeError(f"{what}: {first_line}")


def retrying(
    action: Callable[[], Result],
    *,
    attempts: int,
    what: str,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> Result:
    """The result of ``action``, called again after a pause while its error is a passing one.

    Pauses double from 10 ms to 1 s, each scaled by a random factor from 0.5 to 1 so that writers drift apart.

    Raises:
        LakeBusyError: still in the way after ``attempts`` calls. Facts: ``attempts``.
        LakeError: DuckDB refused for a reason that stays.
    """
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except (duckdb.Error, LakeBusyError) as error:
            if isinstance(error, duckdb.Error) and not is_passing(error):
                raise as_lake_error(error, what) from error
            if attempt == attempts:
                raise LakeBusyError(
                    f"{what}: other writers were in the way {attempts} times in a row. Try again, or raise "
                    "lake.commit_attempts or lake.busy_timeout_ms.",
                    attempts=attempts,
                ) from error
            sleep(min(1.0, 0.01 * 2**attempt) * (0.5 + 0.5 * jitter()))
    raise AssertionError("attempts must be at least 1")


@contextmanager
def folder_lock(folder: Path, timeout_ms: int) -> Iterator[None]:
    """Hold the writers' lock of a lake folder, so that commits queue up instead of colliding.

    SQLite refuses a reader that wants to become a writer while another one writes, without waiting; one lock around
    each short write transaction avoids that. The system releases it when the process dies.

    Raises ``LakeBusyError`` after ``timeout_ms`` [ms], ``LakeError`` where the folder cannot be written.
    """
    deadline = time.monotonic() + timeout_ms / 1_000
    with _lock_file(folder) as file:
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise LakeBusyError(f"{folder}: another writer holds the lake for more than {timeout_ms} ms.")
            time.sleep(0.001 + 0.004 * random.random())
        yield


def _lock_file(folder: Path) -> IO[str]:
    try:
        return open(folder / ".writers.lock", "a")
    except OSError as error:
        raise LakeError(f"{folder}: the lake cannot be written ({error.strerror}). {_READ_ONLY_HINT}") from None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

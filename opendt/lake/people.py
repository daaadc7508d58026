"""SQL of people's: read-only, one statement, bounded in rows, time and memory, without a way out of the lake.

``ReadOnlySession`` stops a statement by interrupting it, which DuckDB notices between chunks of rows. Where that is
not enough, because strangers send statements, ``opendt.lake.sql_process`` runs the session in a process it can kill.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

import duckdb
import pyarrow as pa

from opendt.errors import LakeBusyError
from opendt.lake.commits import connect_complete
from opendt.lake.connection import NAME, data_path, quote
from opendt.lake.retry import is_passing
from opendt.lake.statements import StatementError, check_statement
from opendt.settings import LakeSettings


class StatementTimeoutError(StatementError):
    """A statement took longer than it may. Facts: ``timeout_s``."""


class StatementMemoryError(StatementError):
    """A statement needs more memory than it may have."""


class StatementCancelledError(StatementError):
    """Whoever asked for a statement no longer waits for it."""


@dataclass(frozen=True, slots=True)
class SqlResult:
    """Rows of a statement; ``truncated`` when there were more than ``max_rows``."""

    table: pa.Table
    truncated: bool
    elapsed_s: float


class ReadOnlySession:
    """A locked-down connection that can run many statements, one at a time.

    ``as_of`` shows the lake as it was at a snapshot or a moment.
    """

    def __init__(self, settings: LakeSettings, *, as_of: int | datetime | None = None) -> None:
        self._settings = settings
        self._connection = connect_complete(settings, as_of=as_of, threads=2)
        try:
            _lock_down(self._connection, settings)
        except BaseException:
            self._connection.close()
            raise
        self._cancelled = False
        self._deadline = 0.0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> ReadOnlySession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tables(self) -> frozenset[str]:
        """Names of the lake's tables and views, in lower case."""
        rows = self._connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = $1 AND schema_name = 'main' "
            "UNION ALL SELECT view_name FROM duckdb_views() WHERE database_name = $1 AND schema_name = 'main'",
            [NAME],
        ).fetchall()
        return frozenset(row[0].lower() for row in rows)

    def cancel(self) -> None:
        """Stop the statement under way, from another thread."""
        self._cancelled = True
        self._connection.interrupt()

    def run(self, sql: str, *, max_rows: int | None = None, timeout_s: float | None = None) -> SqlResult:
        """Run one statement.

        Args:
            max_rows: most rows returned; ``lake.sql_max_rows`` when None.
            timeout_s: longest time [s]; ``lake.sql_timeout_s`` when None.

        Raises:
            StatementError: malformed, not allowed, or too hungry. ``StatementTimeoutError`` when too slow.
            LakeBusyError: the catalogue is locked.
        """
        max_rows = self._settings.sql_max_rows if max_rows is None else max_rows
        timeout_s = self._settings.sql_timeout_s if timeout_s is None else timeout_s
        started = time.monotonic()
        self._cancelled = False
        self._deadline = started + timeout_s
        finished = threading.Event()
        watch = threading.Thread(target=self._interrupt_late, args=(finished,), daemon=True)
        watch.start()
        try:
            statement = check_statement(self._connection, sql, self.tables)
            found = self._connection.execute(f"SELECT * FROM (\n{statement}\n) LIMIT {max_rows + 1}").to_arrow_table()
        except duckdb.Error as error:
            raise self._as_ours(error, timeout_s) from None
        finally:
            finished.set()
            watch.join()
        return SqlResult(found.slice(0, max_rows), found.num_rows > max_rows, time.monotonic() - started)

    def _interrupt_late(self, finished: threading.Event) -> None:
        """Interrupt at the deadline, and again until the statement has noticed."""
        while not finished.wait(0.05 if self._late() else self._deadline - time.monotonic()):
            self._connection.interrupt()

    def _late(self) -> bool:
        return time.monotonic() >= self._deadline

    def _as_ours(self, error: duckdb.Error, timeout_s: float) -> Exception:
        if self._cancelled:
            return StatementCancelledError("the statement was cancelled.")
        if isinstance(error, duckdb.InterruptException) or self._late():
            return StatementTimeoutError(
                f"the statement took longer than {timeout_s:g} s. Ask for less, or filter by run_id and time.",
                timeout_s=timeout_s,
            )
        if is_passing(error):
            return LakeBusyError("another writer holds the lake's catalogue. Try again.")
        if isinstance(error, duckdb.OutOfMemoryException):
            return StatementMemoryError(
                f"the statement needs more than {self._settings.sql_memory_mb} MB. Ask for less, or filter first."
            )
        return StatementError(str(error).strip())


def _lock_down(connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    """Leave the connection able to read the lake's own Parquet files and nothing else."""
    connection.execute(f"SET memory_limit = '{settings.sql_memory_mb}MB'; SET temp_directory = ''")
    connection.execute(f"SET allowed_directories = [{quote(data_path(settings))}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")

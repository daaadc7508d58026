"""The lake: open it, write windows and rows, read what was written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import duckdb
import pyarrow as pa

from opendt.errors import LakeError
from opendt.lake.connection import NAME, catalog_file, connect, prepare
from opendt.lake.migrate import is_current, migrate
from opendt.lake.retry import as_lake_error, folder_lock, retrying
from opendt.lake.rows import Rows, as_table
from opendt.lake.writer import (
    Checkpoint,
    PreparedWindow,
    WindowCommit,
    delete_keys,
    insert,
    prepare_window,
    write_windows,
)
from opendt.settings import LakeSettings

if TYPE_CHECKING:
    from opendt.lake.maintain import MaintenanceReport

Result = TypeVar("Result")
RunState = Literal["running", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class CommitReport:
    """What a commit cost: wall time [ms], attempts, and the snapshot it made."""

    snapshot: int
    wall_ms: float
    attempts: int


class Lake:
    """A lake open for writing or reading. Use as a context manager; safe to share between threads.

    Writers of one lake, in whatever process, take turns; readers see the last commit and wait for nobody.
    """

    def __init__(self, settings: LakeSettings, connection: duckdb.DuckDBPyConnection, read_only: bool) -> None:
        self.settings = settings
        self.read_only = read_only
        self._connection = connection
        self._turn = threading.Lock()
        self._written: dict[tuple[str, str], set[int]] = {}
        self._snapshot = -1

    @classmethod
    def open(
        cls,
        settings: LakeSettings,
        *,
        read_only: bool = False,
        as_of: int | datetime | None = None,
        threads: int | None = None,
    ) -> Lake:
        """Open a lake; for writing, create it or bring it to the declared tables first.

        Args:
            as_of: snapshot number or moment to read; implies ``read_only``.
            threads: DuckDB threads; one when writing, where many small statements gain nothing from more.

        Raises:
            LakeError: nothing to read, or a lake that cannot be used.
            LakeBusyError: other writers were in the way all the time.
        """
        read_only = read_only or as_of is not None
        if read_only:
            return cls(settings, connect(settings, read_only=True, as_of=as_of, threads=threads), True)

        def prepared() -> duckdb.DuckDBPyConnection:
            with _writers_lock(settings):
                connection = connect(settings, threads=threads or 1)
                try:
                    if not is_current(connection):
                        migrate(connection)
                except BaseException:
                    connection.close()
                    raise
                return connection

        what = f"cannot open the lake at {settings.path}"
        return cls(settings, retrying(prepared, attempts=settings.commit_attempts, what=what), False)

    def close(self) -> None:
        """Close every connection of this lake."""
        self._connection.close()

    def __enter__(self) -> Lake:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Reading

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the same lake; close it after use."""
        return prepare(self._connection.cursor())

    def query(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> pa.Table:
        """The rows of a query of ours (people's SQL goes through ``opendt.lake.people``).

        Raises ``LakeBusyError`` while the catalogue is locked, ``LakeError`` for anything else.
        """
        cursor = self.cursor()
        try:
            return cursor.execute(sql, params or None).to_arrow_table()
        except duckdb.Error as error:
            raise as_lake_error(error, "the lake refused a query") from error
        finally:
            cursor.close()

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query as mappings."""
        return self.query(sql, params).to_pylist()

    def snapshot(self) -> int:
        """Number of the last commit; changes with every write by anyone."""
        return int(self.query(f"SELECT id FROM ducklake_current_snapshot('{NAME}')")["id"][0].as_py())

    def read_only_connection(self) -> duckdb.DuckDBPyConnection:
        """A separate DuckDB with the lake attached read-only; the caller closes it."""
        return connect(self.settings, read_only=True)

    def committed_windows(self, run_id: str, datacenter: str | None = None) -> list[int]:
        """Numbers of the windows a run has committed, in order (of all datacenters when none is named)."""
        where, params = (
            ("run_id = ?", [run_id]) if not datacenter else ("run_id = ? AND datacenter = ?", [run_id, datacenter])
        )
        found = self.query(f"SELECT DISTINCT window_index FROM windows WHERE {where} ORDER BY 1", params)
        return found["window_index"].to_pylist()

    def latest_checkpoint(self, run_id: str, datacenter: str) -> Checkpoint | None:
        """The state to resume a run from, or None before its first window."""
        found = self.rows(
            "SELECT * FROM checkpoints WHERE run_id = ? AND datacenter = ? ORDER BY window_index DESC LIMIT 1",
            [run_id, datacenter],
        )
        if not found:
            return None
        row = found[0]
        return Checkpoint(
            engine=row["engine"],
            engine_state=row["engine_state"],
            twin_state=row["twin_state"],
            offsets_json=row["offsets_json"],
            window_index=row["window_index"],
        )

    # Writing

    def commit_window(self, commit: WindowCommit) -> CommitReport:
        """Write one window, its checkpoint and its ``windows`` row in one transaction.

        A window written before is replaced. Raises ``LakeBusyError`` or ``LakeError``; then nothing was written.
        """
        return self.commit_windows([commit])

    def commit_windows(self, commits: Sequence[WindowCommit]) -> CommitReport:
        """Write several windows in one transaction: all or none. Cheaper per window than one by one."""
        return self.commit_prepared([prepare_window(commit) for commit in commits])

    def commit_prepared(self, windows: Sequence[PreparedWindow]) -> CommitReport:
        """The same for commits whose rows have been checked before (``prepare_window``)."""
        commits = [window.commit for window in windows]
        runs = {commit.owner: dict(commit.run) for commit in commits if commit.run}

        def body(connection: duckdb.DuckDBPyConnection) -> None:
            write_windows(connection, windows, self._written_windows)
            for (run_id, datacenter), values in runs.items():
                self._merge_run(connection, run_id, datacenter, values)
            for commit in commits:  # forgotten again if the transaction fails
                self._written_windows(*commit.owner).add(commit.window_index)

        return self._transaction(body, f"cannot commit window {commits[-1].window_index} of {commits[-1].run_id}")

    def insert(self, table: str, rows: Rows) -> None:
        """Append rows to a table."""
        checked = as_table(table, rows)
        if checked.num_rows:
            self._transaction(lambda connection: insert(connection, table, checked), f"cannot write {table}")

    def upsert(self, table: str, rows: Rows) -> None:
        """Write rows, replacing those with the same key."""
        checked = as_table(table, rows)

        def body(connection: duckdb.DuckDBPyConnection) -> None:
            delete_keys(connection, table, checked)
            insert(connection, table, checked)

        if checked.num_rows:
            self._transaction(body, f"cannot write {table}")

    def start_run(self, run_id: str, datacenter: str, kind: str, **columns: Any) -> None:
        """Enter a run, or continue it: a run that is there keeps its start and the columns not given."""
        values = {"kind": kind, "state": "running", "reason": None, "ended_ms": None, **columns}
        self._change_run(run_id, datacenter, values)

    def update_run(self, run_id: str, datacenter: str, **columns: Any) -> None:
        """Change columns of a run."""
        self._change_run(run_id, datacenter, columns)

    def finish_run(
        self, run_id: str, datacenter: str, state: RunState, reason: str | None = None, **columns: Any
    ) -> None:
        """End a run. Totals that are not given are added up from its committed windows."""
        totals = self.rows(
            "SELECT windows, tasks_seen, tasks_run, tasks_dropped, fragments, energy_kwh, energy_uncalibrated_kwh, "
            "energy_measured_kwh, carbon_kg, mape_pct, uncalibrated_mape_pct, persistence_mape_pct "
            "FROM run_totals WHERE run_id = ? AND datacenter = ?",
            [run_id, datacenter],
        )
        values = {**(totals[0] if totals else {}), "ended_ms": _now_ms(), **columns, "state": state, "reason": reason}
        self._change_run(run_id, datacenter, values)

    def call(self, sql: str) -> int:
        """Run a maintenance call of DuckLake's in its own transaction; returns how many rows it reports."""
        what = "cannot maintain the lake"
        if self.read_only:
            raise LakeError(f"{what}: it was opened for reading only.")

        def attempt() -> int:
            with _writers_lock(self.settings):
                self._snapshot = -1
                return len(self._connection.execute(sql).fetchall())

        with self._turn:
            return retrying(attempt, attempts=self.settings.commit_attempts, what=what)

    def maintain(self, *, keep_days: float | None = None) -> MaintenanceReport:
        """Compact files and forget old snapshots; see ``opendt.lake.maintain``."""
        from opendt.lake.maintain import maintain

        return maintain(self, keep_days=keep_days)

    def _change_run(self, run_id: str, datacenter: str, values: Mapping[str, Any]) -> None:
        as_table("runs", [dict(values)], {"run_id": run_id, "datacenter": datacenter})  # refuse before writing
        self._transaction(
            lambda connection: self._merge_run(connection, run_id, datacenter, values), f"cannot write run {run_id}"
        )

    @staticmethod
    def _merge_run(
        connection: duckdb.DuckDBPyConnection, run_id: str, datacenter: str, values: Mapping[str, Any]
    ) -> None:
        found = connection.execute(
            f"SELECT * FROM {NAME}.main.runs WHERE run_id = ? AND datacenter = ?", [run_id, datacenter]
        ).to_arrow_table()
        known = {c.name for c in as_table("runs", []).schema}
        old = {k: v for k, v in found.to_pylist()[0].items() if k in known} if found.num_rows else {}
        row = {"started_ms": _now_ms(), **old, **values, "run_id": run_id, "datacenter": datacenter}
        checked = as_table("runs", [row])
        if found.num_rows:
            delete_keys(connection, "runs", checked)
        insert(connection, "runs", checked)

    def _transaction(self, body: Callable[[duckdb.DuckDBPyConnection], Result], what: str) -> CommitReport:
        """Run ``body`` in one transaction, again when other writers were in the way."""
        if self.read_only:
            raise LakeError(f"{what}: the lake was opened for reading only.")
        started = time.perf_counter()
        attempts = 0

        def attempt() -> int:
            nonlocal attempts
            attempts += 1
            with _writers_lock(self.settings):
                return self._attempt(body)

        with self._turn:
            snapshot = retrying(attempt, attempts=self.settings.commit_attempts, what=what)
        return CommitReport(snapshot, (time.perf_counter() - started) * 1e3, attempts)

    def _attempt(self, body: Callable[[duckdb.DuckDBPyConnection], Result]) -> int:
        connection = self._connection
        connection.execute("BEGIN")
        try:
            if self._current_snapshot() != self._snapshot:
                self._written.clear()  # someone else has written since; look again
            body(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._snapshot = -1
            self._rollback()
            raise
        self._snapshot = self._last_committed()
        return self._snapshot

    def _current_snapshot(self) -> int:
        row = self._connection.execute(f"SELECT id FROM ducklake_current_snapshot('{NAME}')").fetchone()
        return int(row[0]) if row else -1

    def _last_committed(self) -> int:
        row = self._connection.execute(f"SELECT id FROM ducklake_last_committed_snapshot('{NAME}')").fetchone()
        return int(row[0]) if row and row[0] is not None else -1

    def _written_windows(self, run_id: str, datacenter: str) -> set[int]:
        owner = (run_id, datacenter)
        if owner not in self._written:
            rows = self._connection.execute(
                f"SELECT window_index FROM {NAME}.main.windows WHERE run_id = ? AND datacenter = ?", list(owner)
            ).fetchall()
            self._written[owner] = {row[0] for row in rows}
        return self._written[owner]

    def _rollback(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except duckdb.TransactionException:
            pass  # a commit that failed has ended the transaction already


def _writers_lock(settings: LakeSettings) -> Any:
    if catalog_file(settings) is None:
        return nullcontext()
    folder = Path(settings.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(f"{folder}: cannot make the lake's folder ({error}). Name another one with --lake.") from None
    return folder_lock(folder, settings.busy_timeout_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

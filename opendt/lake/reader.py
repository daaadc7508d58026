"""Reading for many at once: one read-only DuckDB, a connection per query, and a version per run to cache by."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from opendt.lake.connection import NAME, catalog_file, connect, prepare, require_lake
from opendt.lake.retry import as_lake_error
from opendt.settings import LakeSettings

Params = Sequence[Any] | Mapping[str, Any]

# How long an old answer stands in while another thread asks for a new one [s].
STALE_S = 2.0


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run in a datacenter."""

    run_id: str
    datacenter: str


class _Recent:
    """Rows of a query with the moment they were asked for."""

    __slots__ = ("asking", "at", "rows")

    def __init__(self) -> None:
        self.asking = threading.Lock()
        self.at = float("-inf")
        self.rows: list[dict[str, Any]] = []


class LakeReader:
    """Queries a lake from any number of threads; opened when first needed, and again when the lake was replaced.

    Args:
        fresh_s: how old an answer of ``recent``, ``version`` or ``snapshot`` may be [s].
        threads: DuckDB threads; with one, each query runs in the thread that asks, and many run side by side.
    """

    def __init__(self, settings: LakeSettings, *, fresh_s: float = 0.2, threads: int = 1) -> None:
        self.settings = settings
        self._fresh_s = fresh_s
        self._threads = threads
        self._guard = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._inode = -1
        self._recent: dict[tuple[str, tuple[Any, ...]], _Recent] = {}

    def close(self) -> None:
        """Close every connection; the reader opens again when used again."""
        with self._guard:
            for cursor in self._idle:
                cursor.close()
            self._idle.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._recent.clear()

    def query(self, sql: str, params: Params = ()) -> pa.Table:
        """The rows of a query of ours.

        Raises ``NoLakeError`` when there is no lake, ``LakeBusyError`` while it is locked, else ``LakeError``.
        """
        cursor = self._take()
        try:
            found = cursor.execute(sql, params or None).to_arrow_table()
        except duckdb.Error as error:
            cursor.close()
            raise as_lake_error(error, "the lake refused a query") from error
        with self._guard:
            self._idle.append(cursor)
        return found

    def rows(self, sql: str, params: Params = ()) -> list[dict[str, Any]]:
        """The rows of a query as mappings."""
        return self.query(sql, params).to_pylist()

    def snapshot(self) -> str:
        """Names the lake's content as of the last commit."""
        return self._name(f"SELECT id FROM ducklake_current_snapshot('{NAME}')", (), False)

    def version(self, run: RunKey, *, fresh: bool = False) -> str:
        """Names what a run has committed; other runs' commits do not change it. ``fresh`` asks the lake now."""
        sql = "SELECT count(*), max(committed_ms) FROM windows WHERE run_id = ? AND datacenter = ?"
        return self._name(sql, (run.run_id, run.datacenter), fresh)

    def recent(self, sql: str, params: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """The rows of a small query that is asked all the time, at most ``fresh_s`` old.

        One thread asks again when they are older; others get the rows of before meanwhile, for up to ``STALE_S``.
        """
        key = (sql, params)
        with self._guard:
            if len(self._recent) > 1_000:
                self._recent.clear()
            known = self._recent.setdefault(key, _Recent())
        age = time.monotonic() - known.at
        if age < self._fresh_s:
            return known.rows
        if not known.asking.acquire(blocking=age >= STALE_S):
            return known.rows
        try:
            if time.monotonic() - known.at >= self._fresh_s:
                known.rows = self.rows(sql, params)
                known.at = time.monotonic()
            return known.rows
        finally:
            known.asking.release()

    def forget(self) -> None:
        """Let ``recent`` ask again: this process has just changed the lake."""
        with self._guard:
            self._recent.clear()

    def _name(self, sql: str, params: tuple[Any, ...], fresh: bool) -> str:
        row = (self.rows(sql, params) if fresh else self.recent(sql, params))[0]
        return f"{self._inode}." + ".".join(str(value) for value in row.values())

    def _take(self) -> duckdb.DuckDBPyConnection:
        with self._guard:
            self._reopen_if_replaced()
            if self._connection is None:
                self._connection = connect(self.settings, read_only=True, threads=self._threads)
            return self._idle.pop() if self._idle else prepare(self._connection.cursor())

    def _reopen_if_replaced(self) -> None:
        file = catalog_file(self.settings)
        if file is None:
            return
        try:
            inode = os.stat(file).st_ino
        except FileNotFoundError:
            inode = -1
        if inode != self._inode and self._connection is not None:
            for cursor in self._idle:
                cursor.close()
            self._idle.clear()
            self._connection.close()
            self._connection = None
            self._recent.clear()
        self._inode = inode
        if inode == -1:
            require_lake(self.settings)

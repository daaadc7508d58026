"""Reading for many at once: one read-only DuckDB, a connection per query, and answers kept until the next commit.

Nothing here is ever out of date: who asks gets what was committed when it asked, or later. That is affordable because
asking for the last commit is cheap (``opendt.lake.commits``) and shared by threads that ask at the same time.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from opendt.lake.commits import CatalogCommits, connect_complete
from opendt.lake.connection import NAME, catalog_file, prepare, require_lake
from opendt.lake.retry import as_lake_error
from opendt.settings import LakeSettings

Params = Sequence[Any] | Mapping[str, Any]

# Answers of ``recent`` kept at the same time.
KEEP = 1_000


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run in a datacenter."""

    run_id: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A state of the lake: which lake (a replaced one is another), and the number of its last commit."""

    lake: int
    number: int


class _Recent:
    """A query's answer, and the commit after which it was asked for."""

    __slots__ = ("answer", "asking")

    def __init__(self) -> None:
        self.asking = threading.Lock()
        self.answer: tuple[Commit, pa.Table] | None = None


class LakeReader:
    """Queries a lake from any number of threads; opened when first needed, and again when the lake was replaced.

    Args:
        threads: DuckDB threads; with one, each query runs in the thread that asks, and many run side by side.
    """

    def __init__(self, settings: LakeSettings, *, threads: int = 1) -> None:
        self.settings = settings
        self._threads = threads
        self._guard = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._idle: list[duckdb.DuckDBPyConnection] = []
        self._inode = -1
        self._recent: OrderedDict[tuple[str, tuple[Any, ...]], _Recent] = OrderedDict()
        # The last commit seen, by which look, and since when each table is as it is.
        self._looking = threading.Lock()
        self._looks_begun = 0
        self._looks_done = 0
        self._last = Commit(-1, -1)
        self._commits: CatalogCommits | None = None
        self._changed: dict[str, int] = {}
        self._all_changed = -1

    def close(self) -> None:
        """Close every connection; the reader opens again when used again."""
        with self._looking, self._guard:
            self._shut()
            self._close_commits()

    def query(self, sql: str, params: Params = ()) -> pa.Table:
        """The rows of a query of ours.

        Raises ``NoLakeError`` when there is no lake yet, ``LakeBusyError`` while it is locked, else ``LakeError``.
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

    def commit(self) -> Commit:
        """The last commit at some moment after this call began.

        Threads that ask while another one is looking share the next look, since the one under way may have looked
        before what they must not miss.
        """
        with self._guard:
            needed = self._looks_begun + 1
        with self._looking:
            if self._looks_done < needed:
                with self._guard:
                    self._looks_begun += 1
                    look = self._looks_begun
                self._look()
                self._looks_done = look
            return self._last

    def snapshot(self) -> str:
        """Names the lake's content as of the last commit."""
        last = self.commit()
        return f"{last.lake}.{last.number}"

    def windows(self, run: RunKey, at: Commit | None = None) -> pa.Table:
        """``window_index`` and ``committed_ms`` of the windows a run has committed, in order."""
        return self.recent_table(
            "SELECT window_index, committed_ms FROM windows WHERE run_id = ? AND datacenter = ? ORDER BY window_index",
            (run.run_id, run.datacenter),
            tables=("windows",),
            at=at,
        )

    def version(self, run: RunKey, at: Commit | None = None) -> str:
        """Names what a run has committed; other runs' commits do not change it."""
        at = at or self.commit()
        windows = self.windows(run, at)
        digest = hashlib.blake2b(digest_size=12)
        for column in windows.columns:
            digest.update(column.to_numpy().tobytes())
        return f"{at.lake}.{windows.num_rows}.{digest.hexdigest()}"

    def recent(
        self, sql: str, params: tuple[Any, ...] = (), *, tables: Iterable[str] | None = None, at: Commit | None = None
    ) -> list[dict[str, Any]]:
        """The rows of a small query that is asked all the time, as mappings; see ``recent_table``."""
        return self.recent_table(sql, params, tables=tables, at=at).to_pylist()

    def recent_table(
        self, sql: str, params: tuple[Any, ...] = (), *, tables: Iterable[str] | None = None, at: Commit | None = None
    ) -> pa.Table:
        """The rows of a query, asked again only after a commit; one thread asks, others wait for it.

        Args:
            tables: every table the query reads: commits that leave them alone do not matter. Any commit does if None.
            at: how new the answer has to be; the last commit when None.
        """
        at = at or self.commit()
        names = None if tables is None else tuple(tables)
        with self._guard:
            key = (sql, params)
            known = self._recent.setdefault(key, _Recent())
            self._recent.move_to_end(key)
            while len(self._recent) > KEEP:
                self._recent.popitem(last=False)
        answer = known.answer
        if answer and self._holds(answer[0], at, names):
            return answer[1]
        with known.asking:
            answer = known.answer
            if answer is None or not self._holds(answer[0], at, names):
                known.answer = answer = (at, self.query(sql, params))
        return answer[1]

    def _holds(self, asked: Commit, at: Commit, tables: tuple[str, ...] | None) -> bool:
        """Whether an answer asked for after one commit is that of a later one."""
        if asked.lake != at.lake:
            return False
        if asked.number >= at.number:
            return True
        return tables is not None and max((self._changed_at(table) for table in tables), default=-1) <= asked.number

    def _changed_at(self, table: str) -> int:
        return max(self._all_changed, self._changed.get(table, -1))

    def _look(self) -> None:
        """Ask the catalogue for its last commit, and note what changed since the one before."""
        with self._guard:
            self._connect()
            inode = self._inode
        if self._last.lake != inode:
            self._close_commits()
        number = self._last_number()
        if self._last.lake != inode:
            self._changed, self._all_changed = {}, number
        elif number != self._last.number:
            self._note_changes(self._last.number, number)
        self._last = Commit(inode, number)

    def _last_number(self) -> int:
        if catalog_file(self.settings) is None:
            return int(self.query(f"SELECT id FROM ducklake_current_snapshot('{NAME}')")["id"][0].as_py())
        try:
            if self._commits is None:
                self._commits = CatalogCommits(self.settings)
            return self._commits.last()
        except duckdb.Error as error:
            raise as_lake_error(error, f"cannot ask the lake at {self.settings.path} for its last commit") from error

    def _note_changes(self, before: int, now: int) -> None:
        changed = None
        if self._commits is not None and before < now:
            try:
                changed = self._commits.changed(before, now)
            except duckdb.Error as error:
                raise as_lake_error(error, "cannot ask what changed") from error
        if changed is None:
            self._all_changed = now
        else:
            self._changed.update(dict.fromkeys(changed, now))

    def _take(self) -> duckdb.DuckDBPyConnection:
        with self._guard:
            connection = self._connect()
            return self._idle.pop() if self._idle else prepare(connection.cursor())

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """The connection, opened when there is none, and again when the lake was replaced."""
        file = catalog_file(self.settings)
        if file is not None:
            try:
                inode = os.stat(file).st_ino
            except FileNotFoundError:
                inode = -1
            if inode != self._inode:
                self._shut()
            self._inode = inode
            if inode == -1:
                require_lake(self.settings)
        if self._connection is None:
            self._connection = connect_complete(self.settings, threads=self._threads)
        return self._connection

    def _shut(self) -> None:
        for cursor in self._idle:
            cursor.close()
        self._idle.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._recent.clear()

    def _close_commits(self) -> None:
        if self._commits is not None:
            self._commits.close()
            self._commits = None

"""Which commit is a lake's last, and which tables commits changed: asked before every answer, so asked cheaply.

DuckLake's own function takes a few milliseconds, as it opens a transaction. The catalogue keeps the same number in a
small table, which a connection of its own reads in a fraction of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb

from opendt.errors import LakeBusyError, LakeError
from opendt.lake.connection import NAME, NoLakeError, catalog_file, connect, extension_file, quote, require_lake
from opendt.lake.retry import as_lake_error
from opendt.settings import LakeSettings

# Changes that leave the rows of every table as they are; anything not known may have changed any of them.
_HARMLESS = ("merge_adjacent", "inline_flush", "flushed_inlined", "rewrite_delete")
_ROWS = ("inserted_into_table", "deleted_from_table", "inlined_insert", "inlined_delete")


class CatalogCommits:
    """A connection to the SQLite catalogue of a lake, for one thread at a time."""

    def __init__(self, settings: LakeSettings) -> None:
        file = catalog_file(settings)
        assert file is not None, "only for catalogues in a file"
        self._names: Mapping[int, str] = {}
        self._connection = duckdb.connect(
            ":memory:",
            config={"threads": "1", "autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
        )
        try:
            self._connection.execute(f"LOAD {quote(str(extension_file('sqlite_scanner')))}")
            options = f"TYPE sqlite, READ_ONLY, BUSY_TIMEOUT {settings.busy_timeout_ms}"
            self._connection.execute(f"ATTACH {quote(str(file))} AS catalog ({options})")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def last(self) -> int:
        """Number of the last commit; -1 while the catalogue holds none. Raises ``duckdb.Error``."""
        ((number,),) = self._ask("SELECT max(snapshot_id) FROM ducklake_snapshot")
        return -1 if number is None else int(number)

    def changed(self, since: int, until: int) -> frozenset[str] | None:
        """Tables whose rows commits after ``since`` up to ``until`` may have changed; None when it cannot be told."""
        rows = self._ask(
            f"SELECT changes_made FROM ducklake_snapshot_changes WHERE snapshot_id > {since} AND snapshot_id <= {until}"
        )
        if len(rows) != until - since:
            return None  # forgotten by maintenance
        numbers: set[int] = set()
        for (text,) in rows:
            for part in filter(None, (text or "").split(",")):
                kind, _, what = part.partition(":")
                if kind in _ROWS and what.isdigit():
                    numbers.add(int(what))
                elif kind not in _HARMLESS:
                    return None
        if not numbers <= self._names.keys():
            self._names = {int(n): name for n, name in self._ask("SELECT table_id, table_name FROM ducklake_table")}
        return frozenset(self._names[n] for n in numbers) if numbers <= self._names.keys() else None

    def _ask(self, sql: str) -> list[tuple[str, ...]]:
        return self._connection.execute(f"SELECT * FROM sqlite_query('catalog', {quote(sql)})").fetchall()


def connect_complete(
    settings: LakeSettings, *, as_of: int | datetime | None = None, threads: int | None = None
) -> duckdb.DuckDBPyConnection:
    """A connection for reading a lake whose tables are there; parameters and errors as for ``connect``.

    Raises ``NoLakeError`` too while the lake is being created: its file is there before its tables are.
    """
    require_lake(settings)
    try:
        connection = connect(settings, read_only=True, as_of=as_of, threads=threads)
    except (LakeError, LakeBusyError) as error:
        if not isinstance(error, NoLakeError) and _being_created(settings):
            raise not_yet(settings) from None
        raise
    if as_of is None:
        try:
            found = has_tables(connection)
        except duckdb.Error as error:
            connection.close()
            raise as_lake_error(error, f"cannot open the lake at {settings.path}") from error
        if not found:
            connection.close()
            raise not_yet(settings)
    return connection


def has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the attached lake has our tables; they come in one transaction, with the view ``schema_version``."""
    row = connection.execute(
        "SELECT count(*) FROM duckdb_views() WHERE database_name = ? AND view_name = 'schema_version'", [NAME]
    ).fetchone()
    return row is not None and row[0] > 0


def not_yet(settings: LakeSettings) -> NoLakeError:
    """The error for a lake that is just being created."""
    return NoLakeError(
        f"{settings.path}: there is no lake here yet; it is just being created. Try again in a moment, or write one "
        f"with `opendt run --lake {settings.path}`.",
        path=str(settings.path),
    )


def _being_created(settings: LakeSettings) -> bool:
    """Whether a catalogue that could not be opened is not one yet, rather than in use or broken."""
    file = catalog_file(settings)
    if file is None:
        return False
    try:
        commits = CatalogCommits(settings.model_copy(update={"busy_timeout_ms": 0}))
    except duckdb.Error as error:
        return _says_not_yet(error, file)
    try:
        return commits.last() < 0
    except duckdb.Error as error:
        return _says_not_yet(error, file)
    finally:
        commits.close()


def _says_not_yet(error: duckdb.Error, file: Path) -> bool:
    text = str(error).lower()
    if "no such table" in text:
        return True
    # A catalogue in use has a write-ahead log, and readers do not wait for its writers.
    return "locked" in text and not Path(f"{file}-wal").exists()

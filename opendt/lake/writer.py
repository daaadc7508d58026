"""What a window writes, and how it gets there in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from opendt.errors import LakeError
from opendt.lake.connection import NAME
from opendt.lake.rows import Rows, as_table, declared
from opendt.lake.schema import WINDOW_TABLES

State = bytes | Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a run needs to go on after a window.

    ``engine_state`` and ``twin_state`` may be functions that give the bytes: only the last checkpoint of a
    transaction is kept, so the others are never serialised. What they read must not change afterwards.
    """

    engine: str
    engine_state: State
    twin_state: State
    offsets_json: str
    window_index: int | None = None  # of the commit when None


@dataclass(frozen=True, slots=True)
class WindowCommit:
    """Everything one window writes.

    Attributes:
        rows: rows per window table; run_id, datacenter and window_index are filled in.
        window: values of its ``windows`` row; ``state`` defaults to closed and ``committed_ms`` to now.
        checkpoint: state after the window, or None to leave the run's checkpoint as it is.
        run: columns of the ``runs`` row to change; costs as much as a table, so rather leave totals to
            ``Lake.finish_run`` and the view ``run_totals``.
    """

    run_id: str
    datacenter: str
    window_index: int
    rows: Mapping[str, Rows]
    window: Mapping[str, Any]
    checkpoint: Checkpoint | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[str, str]:
        """Run and datacenter."""
        return self.run_id, self.datacenter


@dataclass(frozen=True, slots=True)
class PreparedWindow:
    """A commit whose rows have been checked and turned into Arrow tables."""

    commit: WindowCommit
    tables: dict[str, pa.Table]


def prepare_window(commit: WindowCommit) -> PreparedWindow:
    """Check a commit and fill in its key columns. Raises ``LakeError`` naming table and column."""
    key = {"run_id": commit.run_id, "datacenter": commit.datacenter, "window_index": commit.window_index}
    row = {"state": "closed", "committed_ms": time.time_ns() // 1_000_000, **commit.window}
    tables = {"windows": as_table("windows", [row], key)}
    for name, rows in commit.rows.items():
        if name == "windows" or not declared(name).window:
            raise LakeError(f"table {name} is not a window table; it cannot stand in WindowCommit.rows.", table=name)
        tables[name] = as_table(name, rows, key)
    return PreparedWindow(commit, {name: table for name, table in tables.items() if table.num_rows})


def write_windows(
    connection: duckdb.DuckDBPyConnection, windows: Sequence[PreparedWindow], written: Callable[[str, str], set[int]]
) -> None:
    """Write windows inside the open transaction: one insert per table, the last checkpoint of each run only.

    Args:
        written: gives the committed window numbers of a run and datacenter; their rows are deleted first.
    """
    latest = {(w.commit.owner, w.commit.window_index): w for w in windows}  # of the same window, the later one
    owners = {owner: [index for o, index in latest if o == owner] for owner, _ in latest}
    for owner, indexes in owners.items():
        _delete_windows(connection, owner, sorted(written(*owner).intersection(indexes)))
    for name in WINDOW_TABLES:
        parts = [w.tables[name] for w in latest.values() if name in w.tables]
        if parts:
            insert(connection, name, pa.concat_tables(parts))
    checkpoints = {w.commit.owner: w.commit for w in latest.values() if w.commit.checkpoint}
    for owner, commit in checkpoints.items():
        if written(*owner):
            connection.execute(f"DELETE FROM {NAME}.main.checkpoints WHERE run_id = ? AND datacenter = ?", list(owner))
        insert(connection, "checkpoints", _checkpoint_row(commit))


def _delete_windows(connection: duckdb.DuckDBPyConnection, owner: tuple[str, str], indexes: list[int]) -> None:
    if not indexes:
        return
    marks = ", ".join("?" * len(indexes))
    for name in WINDOW_TABLES:
        connection.execute(
            f"DELETE FROM {NAME}.main.{name} WHERE run_id = ? AND datacenter = ? AND window_index IN ({marks})",
            [*owner, *indexes],
        )


def _checkpoint_row(commit: WindowCommit) -> pa.Table:
    saved = commit.checkpoint
    assert saved is not None
    row = {
        "run_id": commit.run_id,
        "datacenter": commit.datacenter,
        "window_index": commit.window_index if saved.window_index is None else saved.window_index,
        "engine": saved.engine,
        "engine_state": _bytes(saved.engine_state),
        "twin_state": _bytes(saved.twin_state),
        "offsets_json": saved.offsets_json,
    }
    return as_table("checkpoints", [row])


def _bytes(state: State) -> bytes:
    return state() if callable(state) else state


def insert(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Append checked rows to a table inside the open transaction."""
    columns = ", ".join(f'"{column}"' for column in rows.column_names)
    connection.register("incoming_rows", rows)
    try:
        connection.execute(f"INSERT INTO {NAME}.main.{name} ({columns}) SELECT {columns} FROM incoming_rows")
    finally:
        connection.unregister("incoming_rows")


def delete_keys(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    """Delete the rows whose key equals that of a given row, inside the open transaction."""
    key = declared(name).key
    if not rows.num_rows:
        return
    if len(set(zip(*(rows[k].to_pylist() for k in key), strict=True))) != rows.num_rows:
        raise LakeError(f"table {name}: two rows given have the same key ({', '.join(key)}).", table=name)
    one = "(" + " AND ".join(f'"{k}" = ?' for k in key) + ")"
    for start in range(0, rows.num_rows, 200):
        part = rows.slice(start, 200).select(list(key)).to_pylist()
        values = [row[k] for row in part for k in key]
        connection.execute(f"DELETE FROM {NAME}.main.{name} WHERE {' OR '.join([one] * len(part))}", values)

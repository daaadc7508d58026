"""Bring a lake to the declared tables and views; a lake that has them is left alone."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

import duckdb

from opendt.errors import LakeError
from opendt.lake.connection import NAME, quote
from opendt.lake.schema import TABLES, Table

# Binary state is written to Parquet; in a SQL catalogue it would be text, many times slower.
FILES_ONLY = ("checkpoints",)


@cache
def view_statements() -> tuple[str, ...]:
    """The statements of views.sql."""
    text = (files("opendt.lake") / "views.sql").read_text()
    return tuple(part.strip() for part in text.split("\n;\n") if part.strip())


@cache
def schema_version() -> str:
    """A hash over declared tables and views; a lake that carries it needs no migration."""
    text = repr(TABLES) + "".join(view_statements())
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def is_current(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether the attached lake has the declared tables and views."""
    try:
        row = connection.execute(f"SELECT version FROM {NAME}.main.schema_version").fetchone()
    except duckdb.CatalogException:
        return False
    return row is not None and row[0] == schema_version()


def migrate(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Create missing tables, add missing columns, renew the views; say what was done.

    Columns and tables that are not declared stay as they are. One transaction.

    Raises:
        LakeError: a column has another type than declared.
    """
    connection.execute("BEGIN")
    try:
        found = _existing(connection)
        done: list[str] = []
        for table in TABLES:
            done += _bring(connection, table, found.get(table.name))
        for statement in (*view_statements(), _dictionary_view(), _version_view()):
            connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        _rollback(connection)
        raise
    if not found:
        _set_options(connection)
    return done


def _existing(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() JOIN duckdb_tables() "
        "USING (database_name, schema_name, table_name) WHERE database_name = ? AND schema_name = 'main'",
        [NAME],
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, type_ in rows:
        found.setdefault(table, {})[column] = type_
    return found


def _bring(connection: duckdb.DuckDBPyConnection, table: Table, found: dict[str, str] | None) -> list[str]:
    if found is None:
        columns = ", ".join(f'"{c.name}" {c.type}' for c in table.columns)
        connection.execute(f"CREATE TABLE {NAME}.main.{table.name} ({columns})")
        return [f"created {table.name}"]
    done = []
    for column in table.columns:
        if column.name not in found:
            connection.execute(f'ALTER TABLE {NAME}.main.{table.name} ADD COLUMN "{column.name}" {column.type}')
            done.append(f"added {table.name}.{column.name}")
        elif found[column.name] != column.type:
            raise LakeError(
                f"lake column {table.name}.{column.name} is {found[column.name]} but {column.type} is declared. "
                "Write to a new lake with --lake, or convert the column by hand.",
                table=table.name,
                column=column.name,
            )
    return done


def _dictionary_view() -> str:
    rows = ",\n".join(
        f"({quote(t.name)}, {n}, {quote(c.name)}, {quote(c.type)}, {quote(c.unit)}, {quote(c.meaning)})"
        for t in TABLES
        for n, c in enumerate(t.columns)
    )
    return (
        "CREATE OR REPLACE VIEW dictionary AS SELECT * FROM (VALUES\n"
        f'{rows}) AS columns(table_name, position, column_name, type, unit, meaning)'
    )  # fmt: skip


def _version_view() -> str:
    return f"CREATE OR REPLACE VIEW schema_version AS SELECT {quote(schema_version())} AS version"


def _set_options(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(f"CALL {NAME}.set_option('parquet_compression', 'zstd')")
    for name in FILES_ONLY:
        connection.execute(f"CALL {NAME}.set_option('data_inlining_row_limit', 0, table_name => {quote(name)})")


def _rollback(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.TransactionException:
        pass  # a failed commit has already ended the transaction

"""Which SQL of people's may run: one SELECT over the lake's own tables and views, and nothing that reaches out.

The statement is parsed by DuckDB and its tree walked. Tables and table functions must be on a list; everything not
listed is refused, so a function added by a later DuckDB is refused until somebody looks at it. The connection it then
runs on has no file, network or settings access either (``opendt.lake.people``): each layer holds alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import orjson

from opendt.errors import InputError

MAX_LENGTH = 100_000

TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"})
REFUSED_FUNCTIONS = frozenset(
    {"sleep_ms", "write_log", "getenv", "current_setting", "getvariable", "nextval", "currval", "txid_current"}
)
SCHEMAS = frozenset({"", "main", "lake"})
SHOWN = frozenset({'"tables"', "__show_tables_expanded"})


class StatementError(InputError):
    """A statement is malformed, not allowed, or needs too much time or memory."""


def check_statement(connection: duckdb.DuckDBPyConnection, sql: str, tables: Callable[[], frozenset[str]]) -> str:
    """The statement without its semicolon, if it may run.

    Args:
        connection: only used to parse.
        tables: gives the names of tables and views that may be read, in lower case.

    Raises ``StatementError`` saying what is not allowed.
    """
    if len(sql) > MAX_LENGTH:
        raise StatementError(f"the statement has {len(sql):,} characters; at most {MAX_LENGTH:,} are allowed.")
    statement = _only_select(connection, sql)
    parsed = orjson.loads(_serialized(connection, statement))
    if parsed["error"]:
        raise StatementError(f"{parsed['error_message']} (PIVOT and UNPIVOT have to be written with GROUP BY).")
    nodes = list(_nodes(parsed))
    common = {entry["key"].lower() for node in nodes for entry in _common_tables(node)}
    named = any(node.get("type") == "BASE_TABLE" for node in nodes)
    known = frozenset(common) | tables() if named else frozenset(common)
    for node in nodes:
        _check_node(node, known)
    return statement


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise StatementError(_text(error)) from None
    if len(statements) != 1:
        raise StatementError(f"exactly one statement is allowed; this has {len(statements)}.")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise StatementError(
            f"only SELECT (also FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW TABLES) is allowed, "
            f"not {statements[0].type.name}. The lake is read-only here."
        )
    return str(statements[0].query).strip().rstrip(";").strip()


def _serialized(connection: duckdb.DuckDBPyConnection, statement: str) -> str:
    try:
        row = connection.execute("SELECT json_serialize_sql(?)", [statement]).fetchone()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise StatementError(_text(error)) from None
    assert row is not None
    return str(row[0])


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in a parsed tree; iterative, as trees can be deep."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _common_tables(node: dict[str, Any]) -> list[dict[str, Any]]:
    found = node.get("cte_map")
    named = found.get("map", []) if isinstance(found, dict) else []
    if node.get("type") == "RECURSIVE_CTE_NODE" or "cte_name" in node:
        named = [*named, {"key": str(node.get("cte_name") or node.get("ctename", ""))}]
    return named


def _check_node(node: dict[str, Any], tables: frozenset[str]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        _check_table(node, tables)
    elif kind == "TABLE_FUNCTION":
        name = str(node.get("function", {}).get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise StatementError(
                f"table function {name} is not allowed; allowed are {', '.join(sorted(TABLE_FUNCTIONS))}."
            )
    elif kind == "SHOW_REF" and not node.get("query") and node.get("table_name") not in SHOWN:
        raise StatementError("only SHOW TABLES, SHOW ALL TABLES and DESCRIBE of a table or query are allowed.")
    if str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
        raise StatementError(f"function {node['function_name']} is not allowed.")


def _check_table(node: dict[str, Any], tables: frozenset[str]) -> None:
    name, schema, catalog = (str(node.get(k, "")) for k in ("table_name", "schema_name", "catalog_name"))
    if schema.lower() == "information_schema" and catalog == "":
        return
    if name.lower() in tables and schema.lower() in SCHEMAS and catalog.lower() in ("", "lake"):
        return
    full = ".".join(part for part in (catalog, schema, name) if part)
    raise StatementError(f"the lake has no table or view {full!r}. `SHOW TABLES` lists them.")


def _text(error: duckdb.Error) -> str:
    return str(error).strip()

"""Values and tables as JSON, CSV and Arrow bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from opendt.lake.plain import plain, plain_rows, to_csv

JSON = "application/json"
CSV = "text/csv; charset=utf-8"
ARROW = "application/vnd.apache.arrow.stream"

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z


def encode(value: Any) -> bytes:
    """JSON bytes; NaN becomes null."""
    return orjson.dumps(value, default=plain, option=_OPTIONS)


def table_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Rows as mappings, quickly where every column is a number, a truth value or text."""
    if not all(is_simple(field.type) for field in table.schema):
        return plain_rows(table)
    names = table.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*(c.to_pylist() for c in table.columns), strict=True)]


def csv_bytes(table: pa.Table, *, header: bool = True) -> bytes:
    """The table as CSV; without a header only where every column is simple."""
    if not all(is_simple(field.type) for field in table.schema):
        return to_csv(table).encode()
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(include_header=header, quoting_style="needed"))
    return sink.getvalue().to_pybytes()


def with_text_times(table: pa.Table) -> pa.Table:
    """The table with its times, whole seconds in UTC, as ISO 8601 text."""
    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            text = pc.strftime(table.column(index).cast(pa.timestamp("s")), format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(index, field.name, text)
    return table


def arrow_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def is_simple(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers, truth values or text."""
    types = pa.types
    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
    )

"""Rows on their way into the lake: any of four shapes in, one Arrow table with the declared columns out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from opendt.errors import LakeError
from opendt.lake.schema import BY_NAME, Column, Table

Rows: TypeAlias = "pa.Table | Mapping[str, Any] | Sequence[Mapping[str, Any]]"

ARROW_TYPES: dict[str, pa.DataType] = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
    "BOOLEAN": pa.bool_(),
}


def declared(name: str) -> Table:
    """The declaration of a table. Raises ``LakeError`` naming the tables there are."""
    if name not in BY_NAME:
        raise LakeError(f"the lake has no table {name}; it has {', '.join(BY_NAME)}.", table=name)
    return BY_NAME[name]


def as_table(name: str, rows: Rows, fill: Mapping[str, Any] | None = None) -> pa.Table:
    """Rows as an Arrow table with exactly the declared columns, in order.

    Args:
        name: table of the lake.
        rows: Arrow table, mapping of columns (arrays, lists or scalars), or sequence of row mappings.
        fill: values for whole columns, such as run_id; they replace what ``rows`` holds.

    Columns left out become null, and so does NaN: a number that is not known has no place in an average.

    Raises:
        LakeError: an undeclared column, a value of the wrong type, or a missing key; names table and column.
    """
    table = declared(name)
    columns = _columns(table, rows)
    count = _row_count(name, columns)
    given = columns | dict(fill or {})
    unknown = sorted(set(given) - {c.name for c in table.columns})
    if unknown:
        raise LakeError(f"table {name} has no column {unknown[0]}. Declare it in opendt/lake/schema.py.", table=name)
    arrays = [_array(name, column, given.get(column.name), count) for column in table.columns]
    result = pa.table(arrays, schema=arrow_schema(table))
    for key in table.key:
        if result[key].null_count:
            raise LakeError(f"table {name}: column {key} is part of the key and may not be null.", table=name)
    return result


def arrow_schema(table: Table) -> pa.Schema:
    """The Arrow schema of a declared table."""
    return pa.schema([pa.field(c.name, ARROW_TYPES[c.type]) for c in table.columns])


def _columns(table: Table, rows: Rows) -> dict[str, Any]:
    if isinstance(rows, pa.Table):
        return {column: rows[column] for column in rows.column_names}
    if isinstance(rows, Mapping):
        return dict(rows)
    names = {name: None for row in rows for name in row}
    return {name: [row.get(name) for row in rows] for name in names} or {table.columns[0].name: []}


def _row_count(name: str, columns: Mapping[str, Any]) -> int:
    lengths = {column: len(values) for column, values in columns.items() if not _is_scalar(values)}
    if len(set(lengths.values())) > 1:
        raise LakeError(f"table {name}: columns differ in length: {lengths}.", table=name)
    return next(iter(lengths.values()), 1)


def _is_scalar(values: Any) -> bool:
    return values is None or isinstance(values, str | bytes | int | float | bool | np.generic)


def _array(name: str, column: Column, values: Any, count: int) -> pa.Array | pa.ChunkedArray:
    type_ = ARROW_TYPES[column.type]
    if values is None:
        return pa.nulls(count, type_)
    try:
        if isinstance(values, pa.ChunkedArray | pa.Array):
            return _without_nan(values if values.type == type_ else values.cast(type_))
        if _is_scalar(values):
            scalar = values.item() if isinstance(values, np.generic) else values
            return pa.repeat(pa.array([scalar], type=type_, from_pandas=True)[0], count)
        return pa.array(values, type=type_, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise LakeError(
            f"table {name}: column {column.name} takes {column.type} ({error}).", table=name, column=column.name
        ) from None


def _without_nan(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.if_else(pc.is_nan(values), None, values) if pa.types.is_floating(values.type) else values

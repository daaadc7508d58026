"""Opening a Parquet file with the columns a map asks for: the problems of whole files and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from opendt.errors import TraceError
from opendt.traces.columns import Column, Kind

_WANTED: dict[Kind, str] = {
    "id": "text or integer",
    "integer": "integer",
    "number": "number",
    "time": "timestamp or integer (ms)",
    "text": "text",
    "ids": "list of text or integer",
}


@dataclass(frozen=True, slots=True)
class RawTable:
    """Columns of a file as Arrow arrays under our names; an absent optional column is not in it."""

    file: str
    rows: int
    arrays: dict[str, pa.ChunkedArray]


def read_raw(path: Path, columns: Sequence[Column]) -> RawTable:
    """The columns of a Parquet file, types checked, values not.

    Text ids come dictionary encoded, so that millions of them cost their distinct values only.

    Raises ``TraceError`` for a file that is absent, empty, not Parquet, damaged or without rows, a required column
    that is absent, and a column of a type that cannot hold its quantity.
    """
    file = path.name
    parquet = _open(path)
    schema = parquet.schema_arrow
    present = [column for column in columns if _has(schema, column, file)]
    try:
        table = parquet.read([column.source for column in present], use_threads=True)
    except (pa.ArrowException, OSError) as error:
        raise TraceError(
            f"{file}: cannot be read ({_first_line(error)}). The file is damaged; fetch or write it again.", file=file
        ) from None
    if table.num_rows == 0:
        raise TraceError(f"{file}: has no rows. Give a file with data, or remove it if it is optional.", file=file)
    return RawTable(file, table.num_rows, {column.name: table[column.source] for column in present})


def _open(path: Path) -> pq.ParquetFile:
    file = path.name
    try:
        if path.stat().st_size == 0:
            raise TraceError(f"{file}: is empty (0 bytes). Write or fetch the file again.", file=file)
        schema = pq.read_schema(path)
        texts = [f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_binary(f.type)]
        return pq.ParquetFile(path, read_dictionary=texts)
    except FileNotFoundError:
        raise TraceError(
            f"{file}: no such file in {path.parent}. A trace folder needs tasks.parquet and fragments.parquet.",
            file=file,
        ) from None
    except pa.ArrowInvalid as error:
        raise TraceError(
            f"{file}: is not a Parquet file ({_first_line(error)}). Convert it, see `opendt trace convert --help`.",
            file=file,
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise TraceError(f"{file}: cannot be read ({_first_line(error)}). Check the file.", file=file) from None


def _has(schema: pa.Schema, column: Column, file: str) -> bool:
    found = schema.get_all_field_indices(column.source)
    facts = {"file": file, "column": column.source}
    if not found:
        if column.required:
            raise TraceError(
                f"{file}: column {column.source} is missing (found: {', '.join(schema.names) or 'none'}). "
                "Add it or rename the one that holds it.",
                **facts,
            )
        return False
    if len(found) > 1:
        raise TraceError(f"{file}: column {column.source} occurs {len(found)} times. Keep one.", **facts)
    kind = schema.field(found[0]).type
    if not _fits(kind, column.kind):
        raise TraceError(
            f"{file}: column {column.source} has type {kind}; must be {_WANTED[column.kind]}. "
            "Write the column with that type.",
            **facts,
        )
    return True


def _fits(found: pa.DataType, wanted: Kind) -> bool:
    types = pa.types
    if types.is_null(found):  # all values null: the value check names the first row
        return True
    if types.is_dictionary(found):
        found = found.value_type
    if wanted == "ids":
        return (types.is_list(found) or types.is_large_list(found)) and _fits(found.value_type, "id")
    integer = types.is_integer(found)
    text = types.is_string(found) or types.is_large_string(found) or types.is_binary(found)
    return {
        "id": integer or text,
        "integer": integer or types.is_floating(found),
        "number": integer or types.is_floating(found),
        "time": integer or types.is_floating(found) or types.is_timestamp(found),
        "text": text,
    }[wanted]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")

"""Arrow columns into NumPy arrays of our units, and the problems of single rows.

Every check first asks a whole column in one pass; rows are looked at only when something is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opendt.errors import TraceError
from opendt.traces.columns import LATEST_MS, Column

Mask = NDArray[np.bool_]


class RowCheck:
    """What is wrong with the rows of one file: raises at the first, or marks and counts them.

    ``keep`` is None while every row is good. With ``skip_invalid`` a bad row is counted once, under the first
    reason found.
    """

    def __init__(self, file: str, rows: int, skip_invalid: bool) -> None:
        self.file = file
        self.rows = rows
        self.skip_invalid = skip_invalid
        self.keep: Mask | None = None
        self.dropped: Counter[str] = Counter()
        self.repaired: Counter[str] = Counter()

    def reject(self, bad: Mask, column: str, reason: str, say: Callable[[int], str]) -> None:
        """Refuse the rows of a mask; ``say(row)`` completes "<file> row <row>: <column> ..."."""
        if not bad.any():
            return
        if not self.skip_invalid:
            row = int(np.argmax(bad))
            raise TraceError(
                f"{self.file} row {row}: {column} {say(row)}. Fix the trace, or write it again without such rows: "
                "opendt trace convert SRC DEST --from opendc --skip-invalid.",
                file=self.file, row=row, column=column,
            )  # fmt: skip
        if self.keep is None:
            self.keep = np.ones(self.rows, np.bool_)
        self.dropped[reason] += int(np.count_nonzero(bad & self.keep))
        self.keep &= ~bad

    def kept(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values of the rows that passed."""
        return values if self.keep is None else values[self.keep]


def numbers(array: pa.ChunkedArray, column: Column, check: RowCheck) -> NDArray[np.float64]:
    """A ``number`` column as float64, each row finite and within bounds."""
    values = _filled(_drop_nulls(array, column, check), column).cast(pa.float64(), safe=False).to_numpy()
    if not _within(values, column) or not np.isfinite(values.max(initial=0.0)):
        check.reject(~np.isfinite(values), column.source, _reason(column, "not finite"),
                     lambda row: f"is {values[row]}; must be a finite number")  # fmt: skip
        _check_bounds(values, column, check)
    return values


def integers(array: pa.ChunkedArray, column: Column, check: RowCheck) -> NDArray[np.int64]:
    """An ``integer`` column as int64; floating point numbers pass where they are whole."""
    array = _filled(_drop_nulls(array, column, check), column)
    if pa.types.is_floating(array.type):
        array = _whole(array, column, check)
    elif pa.types.is_uint64(array.type):
        bad = pc.greater(array, pa.scalar(2**63 - 1, pa.uint64())).to_numpy().astype(np.bool_)
        check.reject(bad, column.source, _reason(column, "too large"), lambda row: f"is {array[row]}; is too large")
    values = array.cast(pa.int64(), safe=False).to_numpy()
    if not _within(values, column):
        _check_bounds(values, column, check)
    return values


def times(array: pa.ChunkedArray, column: Column, check: RowCheck) -> NDArray[np.int64]:
    """A ``time`` column as int64 ms: timestamps since the epoch in UTC, integers as they are.

    Naive timestamps are read as UTC. What is finer than a millisecond is cut off and counted.
    """
    if not pa.types.is_timestamp(array.type):
        return integers(array, column, check)
    array = _drop_nulls(array, column, check)
    ticks = array.cast(pa.int64(), safe=False)
    ticks = _filled(ticks, column) if not column.required else pc.fill_null(ticks, 0)
    values = ticks.to_numpy()
    per_ms = {"s": 1000, "ms": 1, "us": -1000, "ns": -1_000_000}[array.type.unit]
    if per_ms < 0:
        cut = np.count_nonzero(values % -per_ms)
        if cut:
            check.repaired[f"{column.source} cut to milliseconds"] += int(cut)
        values = values // -per_ms
    else:
        values = values * per_ms
    if not _within(values, column):
        _check_bounds(values, column, check)
    return values


def texts(array: pa.ChunkedArray, column: Column) -> list[str]:
    """An optional ``text`` column as a list, nulls replaced."""
    return ["" if value is None else str(value) for value in array.to_pylist()] if len(array) else []


def reject_nulls(array: pa.ChunkedArray, column: Column, check: RowCheck) -> None:
    """Refuse the rows of a required column that hold nothing."""
    if column.required and array.null_count:
        bad = pc.is_null(array).to_numpy().astype(np.bool_)
        check.reject(bad, column.source, _reason(column, "missing"), lambda _: "is missing (null)")


def _drop_nulls(array: pa.ChunkedArray, column: Column, check: RowCheck) -> pa.ChunkedArray:
    reject_nulls(array, column, check)
    return array


def _filled(array: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    if pa.types.is_null(array.type):
        array = array.cast(pa.int64())
    if not array.null_count:
        return array
    value = column.default if column.default is not None else max(0, column.low or 0)
    return pc.fill_null(array, pa.scalar(value, array.type))


def _whole(array: pa.ChunkedArray, column: Column, check: RowCheck) -> pa.ChunkedArray:
    values = array.cast(pa.float64(), safe=False).to_numpy()
    bad = ~(np.isfinite(values) & (np.abs(values) < 2.0**63) & (np.floor(values) == values))
    check.reject(bad, column.source, _reason(column, "not a whole number"),
                 lambda row: f"is {values[row]}; must be a whole number")  # fmt: skip
    return pa.chunked_array([np.where(bad, 0, values).astype(np.int64)])


def _within(values: NDArray[Any], column: Column) -> bool:
    if len(values) == 0:
        return True
    low_ok = column.low is None or bool(values.min() >= column.low)
    high_ok = column.high is None or bool(values.max() <= column.high)
    return low_ok and high_ok


def _check_bounds(values: NDArray[Any], column: Column, check: RowCheck) -> None:
    if column.low is not None:
        word = "negative" if column.low == 0 else "too small"
        check.reject(values < column.low, column.source, _reason(column, word),
                     lambda row: f"is {values[row]}; must be at least {column.low:g}")  # fmt: skip
    if column.high is not None:
        hint = " (are these microseconds? use milliseconds)" if column.high == LATEST_MS else ""
        check.reject(values > column.high, column.source, _reason(column, "too large"),
                     lambda row: f"is {values[row]}; must be at most {column.high}{hint}")  # fmt: skip


def _reason(column: Column, word: str) -> str:
    return f"{column.source} {word}"

"""Which task each fragment belongs to, and fragments grouped by task. Works on runs, not rows, wherever it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opendt.models.workload import I64
from opendt.traces.ids import plain_texts, text_numbers

_TABLE_LIMIT = 4_000_000  # a direct lookup table of int32 up to 16 MB is built; beyond that, binary search


def row_of_number(task_id: I64, wanted: I64) -> NDArray[np.int32]:
    """Row of each wanted number in ``task_id`` (the first that holds it), -1 where there is none."""
    if len(task_id) == 0:
        return np.full(len(wanted), -1, np.int32)
    order = np.argsort(task_id, kind="stable").astype(np.int32)
    ordered = task_id[order]
    low, high = int(ordered[0]), int(ordered[-1])
    if high - low < _TABLE_LIMIT and len(wanted) > 64:
        table = np.full(high - low + 1, -1, np.int32)
        table[ordered[::-1] - low] = order[::-1]  # written backwards, so that the first row of equal ids stays
        inside = (wanted >= low) & (wanted <= high)
        return np.where(inside, table[np.where(inside, wanted - low, 0)], -1).astype(np.int32)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[at] == wanted, order[at], -1).astype(np.int32)


def task_rows(ids: pa.ChunkedArray, task_id: I64) -> NDArray[np.int32]:
    """Task row of each fragment, -1 for unknown tasks and nulls.

    Args:
        ids: fragment ids as read: integers, text, or text as dictionaries, in any number of chunks.
        task_id: numbers of the tasks by row.
    """
    parts = [_rows_of_chunk(chunk, task_id) for chunk in _same_dictionary(ids)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _same_dictionary(ids: pa.ChunkedArray) -> list[pa.Array]:
    if not pa.types.is_dictionary(ids.type):
        if pa.types.is_integer(ids.type) or pa.types.is_null(ids.type):
            return list(ids.chunks)
        ids = ids.dictionary_encode()
    joined = ids.unify_dictionaries().combine_chunks()
    return list(joined.chunks) if isinstance(joined, pa.ChunkedArray) else [joined]


def _rows_of_chunk(chunk: pa.Array, task_id: I64) -> NDArray[np.int32]:
    if pa.types.is_null(chunk.type):
        return np.full(len(chunk), -1, np.int32)
    if not pa.types.is_dictionary(chunk.type):
        values = (chunk.fill_null(0) if chunk.null_count else chunk).to_numpy()
        rows = _rows_of_integers(values.astype(np.int64), task_id)
    else:
        texts = plain_texts(chunk.dictionary)
        rows_of_texts = row_of_number(task_id, text_numbers(texts))
        if chunk.dictionary.null_count:
            rows_of_texts[chunk.dictionary.is_null().to_numpy(zero_copy_only=False)] = -1
        indices = chunk.indices.fill_null(len(texts)) if chunk.null_count else chunk.indices
        rows = np.append(rows_of_texts, np.int32(-1))[indices.to_numpy()]
    if chunk.null_count:
        rows[chunk.is_null().to_numpy(zero_copy_only=False)] = -1
    return rows


def _rows_of_integers(values: I64, task_id: I64) -> NDArray[np.int32]:
    starts = run_starts(values)
    return np.repeat(row_of_number(task_id, values[starts]), np.diff(np.append(starts, len(values))))


def run_starts(values: NDArray[Any]) -> I64:
    """Index of the first element of each run of equal values; empty for an empty array."""
    if len(values) == 0:
        return np.zeros(0, np.int64)
    return np.concatenate(([0], np.flatnonzero(values[1:] != values[:-1]) + 1))


def group_order(rows: NDArray[np.int32]) -> list[slice] | I64 | None:
    """How to bring fragments into task order, stably: None where they are, slices of runs, or an index array."""
    starts = run_starts(rows)
    heads = rows[starts]
    if bool(np.all(heads[1:] > heads[:-1])):
        return None
    order = np.argsort(heads, kind="stable")
    if bool(np.all(np.diff(heads[order]) > 0)) and len(starts) * 16 < len(rows):
        ends = np.append(starts[1:], len(rows))
        return [slice(a, b) for a, b in zip(starts[order].tolist(), ends[order].tolist(), strict=True)]
    small = rows.astype(np.uint16) if len(rows) and int(rows.max()) < 2**16 else rows  # 16 bits sort by radix
    return np.argsort(small, kind="stable")


def arranged(values: NDArray[Any], order: list[slice] | I64 | None) -> NDArray[Any]:
    """A writable, contiguous copy of the values in an order from ``group_order``."""
    if order is None:
        return np.array(values)
    if isinstance(order, list):
        return np.concatenate([values[part] for part in order]) if order else values[:0].copy()
    return values[order]

"""Tasks and fragments of an OpenDC trace folder as a checked ``Workload``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opendt.errors import TraceError
from opendt.models.workload import I64, Fragments, Tasks, Workload, task_numbers
from opendt.traces import grouping, ids, values
from opendt.traces.columns import OPENDC_FRAGMENTS, OPENDC_TASKS, Column
from opendt.traces.parquet import RawTable
from opendt.traces.values import RowCheck


@dataclass(frozen=True, slots=True)
class Decoded:
    """A workload and what happened on the way to it."""

    workload: Workload
    dropped: Counter[str]
    repaired: Counter[str]


def decode(tasks: RawTable, fragments: RawTable, skip_invalid: bool) -> Decoded:
    """The workload of two raw tables.

    Raises ``TraceError`` for the first bad row, or with ``skip_invalid`` only when no task or fragment is left.
    """
    task_check = RowCheck(tasks.file, tasks.rows, skip_invalid)
    columns = _task_columns(tasks, task_check)
    _refuse_if_none_left(task_check)
    fragment_check = RowCheck(fragments.file, fragments.rows, skip_invalid)
    found = _fragment_columns(fragments, fragment_check, columns["task_id"], task_check.keep)
    _refuse_if_none_left(fragment_check)
    kept: dict[str, Any] = {
        name: column if name == "parents" else task_check.kept(column) for name, column in columns.items()
    }
    kept_found = {name: fragment_check.kept(column) for name, column in found.items()}
    if task_check.keep is not None:  # row numbers among the tasks that are left
        kept_found["row"] = (np.cumsum(task_check.keep) - 1).astype(np.int32)[kept_found["row"]]
    return Decoded(
        _grouped(kept, kept_found),
        _prefixed("task", task_check.dropped) + _prefixed("fragment", fragment_check.dropped),
        task_check.repaired + fragment_check.repaired,
    )


def _grouped(tasks: dict[str, Any], fragments: dict[str, NDArray[Any]]) -> Workload:
    """The workload of checked columns; ``fragments["row"]`` is the task row of each fragment."""
    row = fragments["row"]
    order = grouping.group_order(row)
    count = np.bincount(row, minlength=len(tasks["task_id"])).astype(np.int64)
    usage = grouping.arranged(fragments["cpu_usage_mhz"], order)
    gpu = fragments.get("gpu_usage_mhz")
    return Workload(
        Tasks(**tasks, fragment_count=count, has_cpu_usage=_any_above_zero(usage, count)),
        Fragments(
            task_id=np.repeat(tasks["task_id"], count),
            duration_ms=grouping.arranged(fragments["duration_ms"], order),
            cpu_usage_mhz=usage,
            gpu_usage_mhz=np.zeros(len(usage)) if gpu is None else grouping.arranged(gpu, order),
        ),
    )


def _task_columns(raw: RawTable, check: RowCheck) -> dict[str, Any]:
    by_name = {column.name: column for column in OPENDC_TASKS}
    columns: dict[str, Any] = {}
    columns["task_id"], columns["name"] = _task_ids(raw.arrays["task_id"], by_name["task_id"], check)
    columns["submission_ms"] = np.array(values.times(raw.arrays["submission_ms"], by_name["submission_ms"], check))
    for name, dtype in (("duration_ms", np.int64), ("cpu_count", np.int32), ("mem_capacity", np.int64)):
        columns[name] = _narrow(values.integers(raw.arrays[name], by_name[name], check), dtype)
    columns["cpu_capacity_mhz"] = np.array(
        values.numbers(raw.arrays["cpu_capacity_mhz"], by_name["cpu_capacity_mhz"], check)
    )
    columns["gpu_count"] = _optional(raw, by_name["gpu_count"], check, np.int32)
    columns["gpu_capacity_mhz"] = _optional(raw, by_name["gpu_capacity_mhz"], check, np.float64)
    columns["deadline_ms"] = _optional(raw, by_name["deadline_ms"], check, np.int64)
    columns["deferrable"] = _deferrable(raw, by_name["nature"])
    columns["parents"] = _parents(raw, columns["task_id"], check)
    return columns


def _narrow(column: NDArray[Any], dtype: Any) -> NDArray[Any]:
    # Out-of-range values stand only in rows already marked as bad.
    return np.clip(column, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def _optional(raw: RawTable, column: Column, check: RowCheck, dtype: Any) -> NDArray[Any]:
    array = raw.arrays.get(column.name)
    if array is None:
        return np.full(raw.rows, column.default, dtype)
    if column.kind == "number":
        return np.array(values.numbers(array, column, check))
    decoded = (values.times if column.kind == "time" else values.integers)(array, column, check)
    return _narrow(decoded, dtype)


def _deferrable(raw: RawTable, column: Column) -> NDArray[np.bool_]:
    array = raw.arrays.get(column.name)
    if array is None:
        return np.zeros(raw.rows, np.bool_)
    return np.array([text == "deferrable" for text in values.texts(array, column)], np.bool_)


def _task_ids(array: pa.ChunkedArray, column: Column, check: RowCheck) -> tuple[I64, NDArray[np.str_]]:
    values.reject_nulls(array, column, check)
    if pa.types.is_integer(array.type):
        number = values.integers(array, column, check).copy()
        name = number.astype(np.str_)
    else:
        texts = ids.plain_texts(array)
        blank = pc.equal(texts, "").to_numpy(zero_copy_only=False)
        if array.null_count:
            blank = blank & array.is_valid().to_numpy().astype(np.bool_)
        check.reject(blank, column.source, "id missing", lambda _: "is empty text")
        number, name = ids.text_numbers(texts), ids.as_names(texts)
    _, first = np.unique(number, return_index=True)
    if len(first) < len(number):
        again = np.ones(len(number), np.bool_)
        again[first] = False
        if check.keep is not None:
            again &= check.keep
        check.reject(again, column.source, "id duplicate", lambda row: f"is {name[row]}, which an earlier row has")
    return number, name


def _fragment_columns(raw: RawTable, check: RowCheck, task_id: I64, task_keep: values.Mask | None) -> dict[str, Any]:
    by_name = {column.name: column for column in OPENDC_FRAGMENTS}
    column = raw.arrays["task_id"]
    values.reject_nulls(column, by_name["task_id"], check)
    row = grouping.task_rows(column, task_id)
    if len(row) and int(row.min()) < 0:
        check.reject(row < 0, "id", "of an unknown task",
                     lambda at: f"is {column[at].as_py()}, which tasks.parquet does not have")  # fmt: skip
    if task_keep is not None:
        orphan = (row >= 0) & ~task_keep[np.maximum(row, 0)]
        check.reject(orphan, "id", "of a dropped task", lambda at: f"is {column[at].as_py()}, whose task was dropped")
    found: dict[str, Any] = {"row": row}
    found["duration_ms"] = values.integers(raw.arrays["duration_ms"], by_name["duration_ms"], check)
    for name in ("cpu_usage_mhz", "gpu_usage_mhz"):
        if name in raw.arrays:
            found[name] = values.numbers(raw.arrays[name], by_name[name], check)
    return found


def _refuse_if_none_left(check: RowCheck) -> None:
    if check.keep is not None and not check.keep.any():
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(check.dropped.items()))
        raise TraceError(f"{check.file}: no valid row is left ({reasons}). Fix the trace.", file=check.file)


def _any_above_zero(usage: NDArray[np.float64], count: I64) -> NDArray[np.bool_]:
    has = np.zeros(len(count), np.bool_)
    some = np.flatnonzero(count)
    if len(some):
        starts = (np.cumsum(count) - count)[some]
        has[some] = np.maximum.reduceat(usage, starts) > 0
    return has


def _parents(raw: RawTable, task_id: I64, check: RowCheck) -> dict[int, tuple[int, ...]]:
    """Parents by task, from ``parents`` where the file has it, else turned round from ``children``.

    A task whose parent is unknown or dropped could never start, so it is invalid too, and so are its children.
    """
    column = "parents" if "parents" in raw.arrays else "children"
    links = _links(raw.arrays.get(column), task_id)
    if column == "children":
        links = _turned_round(links)
    if not links:
        return {}
    at = {number: row for row, number in reversed(list(enumerate(task_id.tolist())))}
    while True:
        known = set(check.kept(task_id).tolist())
        bad = np.zeros(raw.rows, np.bool_)
        bad[[at.get(c, 0) for c, parents in links.items() if c in known and not known.issuperset(parents)]] = True
        if not bad.any():
            return {child: parents for child, parents in links.items() if child in known}
        check.reject(bad, column, "of an unknown parent",
                     lambda row: "names a parent that tasks.parquet does not have")  # fmt: skip


def _turned_round(links: dict[int, tuple[int, ...]]) -> dict[int, tuple[int, ...]]:
    parents: dict[int, list[int]] = {}
    for parent, children in links.items():
        for child in children:
            parents.setdefault(child, []).append(parent)
    return {child: tuple(found) for child, found in parents.items()}


def _links(array: pa.ChunkedArray | None, task_id: I64) -> dict[int, tuple[int, ...]]:
    if array is None or pa.types.is_null(array.type):
        return {}
    lists = zip(task_id.tolist(), array.to_pylist(), strict=True)
    return {number: tuple(_number(value) for value in listed) for number, listed in lists if listed}


def _number(value: Any) -> int:
    return int(task_numbers([value])[0]) if isinstance(value, str) else int(value)


def _prefixed(word: str, counts: Counter[str]) -> Counter[str]:
    return Counter({f"{word} {reason}": count for reason, count in counts.items()})

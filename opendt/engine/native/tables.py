"""Result tables in OpenDC's columns, types and order (SEMANTICS 9), from the rows kernels wrote."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from opendt.engine.native.compiled import kernel
from opendt.engine.native.memory import copy_eight

# Rows of the blocks that stand for repeated values: a column that repeats is a row of references to one such block,
# which costs neither the memory nor the time of writing it out.
BLOCK_ROWS = 1 << 14

# 1000 kg over 5 years of 365 days, spread evenly [g/ms].
EMBODIED_G_PER_MS = 1_000_000.0 / (5 * 365 * 24 * 3600 * 1000)

_KINDS = {"i32": pa.int32(), "i64": pa.int64(), "f32": pa.float32(), "str": pa.string()}


def _schema(text: str) -> pa.Schema:
    """``name:type`` pairs; a question mark after the type makes the column nullable."""
    fields = []
    for item in text.split():
        name, kind = item.split(":")
        fields.append(pa.field(name, _KINDS[kind.rstrip("?")], nullable=kind.endswith("?")))
    return pa.schema(fields)


POWER_SOURCE = _schema(
    "timestamp:i64 timestamp_absolute:i64 source_name:str cluster_name:str power_draw:f32 energy_usage:f32 "
    "carbon_intensity:f32 carbon_emission:f32"
)
SERVICE = _schema(
    "timestamp:i64 timestamp_absolute:i64 hosts_up:i32 hosts_down:i32 tasks_total:i32 tasks_pending:i32 "
    "tasks_active:i32 tasks_completed:i32 tasks_terminated:i32"
)
HOST = _schema(
    "timestamp:i64 timestamp_absolute:i64 host_name:str cluster_name:str core_count:i32 mem_capacity:i64 "
    "tasks_terminated:i32 tasks_running:i32 tasks_error:i32 tasks_invalid:i32 cpu_capacity:f32 cpu_usage:f32 "
    "cpu_demand:f32 cpu_utilization:f32 cpu_time_active:i64 cpu_time_idle:i64 cpu_time_steal:i64 cpu_time_lost:i64 "
    "power_draw:f32 energy_usage:f32 embodied_carbon:f32 uptime:i64 downtime:i64 boot_time:i64?"
)
TASK = _schema(
    "timestamp:i64 timestamp_absolute:i64 task_id:i32 task_name:str host_name:str mem_capacity:i64 cpu_count:i32 "
    "cpu_limit:f32 cpu_usage:f32 cpu_demand:f32 cpu_time_active:i64 cpu_time_idle:i64 cpu_time_steal:i64 "
    "cpu_time_lost:i64 gpu_count:i32? gpu_limit:f32? gpu_usage:f32? gpu_demand:f32? gpu_time_active:i64? "
    "gpu_time_idle:i64? gpu_time_steal:i64? gpu_time_lost:i64? uptime:i64 downtime:i64 num_failures:i64 "
    "num_pauses:i64 schedule_time:i64? submission_time:i64? finish_time:i64? task_state:str?"
)
TASK_WIDE = TASK.set(2, pa.field("task_id", pa.int64(), nullable=False))  # for ids beyond 32 bits
BATTERY = _schema(
    "timestamp:i64 timestamp_absolute:i64 battery_name:str cluster_name:str power_draw:f32 energy_usage:f32 "
    "embodied_carbon_emission:f32 charge:f32 capacity:f32 battery_state:str?"
)
EVENTS = pa.schema(
    [
        pa.field("task_id", pa.int64(), nullable=False),
        pa.field("task_name", pa.string(), nullable=False),
        pa.field("event", pa.string(), nullable=False),
        pa.field("time_ms", pa.int64(), nullable=False),
        pa.field("host_name", pa.string()),
        pa.field("cluster_name", pa.string()),
    ]
)


def build(schema: pa.Schema, rows: int, columns: dict[str, Any]) -> pa.Table:
    """A table of ``rows`` rows from arrays by column name; a scalar fills its column, an absent column is zero."""
    arrays = []
    for name, kind in _kinds(schema):
        value = columns.get(name, 0)
        if isinstance(value, _ARROW):
            arrays.append(value)
        elif isinstance(value, _LISTS):
            arrays.append(pa.array(np.ascontiguousarray(value, dtype=kind)))
        else:
            arrays.append(first_rows(_constant(kind, value), rows))
    return pa.Table.from_arrays(arrays, schema=schema)


_ARROW, _LISTS = (pa.Array, pa.ChunkedArray), (np.ndarray, list)
_NUMPY = {pa.int32(): "i4", pa.int64(): "i8", pa.float32(): "f4", pa.string(): ""}
_KNOWN: dict[int, tuple[pa.Schema, list[tuple[str, str]]]] = {}


def _kinds(schema: pa.Schema) -> list[tuple[str, str]]:
    """Name and NumPy type of every column: asking Arrow each time costs more than making a small table."""
    known = _KNOWN.get(id(schema))
    if known is None:
        known = _KNOWN[id(schema)] = (schema, [(field.name, _NUMPY[field.type]) for field in schema])
    return known[1]


@lru_cache(maxsize=64)
def _constant(kind: str, value: float) -> pa.Array:
    return pa.array(np.full(BLOCK_ROWS, value, np.dtype(kind)))


def first_rows(block: pa.Array, rows: int) -> pa.Array | pa.ChunkedArray:
    """The first rows of a block repeated without end."""
    whole, rest = divmod(rows, len(block))
    if whole == 0:
        return block.slice(0, rest)
    return pa.chunked_array([block] * whole + [block.slice(0, rest)] * (rest > 0), block.type)


def copies(rows: int) -> int:
    """How many copies of ``rows`` rows make a block."""
    return max(1, BLOCK_ROWS // max(rows, 1))


def of_samples(values: Any, each: int, kind: str) -> pa.Array | pa.ChunkedArray:
    """A column in which every sample has one value for its ``each`` rows; best where most samples have the same."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    if len(changes) * 8 > len(values):
        return pa.array(np.repeat(values.astype(kind), each))
    edges = [0, *changes.tolist(), len(values)]
    parts: list[pa.Array] = []
    for begin, end in pairwise(edges):
        run = first_rows(_constant(kind, values[begin].item()), (end - begin) * each)
        parts += run.chunks if isinstance(run, pa.ChunkedArray) else [run]
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts)


class Words:
    """Strings to choose from, made ready for ``text_column``."""

    __slots__ = ("array", "starts", "text")

    def __init__(self, values: Any) -> None:
        self.array = pa.array([*values, ""], pa.string())
        self.starts = np.frombuffer(self.array.buffers()[1], np.int32)[: len(self.array) + 1]
        size = int(self.starts[-1])
        self.text = np.zeros(size + STRIDE, np.uint8)
        if size:
            self.text[:size] = np.frombuffer(self.array.buffers()[2], np.uint8, size)


def text_column(words: Words, index: Any, *, nullable: bool = False) -> pa.Array:
    """Strings ``words[index]``; an index of -1 gives the empty string, or null."""
    n = len(index)
    offsets = np.empty(n + 1, np.int32)
    size = place_words(words.starts, index, offsets)
    valid = pa.py_buffer(np.packbits(index >= 0, bitorder="little")) if nullable else None
    if size >= 2**31:  # more text than one Arrow array holds
        missing = index < 0
        return words.array.take(pa.array(np.where(missing, len(words.array) - 1, index), mask=missing & nullable))
    made = np.empty(size + STRIDE, np.uint8)
    copy_words(words.starts, words.text, index, offsets, made)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(made[:size]), valid)


STRIDE = 8  # bytes copied at once; both texts of a copy need as much room behind their end


@kernel
def place_words(starts: Any, index: Any, offsets: Any) -> Any:
    """Where each word begins in the text to make; returns its size. ``starts`` ends with an empty word for -1."""
    at = 0
    last = len(starts) - 2
    for i in range(len(index)):
        k = index[i] if index[i] >= 0 else last
        offsets[i] = at
        at += starts[k + 1] - starts[k]
    offsets[len(index)] = at
    return at


@kernel
def copy_words(starts: Any, text: Any, index: Any, offsets: Any, made: Any) -> None:
    """Copy the words to their places, eight bytes at once: what is too much, the next word overwrites."""
    for i in range(len(index)):
        if index[i] < 0:
            continue
        at = offsets[i]
        begin = starts[index[i]]
        for j in range(0, offsets[i + 1] - at, STRIDE):
            copy_eight(made, at + j, text, begin + j)


def nullable(values: Any) -> pa.Array:
    """int64 column in which negative values are null."""
    values = np.ascontiguousarray(values, dtype=np.int64)
    valid = pa.py_buffer(np.packbits(values >= 0, bitorder="little"))
    return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(values)])


def repeated_text(values: Any, times: int) -> pa.Array | pa.ChunkedArray:
    """The strings ``values`` over and over, ``times`` times."""
    if len(values) == 0 or times == 0:
        return pa.array([], pa.string())
    once = list(values)
    return first_rows(pa.array(once * min(times, copies(len(once))), pa.string()), len(once) * times)

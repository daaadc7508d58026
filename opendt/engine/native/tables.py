"""Result tables in OpenDC's columns, types and order (SEMANTICS 9), from the rows kernels wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from opendt.engine.native.compiled import kernel

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
    """A table of ``rows`` rows from arrays by column name; a scalar fills its column, an absent column is zero.

    Equal constants of equal type share one buffer.
    """
    constants: dict[tuple[str, Any], pa.Array] = {}
    arrays = []
    for field in schema:
        value = columns.get(field.name, 0)
        if isinstance(value, pa.Array | pa.ChunkedArray):
            arrays.append(value)
            continue
        dtype = field.type.to_pandas_dtype()
        if np.ndim(value) == 0:
            key = (str(field.type), value)
            if key not in constants:
                made = np.zeros(rows, dtype) if value == 0 else np.full(rows, value, dtype)
                constants[key] = pa.array(made)
            arrays.append(constants[key])
        else:
            arrays.append(pa.array(np.ascontiguousarray(value, dtype=dtype)))
    return pa.Table.from_arrays(arrays, schema=schema)


def text_column(values: Any, index: Any) -> pa.Array:
    """Strings ``values[index]``; an index of -1 gives the empty string."""
    index = np.ascontiguousarray(index, dtype=np.int64)
    words = pa.array([*values, ""], pa.string())
    starts = np.frombuffer(words.buffers()[1], np.int32)[: len(words) + 1]
    text = np.frombuffer(words.buffers()[2] or b"", np.uint8)
    offsets = np.empty(len(index) + 1, np.int64)
    size = place_words(starts, index, offsets)
    if size >= 2**31:  # more text than one Arrow array holds
        return words.take(pa.array(np.where(index < 0, len(words) - 1, index)))
    made = np.empty(size, np.uint8)
    copy_words(starts, text, index, offsets, made)
    return pa.StringArray.from_buffers(len(index), pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(made))


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
    """Copy the words to their places."""
    for i in range(len(index)):
        at = offsets[i]
        begin = starts[index[i]] if index[i] >= 0 else 0
        for j in range(offsets[i + 1] - at):
            made[at + j] = text[begin + j]


def nullable(values: Any) -> pa.Array:
    """int64 column in which negative values are null."""
    values = np.ascontiguousarray(values, dtype=np.int64)
    return pa.array(values, mask=values < 0)


def repeated_text(values: Any, times: int) -> pa.Array:
    """The strings ``values`` over and over, ``times`` times."""
    block = pa.array(list(values), pa.string())
    n = len(block)
    if n == 0 or times == 0:
        return pa.array([], pa.string())
    starts = np.frombuffer(block.buffers()[1], np.int32)[: n + 1]
    total = int(starts[-1])
    if total * times >= 2**31:
        return pa.chunked_array([block] * times, pa.string())
    offsets = np.empty(n * times + 1, np.int32)
    np.add(np.arange(times, dtype=np.int32)[:, None] * total, starts[:-1], out=offsets[:-1].reshape(times, n))
    offsets[-1] = total * times
    text = np.frombuffer(block.buffers()[2] or b"", np.uint8)[:total].tobytes() * times
    return pa.StringArray.from_buffers(n * times, pa.py_buffer(offsets), pa.py_buffer(text))

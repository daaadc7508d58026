"""OpenDC's result files as tables: checked against the documented columns, ordered, our task ids restored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from opendt.errors import EngineError

_KINDS = {"i": pa.int32(), "l": pa.int64(), "f": pa.float32(), "s": pa.string()}


def _schema(columns: str) -> pa.Schema:
    """``name:type`` pairs; a trailing ? marks a nullable column."""
    pairs = (word.split(":") for word in columns.split())
    return pa.schema([pa.field(name, _KINDS[kind[0]], nullable=kind.endswith("?")) for name, kind in pairs])


SCHEMAS: dict[str, pa.Schema] = {
    "powerSource": _schema(
        "timestamp:l timestamp_absolute:l source_name:s cluster_name:s power_draw:f energy_usage:f carbon_intensity:f "
        "carbon_emission:f"
    ),
    "host": _schema(
        "timestamp:l timestamp_absolute:l host_name:s cluster_name:s core_count:i mem_capacity:l tasks_terminated:i "
        "tasks_running:i tasks_error:i tasks_invalid:i cpu_capacity:f cpu_usage:f cpu_demand:f cpu_utilization:f "
        "cpu_time_active:l cpu_time_idle:l cpu_time_steal:l cpu_time_lost:l power_draw:f energy_usage:f "
        "embodied_carbon:f uptime:l downtime:l boot_time:l?"
    ),
    "task": _schema(
        "timestamp:l timestamp_absolute:l task_id:i task_name:s host_name:s mem_capacity:l cpu_count:i cpu_limit:f "
        "cpu_usage:f cpu_demand:f cpu_time_active:l cpu_time_idle:l cpu_time_steal:l cpu_time_lost:l gpu_count:i? "
        "gpu_limit:f? gpu_usage:f? gpu_demand:f? gpu_time_active:l? gpu_time_idle:l? gpu_time_steal:l? "
        "gpu_time_lost:l? uptime:l downtime:l num_failures:l num_pauses:l schedule_time:l? submission_time:l? "
        "finish_time:l? task_state:s?"
    ),
    "service": _schema(
        "timestamp:l timestamp_absolute:l hosts_up:i hosts_down:i tasks_total:i tasks_pending:i tasks_active:i "
        "tasks_completed:i tasks_terminated:i"
    ),
    "battery": _schema(
        "timestamp:l timestamp_absolute:l battery_name:s cluster_name:s power_draw:f energy_usage:f "
        "embodied_carbon_emission:f charge:f capacity:f battery_state:s?"
    ),
}
_ENTITY = {"powerSource": "source_name", "host": "host_name", "task": "task_id", "battery": "battery_name"}


def read_output(folder: Path, name: str) -> pa.Table:
    """One table from the folder OpenDC wrote for a scenario and seed, ordered by (timestamp, entity).

    Extra columns (GPUs) are kept after the documented ones.

    Raises ``EngineError`` for a file that is absent, unfinished, not Parquet, or without a documented column.
    """
    path = folder / f"{name}.parquet"
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise _broken(path, "was not written") from None
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, f"is unfinished or damaged ({str(error).splitlines()[0]})") from None
    schema = SCHEMAS[name]
    missing = [field.name for field in schema if field.name not in table.column_names]
    if missing:
        raise _broken(path, f"lacks the column(s) {', '.join(missing)}; this is not the OpenDC version we know")
    try:
        known = table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise _broken(path, f"has other column types than documented ({error})") from None
    for field in table.schema:
        if field.name not in schema.names:
            known = known.append_column(field.remove_metadata(), table[field.name])
    return ordered(name, known)


def ordered(name: str, table: pa.Table) -> pa.Table:
    """Rows by time, then entity; rows of the same time and entity keep their order."""
    keys = [table["timestamp"].to_numpy()]
    if name in _ENTITY:
        entity = table[_ENTITY[name]]
        if pa.types.is_string(entity.type):
            encoded = entity.combine_chunks().dictionary_encode()
            names = encoded.dictionary.to_numpy(zero_copy_only=False).astype(np.str_)
            codes = np.argsort(np.argsort(names))[encoded.indices.to_numpy()]
        else:
            codes = entity.to_numpy()
        keys.insert(0, codes)
    return table.take(np.lexsort(keys)).combine_chunks()


def _broken(path: Path, what: str) -> EngineError:
    return EngineError(
        f"OpenDC's result {path} {what}. See stderr.txt and stdout.txt of the run.", engine="opendc",
        reason=f"{path.name} {what}", file=str(path),
    )  # fmt: skip


def between(table: pa.Table, start_ms: int | None, end_ms: int | None) -> pa.Table:
    """Rows with ``start_ms <= timestamp_absolute < end_ms`` [epoch ms]; None leaves a side open."""
    time = table["timestamp_absolute"]
    keep = pc.is_valid(time)
    if start_ms is not None:
        keep = pc.and_(keep, pc.greater_equal(time, start_ms))
    if end_ms is not None:
        keep = pc.and_(keep, pc.less(time, end_ms))
    return table.filter(keep).combine_chunks()


def with_our_ids(table: pa.Table, runner_id: np.ndarray, task_id: np.ndarray) -> pa.Table:
    """The task table with our ids; they stay int32 where OpenDC was given ours."""
    if np.array_equal(runner_id, task_id):
        return table
    order = np.argsort(runner_id)
    mapped = task_id[order[np.searchsorted(runner_id[order], table["task_id"].to_numpy())]]
    at = table.column_names.index("task_id")
    return table.set_column(at, pa.field("task_id", pa.int64(), nullable=False), pa.array(mapped, pa.int64()))


def empty(name: str) -> pa.Table:
    """The table without rows."""
    return SCHEMAS[name].empty_table()

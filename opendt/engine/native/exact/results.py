"""Result tables of the exact engine from its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from opendt.engine.native import tables
from opendt.engine.native.layout import Site

Rows = list[tuple[Any, ...]]
_GPU = ("capacity", "usage", "demand", "utilization", "time_active", "time_idle", "time_steal", "power_draw")
_GPU_INTEGERS = ("time_active", "time_idle", "time_steal", "time_lost")


def columns_of(rows: Rows, names: str) -> dict[str, Any]:
    """Columns by name; a name ``-`` is left out."""
    parts = list(zip(*rows, strict=True)) if rows else []
    return {name: list(part) for name, part in zip(names.split(), parts, strict=False) if name != "-"}


def table(schema: pa.Schema, rows: Rows, names: str, origin_ms: int, **more: Any) -> pa.Table:
    """A table from rows; text stays text, negative numbers of nullable columns become null."""
    if not rows:
        return schema.empty_table()
    columns: dict[str, Any] = {**columns_of(rows, names), **more}
    columns["timestamp_absolute"] = np.array(columns["timestamp"], np.int64) + origin_ms
    for field in schema:
        value = columns.get(field.name)
        if value is None:
            continue
        if pa.types.is_string(field.type):
            columns[field.name] = pa.array(value, pa.string())
        elif field.nullable and field.name.endswith(("_time", "finish_time")):
            columns[field.name] = tables.nullable(value)
    return tables.build(schema, len(rows), columns)


def power_source(rows: Rows, site: Site, origin_ms: int) -> pa.Table:
    """powerSource table."""
    clusters = [row[1] for row in rows]
    return table(
        tables.POWER_SOURCE, rows, "timestamp - power_draw energy_usage carbon_intensity carbon_emission", origin_ms,
        source_name=[site.source_names[c] for c in clusters], cluster_name=[site.cluster_names[c] for c in clusters],
    )  # fmt: skip


def service(rows: Rows, origin_ms: int) -> pa.Table:
    """service table."""
    return table(tables.SERVICE, rows, "timestamp " + " ".join(tables.SERVICE.names[2:]), origin_ms)


def battery(rows: Rows, names: dict[int, str], site: Site, origin_ms: int) -> pa.Table:
    """battery table."""
    return table(
        tables.BATTERY, rows,
        "timestamp - power_draw energy_usage embodied_carbon_emission charge capacity battery_state", origin_ms,
        battery_name=[names[row[1]] for row in rows], cluster_name=[site.cluster_names[row[1]] for row in rows],
    )  # fmt: skip


def host(rows: Rows, site: Site, origin_ms: int) -> pa.Table:
    """host table; with ``gpu_*_i`` columns when any host has GPUs."""
    made = table(
        tables.HOST, rows,
        "timestamp host_name - core_count mem_capacity tasks_running cpu_capacity cpu_usage cpu_demand "
        "cpu_utilization cpu_time_active cpu_time_idle cpu_time_steal power_draw energy_usage embodied_carbon uptime "
        "downtime",
        origin_ms,
        cluster_name=[site.cluster_names[row[2]] for row in rows],
        boot_time=[row[18] + origin_ms for row in rows],
    )  # fmt: skip
    for number in range(max((len(row[19]) for row in rows), default=0)):
        gpus = [row[19][number] if number < len(row[19]) else None for row in rows]
        for name in ("capacity", "usage", "demand", "utilization", *_GPU_INTEGERS, "power_draw"):
            kind = pa.int64() if name in _GPU_INTEGERS else pa.float32()
            place = _GPU.index(name) if name in _GPU else -1
            values = [None if gpu is None else 0 if place < 0 else gpu[place] for gpu in gpus]
            made = made.append_column(pa.field(f"gpu_{name}_{number}", kind), pa.array(values, kind))
    return made


def task(rows: Rows, origin_ms: int) -> pa.Table:
    """task table."""
    schema = tables.TASK
    if any(abs(row[1]) > np.iinfo(np.int32).max for row in rows):
        schema = tables.TASK_WIDE
    return table(
        schema, rows,
        "timestamp task_id task_name host_name mem_capacity cpu_count cpu_limit cpu_usage cpu_demand cpu_time_active "
        "cpu_time_idle cpu_time_steal gpu_time_active gpu_time_idle gpu_time_steal uptime downtime gpu_count gpu_limit "
        "gpu_usage gpu_demand num_failures num_pauses schedule_time submission_time finish_time task_state",
        origin_ms,
    )  # fmt: skip


def events(found: list[Any], site: Site, origin_ms: int) -> pa.Table:
    """task_events table."""
    if not found:
        return tables.EVENTS.empty_table()
    ids, names, kinds, times, hosts, clusters = zip(*found, strict=True)
    return pa.Table.from_arrays(
        [
            pa.array(ids, pa.int64()),
            pa.array(names, pa.string()),
            pa.array(kinds, pa.string()),
            pa.array(np.array(times, np.int64) + origin_ms),
            pa.array(hosts, pa.string()),
            pa.array([site.cluster_names[c] if c >= 0 else None for c in clusters], pa.string()),
        ],
        schema=tables.EVENTS,
    )

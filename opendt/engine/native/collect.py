"""From the rows of kernels to result tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from opendt.engine.base import EngineOptions, Occupancy, SimulationResult
from opendt.engine.native import tables, world
from opendt.engine.native.layout import Site
from opendt.engine.native.session import Session
from opendt.engine.native.state import NativeState

_STATES, _EVENTS = tables.Words(world.STATE_NAMES), tables.Words(world.EVENT_NAMES)
_COUNTS = tables.SERVICE.names[2:]
_INT32 = np.iinfo(np.int32).max


@dataclass(slots=True)
class Rows:
    """Output blocks of one call, each cut to what was used when it is read."""

    blocks: list[world.Output] = field(default_factory=list)

    def add(self, out: world.Output) -> None:
        self.blocks.append(out)

    def count(self, kind: int) -> int:
        """Rows of a kind."""
        return sum(int(b.used[kind]) for b in self.blocks)

    def column(self, name: str, kind: int) -> Any:
        """A column over all blocks; ``kind`` is the position of its count in ``used``."""
        parts = [getattr(b, name)[: b.used[kind]] for b in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def line(self, name: str, line: Any, kind: int) -> Any:
        """One line of a column group over all blocks; ``...`` where the group is one column."""
        parts = [getattr(b, name)[line, : b.used[kind]] for b in self.blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


SAMPLES, HOSTS, TASKS, EVENTS = 0, 1, 2, 3


def result_of(state: NativeState, session: Session, rows: Rows, end_ms: int) -> SimulationResult:
    """Tables and totals of a call that brought ``state`` to ``end_ms``."""
    site = state.site
    clock = session.clock
    before_j, before_g = totals(state.arrays["clusters"], _sim_until(state))
    task_names = tables.Words(session.names)
    after_j, after_g = totals(session.clusters, end_ms - (state.origin_ms or 0))
    return SimulationResult(
        power_source=_power_source(state, session, rows),
        host=_host(state, session, rows),
        service=_service(state, rows),
        task=_task(state, session, rows, task_names) if state.options.task_rows else None,
        task_events=_events(state, session, rows, task_names),
        occupancy=_occupancy(state, site, rows) if state.options.occupancy_knots else None,
        energy_j=after_j - before_j,
        carbon_g=after_g - before_g,
        tasks_started=int(clock[world.STARTED_CALL]),
        tasks_completed=int(clock[world.COMPLETED_CALL]),
        tasks_terminated=int(clock[world.TERMINATED_CALL]),
        tasks_running=int(clock[world.ACTIVE]),
        tasks_waiting=int(clock[world.QUEUE_TAIL] - clock[world.QUEUE_HEAD] + clock[world.WAITING_PARENTS]),
    )


def totals(c: Any, until: int) -> tuple[float, float]:
    """Energy [J] and emission [g] of all clusters from the beginning to simulated time ``until`` [ms]."""
    rest_j = c["power_w"] * np.maximum(until - c["since_ms"], 0) * 0.001
    grams = c["total_g"] + c["intensity"] * (c["piece_j"] + rest_j) / 3.6e6
    return float((c["total_j"] + rest_j).sum()), float(grams.sum())


def _sim_until(state: NativeState) -> int:
    return 0 if state.until_ms is None or state.origin_ms is None else state.until_ms - state.origin_ms


def nothing(options: EngineOptions) -> SimulationResult:
    """The result of a call in which nothing happened."""
    return SimulationResult(
        power_source=tables.POWER_SOURCE.empty_table(),
        host=tables.HOST.empty_table(),
        service=tables.SERVICE.empty_table(),
        task=tables.TASK.empty_table() if options.task_rows else None,
        task_events=tables.EVENTS.empty_table(),
        occupancy=None,
        energy_j=0.0,
        carbon_g=0.0,
        tasks_started=0,
        tasks_completed=0,
        tasks_terminated=0,
        tasks_running=0,
        tasks_waiting=0,
    )


def _power_source(state: NativeState, session: Session, rows: Rows) -> pa.Table:
    sample_ms, source = rows.column("sample_ms", SAMPLES), rows.column("source", SAMPLES)
    n, clusters = source.shape[:2]
    at = np.repeat(sample_ms, clusters)
    flat = source.reshape(n * clusters, 4)
    if len(at) == 0:
        return tables.POWER_SOURCE.empty_table()
    columns = {
        **{name: tables.first_rows(block, len(at)) for name, block in _fixed(state, session).source.items()},
        "timestamp": at,
        "timestamp_absolute": at + state.origin_ms,
        "power_draw": flat[:, 0],
        "energy_usage": flat[:, 1],
        "carbon_intensity": flat[:, 2],
        "carbon_emission": flat[:, 3],
    }
    return tables.build(tables.POWER_SOURCE, n * clusters, columns)


def _service(state: NativeState, rows: Rows) -> pa.Table:
    at, counts = rows.column("sample_ms", SAMPLES), rows.column("service", SAMPLES)
    counted = counts.astype(np.int32).T
    columns = {name: counted[i] for i, name in enumerate(_COUNTS)}
    return tables.build(
        tables.SERVICE, len(at), {"timestamp": at, "timestamp_absolute": at + state.origin_ms, **columns}
    )


def _host(state: NativeState, session: Session, rows: Rows) -> pa.Table:
    at = rows.line("host_int", 0, HOSTS)
    h = len(session.hosts)
    if len(at) == 0 or h == 0:
        return tables.HOST.empty_table()
    times = at[::h]
    uptime = np.diff(times, prepend=state.arrays["clock"][world.HOST_ROWS_AT])
    columns = {
        **{name: tables.first_rows(block, len(at)) for name, block in _fixed(state, session).host.items()},
        "timestamp": at,
        "timestamp_absolute": rows.line("host_int", 1, HOSTS),
        "tasks_running": rows.line("host_tasks", ..., HOSTS),
        "cpu_usage": rows.line("host_float", 0, HOSTS),
        "cpu_demand": rows.line("host_float", 1, HOSTS),
        "cpu_utilization": rows.line("host_float", 4, HOSTS),
        "cpu_time_active": rows.line("host_int", 2, HOSTS),
        "cpu_time_idle": rows.line("host_int", 3, HOSTS),
        "cpu_time_steal": rows.line("host_int", 4, HOSTS),
        "power_draw": rows.line("host_float", 2, HOSTS),
        "energy_usage": rows.line("host_float", 3, HOSTS),
        "embodied_carbon": tables.of_samples(uptime * tables.EMBODIED_G_PER_MS, h, "f4"),
        "uptime": tables.of_samples(uptime, h, "i8"),
        "boot_time": state.origin_ms,
    }
    return tables.build(tables.HOST, len(at), columns)


@dataclass(frozen=True, slots=True)
class Fixed:
    """What every sample repeats until the topology changes: columns as blocks of some samples, and names."""

    host: dict[str, pa.Array]
    source: dict[str, pa.Array]
    host_words: tables.Words
    cluster_words: tables.Words


def _fixed(state: NativeState, session: Session) -> Fixed:
    if "tables" not in session.kept:
        site, hosts = state.site, session.hosts
        times, again = tables.copies(len(hosts)), tables.copies(len(site.source_names))
        clusters = [site.cluster_names[c] for c in hosts["cluster"]]
        session.kept["tables"] = Fixed(
            host={
                "host_name": pa.array(list(state.host_names) * times, pa.string()),
                "cluster_name": pa.array(clusters * times, pa.string()),
                "core_count": pa.array(np.tile(hosts["cores"].astype(np.int32), times)),
                "mem_capacity": pa.array(np.tile(hosts["memory_mib"], times)),
                "cpu_capacity": pa.array(np.tile(hosts["capacity_mhz"].astype(np.float32), times)),
            },
            source={
                "source_name": pa.array(list(site.source_names) * again, pa.string()),
                "cluster_name": pa.array(list(site.cluster_names) * again, pa.string()),
            },
            host_words=tables.Words(state.host_names),
            cluster_words=tables.Words(site.cluster_names),
        )
    found: Fixed = session.kept["tables"]
    return found


def _task(state: NativeState, session: Session, rows: Rows, task_names: tables.Words) -> pa.Table:
    at, absolute, memory, active, idle, steal, uptime, schedule, submission, finish = (
        rows.line("task_int", line, TASKS) for line in range(10)
    )
    ids, cpu_count, slot, host, code = (rows.line("task_small", line, TASKS) for line in range(5))
    limit, usage, demand = (rows.line("task_float", line, TASKS) for line in range(3))
    schema = tables.TASK
    every_id = session.tasks["id"]
    if len(every_id) and max(every_id.max(), -every_id.min()) > _INT32:
        schema = tables.TASK_WIDE
        ids = every_id[slot]
    columns = {
        "timestamp": at,
        "timestamp_absolute": absolute,
        "task_id": ids,
        "task_name": tables.text_column(task_names, slot),
        "host_name": tables.text_column(_fixed(state, session).host_words, host),
        "mem_capacity": memory,
        "cpu_count": cpu_count,
        "cpu_limit": limit,
        "cpu_usage": usage,
        "cpu_demand": demand,
        "cpu_time_active": active,
        "cpu_time_idle": idle,
        "cpu_time_steal": steal,
        "uptime": uptime,
        "schedule_time": tables.nullable(schedule),
        "submission_time": submission,
        "finish_time": tables.nullable(finish),
        "task_state": tables.text_column(_STATES, code),
    }
    return tables.build(schema, len(at), columns)


def _events(state: NativeState, session: Session, rows: Rows, task_names: tables.Words) -> pa.Table:
    slot, kind, at, host = (rows.line("event", line, EVENTS) for line in range(4))
    clusters = np.append(session.hosts["cluster"], -1)
    fixed = _fixed(state, session)
    columns = {
        "task_id": session.tasks["id"][slot],
        "task_name": tables.text_column(task_names, slot),
        "event": tables.text_column(_EVENTS, kind),
        "time_ms": at + state.origin_ms,
        "host_name": tables.text_column(fixed.host_words, host, nullable=True),
        "cluster_name": tables.text_column(fixed.cluster_words, clusters[host], nullable=True),
    }
    return tables.build(tables.EVENTS, len(slot), columns)


def _occupancy(state: NativeState, site: Site, rows: Rows) -> Occupancy:
    return Occupancy(
        timestamp_ms=rows.column("sample_ms", SAMPLES) + state.origin_ms,
        knots=np.linspace(0.0, 1.0, state.options.occupancy_knots),
        groups=site.groups,
        weights=rows.column("weights", SAMPLES)[:, : len(site.groups)],
        mean_weights=rows.column("mean_weights", SAMPLES)[:, : len(site.groups)],
        active_hosts=rows.column("active_hosts", SAMPLES)[:, : len(site.groups)],
    )

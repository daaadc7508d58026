"""The life of tasks, read from OpenDC's task table, which has it only as columns of sampled rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opendt.models.topology import Topology

EVENTS = ("submitted", "failed", "completed", "terminated", "scheduled")  # order at equal times
SUBMITTED, FAILED, COMPLETED, TERMINATED, SCHEDULED = range(5)
SCHEMA = pa.schema([
    pa.field("task_id", pa.int64(), nullable=False), pa.field("task_name", pa.string(), nullable=False),
    pa.field("event", pa.string(), nullable=False), pa.field("time_ms", pa.int64(), nullable=False),
    pa.field("host_name", pa.string()), pa.field("cluster_name", pa.string()),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Events:
    """Columns of equal length: task id, event (index into ``EVENTS``), epoch time [ms], host name ("" for none)."""

    task_id: NDArray[np.int64]
    event: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    host: NDArray[np.str_]

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Events:
        """The rows selected by an index array or a mask."""
        return Events(self.task_id[index], self.event[index], self.time_ms[index], self.host[index])

    def count(self, event: int) -> int:
        """Number of events of a kind."""
        return int((self.event == event).sum())


def read_events(task: pa.Table, origin_ms: int) -> Events:
    """All events the task table shows, ordered by time, kind and task.

    A task placed or failed several times between two samples shows only the last of these events.
    """
    task_id = task["task_id"].to_numpy().astype(np.int64)
    host = task["host_name"].to_numpy(zero_copy_only=False).astype(np.str_)
    state = task["task_state"].fill_null("").to_numpy(zero_copy_only=False).astype(np.str_)
    found = [
        _distinct(task, task_id, SUBMITTED, "submission_time", np.ones(len(task), np.bool_), np.full(len(task), "")),
        _distinct(task, task_id, SCHEDULED, "schedule_time", np.ones(len(task), np.bool_), host),
        _distinct(task, task_id, COMPLETED, "finish_time", state == "COMPLETED", host),
        _distinct(task, task_id, TERMINATED, "finish_time", state == "TERMINATED", host),
        _distinct(task, task_id, FAILED, "finish_time", ~np.isin(state, ["COMPLETED", "TERMINATED"]), host),
    ]
    events = Events(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    events = events.take(np.lexsort((events.task_id, events.event, events.time_ms)))
    return Events(events.task_id, events.event, events.time_ms + origin_ms, events.host)


_Parts = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]


def _distinct(
    task: pa.Table,
    task_id: NDArray[np.int64],
    event: int,
    column: str,
    where: NDArray[np.bool_],
    host: NDArray[np.str_],
) -> _Parts:
    """One event per task and time in a nullable time column, with the host of the first row that shows it."""
    known = task[column].is_valid().to_numpy(zero_copy_only=False) & where
    rows = np.flatnonzero(known)
    time = task[column].fill_null(0).to_numpy().astype(np.int64)[rows]
    order = np.lexsort((rows, time, task_id[rows]))
    rows, time = rows[order], time[order]
    ids = task_id[rows]
    first = np.ones(len(rows), np.bool_)
    first[1:] = (ids[1:] != ids[:-1]) | (time[1:] != time[:-1])
    rows, time, ids = rows[first], time[first], ids[first]
    return ids, np.full(len(ids), event, np.int64), time, host[rows]


def standing(events: Events) -> tuple[int, int]:
    """(running, waiting) tasks after these events, which must be ordered by time."""
    last: dict[int, int] = dict(zip(events.task_id.tolist(), events.event.tolist(), strict=True))
    values = list(last.values())
    return values.count(SCHEDULED), values.count(SUBMITTED) + values.count(FAILED)


def event_table(events: Events, names: dict[int, str], clusters: dict[str, str]) -> pa.Table:
    """The ``task_events`` table of a result; ``names`` maps task ids, ``clusters`` host names."""
    hosts = events.host.tolist()
    columns = [
        pa.array(events.task_id, pa.int64()),
        pa.array([names[task] for task in events.task_id.tolist()], pa.string()),
        pa.array([EVENTS[kind] for kind in events.event.tolist()], pa.string()),
        pa.array(events.time_ms, pa.int64()),
        pa.array([host or None for host in hosts], pa.string()),
        pa.array([clusters.get(host) for host in hosts], pa.string()),
    ]
    return pa.table(columns, schema=SCHEMA)


def cluster_of_hosts(topology: Topology) -> dict[str, str]:
    """Host name to cluster name, both as OpenDC makes them unique (SEMANTICS 3)."""
    names = _Names()
    clusters = [names.unique(cluster.name) for cluster in topology.clusters]
    return {host: clusters[cluster] for host, (cluster, _) in host_places(topology).items()}


def host_places(topology: Topology) -> dict[str, tuple[int, int]]:
    """Unique host name to (cluster index, host type index), in OpenDC's order of hosts."""
    names = _Names()
    return {
        names.unique(host.name): (c, h)
        for c, cluster in enumerate(topology.clusters)
        for h, host in enumerate(cluster.hosts)
        for _ in range(host.count)
    }


class _Names:
    """Makes names unique: the first use keeps the plain name, later ones get ``-0``, ``-1`` and so on."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def unique(self, name: str) -> str:
        used = self._used.get(name, 0)
        self._used[name] = used + 1
        return name if used == 0 else f"{name}-{used - 1}"

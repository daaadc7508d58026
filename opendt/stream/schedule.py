"""What a replay sends, in event-time order: chunks of fragments, heartbeats, and the merge of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Fragments, Tasks, Workload

I64 = NDArray[np.int64]

# Order of records with equal event time. Heartbeats first: they promise that everything older has been sent.
HEARTBEAT, TOPOLOGY, TASK, FRAGMENTS, POWER = range(5)


class Replayable(Protocol):
    """What a replay needs of a trace."""

    @property
    def workload(self) -> Workload: ...
    @property
    def power(self) -> PowerSeries | None: ...
    @property
    def topology(self) -> Topology | None: ...


class Message(NamedTuple):
    """One message to send. ``extra`` are headers beside those every record has.

    ``tells`` are topics: a header says how many records were sent to each of their partitions before ``time_ms``.
    """

    time_ms: int
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    extra: list[tuple[str, bytes]] | None = None
    tells: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of consecutive fragments of one task, as row ranges of ``fragments``; n chunks.

    ``fragments`` are grouped by task, in task order. ``constant_*`` tells where all values of a chunk are equal.
    """

    fragments: Fragments
    task: I64  # row of the task
    start: I64  # first fragment row
    stop: I64
    first: I64  # number of the first fragment within its task
    begin_ms: I64  # event time at which the chunk begins
    constant_duration: NDArray[np.bool_]
    constant_cpu: NDArray[np.bool_]
    constant_gpu: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.task)


def task_rows(tasks: Tasks, fragments: Fragments) -> I64:
    """Row of each fragment's task. Every fragment must have one."""
    order = np.argsort(tasks.task_id, kind="stable")
    return order[np.searchsorted(tasks.task_id[order], fragments.task_id)]


def begin_times(tasks: Tasks, fragments: Fragments, rows: I64) -> I64:
    """When each fragment begins: submission plus the durations before it [ms]; fragments grouped by task."""
    before = np.cumsum(fragments.duration_ms) - fragments.duration_ms
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    sizes = np.diff(starts, append=len(rows))
    return tasks.submission_ms[rows] + before - np.repeat(before[starts], sizes)


def grouped(tasks: Tasks, fragments: Fragments) -> tuple[Fragments, I64]:
    """Fragments grouped by task in task order, and each one's task row."""
    rows = task_rows(tasks, fragments)
    if len(rows) and np.any(np.diff(rows) < 0):
        order = np.argsort(rows, kind="stable")
        fragments, rows = fragments.take(order), rows[order]
    return fragments, rows


def make_chunks(tasks: Tasks, fragments: Fragments, size: int) -> Chunks:
    """Cut every task's fragments into chunks of at most ``size``."""
    fragments, rows = grouped(tasks, fragments)
    if not len(rows):
        none, no = np.zeros(0, np.int64), np.zeros(0, np.bool_)
        return Chunks(fragments, none, none, none, none, none, no, no, no)
    task_starts = np.flatnonzero(np.diff(rows, prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(task_starts, np.diff(task_starts, append=len(rows)))
    start = np.flatnonzero(rank % size == 0)
    return Chunks(
        fragments=fragments,
        task=rows[start],
        start=start,
        stop=np.append(start[1:], len(rows)),
        first=rank[start],
        begin_ms=begin_times(tasks, fragments, rows)[start],
        constant_duration=_constant(fragments.duration_ms, start),
        constant_cpu=_constant(fragments.cpu_usage_mhz, start),
        constant_gpu=_constant(fragments.gpu_usage_mhz, start),
    )


def _constant(values: NDArray[np.generic], start: I64) -> NDArray[np.bool_]:
    return np.minimum.reduceat(values, start) == np.maximum.reduceat(values, start)


@dataclass(frozen=True, slots=True)
class Events:
    """Events of any kind as columns: event time, kind, number within its kind, partition within the kind's topic."""

    time_ms: I64
    kind: NDArray[np.int8]
    index: I64
    partition: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.time_ms)


def events(kind: int, time_ms: I64, partition: NDArray[np.int32]) -> Events:
    """All events of one kind, numbered in the order given."""
    n = len(time_ms)
    return Events(time_ms, np.full(n, kind, np.int8), np.arange(n), partition)


def merge(parts: Sequence[Events]) -> Events:
    """Events of several kinds in the order in which they are sent: by time, kind, number."""
    joined = [np.concatenate([getattr(part, name) for part in parts]) for name in ("time_ms", "kind", "index")]
    partition = np.concatenate([part.partition for part in parts])
    order = np.lexsort((joined[2], joined[1], joined[0]))
    return Events(joined[0][order], joined[1][order], joined[2][order], partition[order])


def boundaries(begin_ms: int, end_ms: int, every_ms: int) -> I64:
    """Heartbeat times: the multiples of ``every_ms`` from the last one not after ``begin_ms`` to ``end_ms``."""
    return np.arange(begin_ms - begin_ms % every_ms, end_ms + 1, every_ms, dtype=np.int64)


def silent(at_ms: I64, sent_ms: I64) -> NDArray[np.bool_]:
    """Mask over heartbeat times: True where nothing was sent since the heartbeat time before.

    A record says by its own event time what a heartbeat would say, so that heartbeats go only where it was silent.
    """
    quiet = np.ones(len(at_ms) + 1, np.bool_)
    quiet[np.searchsorted(at_ms, sent_ms, side="left")] = False
    return quiet[:-1]

"""From the records of one window to columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np

from opendt.models.messages import MAX_FRAGMENTS, FragmentChunk, Partition, TaskHead
from opendt.models.telemetry import PowerSeries
from opendt.models.workload import Fragments, Tasks, make_tasks

# A fragment sent singly: begin [ms], task, duration [ms], CPU usage [MHz], then partition, offset and value as read.
Row = tuple[int, int, int, float, Partition, int, bytes]


@dataclass(slots=True)
class Rows:
    """Fragments sent singly, as read one after another from one partition: columns of equal length."""

    partition: Partition
    begin_ms: list[int] = field(default_factory=list)
    task_id: list[int] = field(default_factory=list)
    duration_ms: list[int] = field(default_factory=list)
    cpu_usage_mhz: list[float] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    value: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.begin_ms)

    def row(self, place: int) -> Row:
        """One fragment."""
        begin_ms, duration_ms = self.begin_ms[place], self.duration_ms[place]
        usage, offset = self.cpu_usage_mhz[place], self.offset[place]
        return begin_ms, self.task_id[place], duration_ms, usage, self.partition, offset, self.value[place]

    def part(self, start: int, stop: int) -> Rows:
        """Some of them, as lists of their own."""
        cut = slice(start, stop)
        return Rows(
            self.partition, self.begin_ms[cut], self.task_id[cut], self.duration_ms[cut], self.cpu_usage_mhz[cut],
            self.offset[cut], self.value[cut],
        )  # fmt: skip

    def append(self, begin_ms: int, task_id: int, duration_ms: int, usage: float, offset: int, value: bytes) -> None:
        """Add one fragment."""
        self.begin_ms.append(begin_ms)
        self.task_id.append(task_id)
        self.duration_ms.append(duration_ms)
        self.cpu_usage_mhz.append(usage)
        self.offset.append(offset)
        self.value.append(value)


class RowsOfChunk(Sequence[Row]):
    """The rows a chunk was joined from, made only when somebody looks: that is when they are rejected."""

    def __init__(self, blocks: Sequence[Rows], starts: np.ndarray, places: np.ndarray) -> None:
        self._blocks, self._starts, self._places = blocks, starts, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = int(self._places[index])
        block = int(np.searchsorted(self._starts, place, side="right")) - 1
        return self._blocks[block].row(place - int(self._starts[block]))


def tasks_of(heads: Sequence[TaskHead]) -> Tasks:
    """Task columns in the order given."""

    def column(name: str, dtype: type) -> np.ndarray:
        return np.array([getattr(head, name) for head in heads], dtype)

    return make_tasks(
        column("task_id", np.int64),
        column("submission_ms", np.int64),
        name=np.array([head.name for head in heads], np.str_),
        duration_ms=column("duration_ms", np.int64),
        cpu_count=column("cpu_count", np.int32),
        cpu_capacity_mhz=column("cpu_capacity_mhz", np.float64),
        mem_capacity=column("mem_capacity", np.int64),
        fragment_count=column("fragment_count", np.int64),
        has_cpu_usage=column("has_cpu_usage", np.bool_),
        gpu_count=column("gpu_count", np.int32),
        gpu_capacity_mhz=column("gpu_capacity_mhz", np.float64),
        deadline_ms=column("deadline_ms", np.int64),
        deferrable=column("deferrable", np.bool_),
        parents={head.task_id: head.parents for head in heads if head.parents},
    )


def fragments_of(chunks: Sequence[FragmentChunk]) -> Fragments:
    """Fragment columns: the chunks one after another."""
    counts = np.array([chunk.count for chunk in chunks], np.int64)
    task_id = np.repeat(np.array([chunk.task_id for chunk in chunks], np.int64), counts)
    return Fragments(
        task_id,
        _column([chunk.duration_ms for chunk in chunks], counts, np.int64),
        _column([chunk.cpu_usage_mhz for chunk in chunks], counts, np.float64),
        _column([chunk.gpu_usage_mhz for chunk in chunks], counts, np.float64),
    )


def _column(parts: list, counts: np.ndarray, dtype: type) -> np.ndarray:
    """Parts that are arrays as they are, parts that are one number repeated."""
    out: np.ndarray = np.repeat(np.array([0 if isinstance(part, array) else part for part in parts], dtype), counts)
    stops = np.cumsum(counts)
    for part, start, stop in zip(parts, (stops - counts).tolist(), stops.tolist(), strict=True):
        if isinstance(part, array):
            out[start:stop] = part
    return out


def power_of(readings: Sequence[tuple[int, float, Any]]) -> PowerSeries:
    """Readings (time, power, origin) ordered by time; those of equal time keep the order given."""
    times = np.array([time for time, _, _ in readings], np.int64)
    watts = np.array([power for _, power, _ in readings], np.float64)
    order = np.argsort(times, kind="stable")
    return PowerSeries(times[order], watts[order])


def join_rows(blocks: Sequence[Rows]) -> list[tuple[FragmentChunk, Sequence[Row]]]:
    """Single fragments as one chunk per task, with the rows it was made of.

    Fragments of a task stay in the order given. Chunks have no number (``first`` is -1): they follow what came before.
    """
    if not blocks:
        return []
    times = _together([block.begin_ms for block in blocks], np.int64)
    owners = _together([block.task_id for block in blocks], np.int64)
    order = np.argsort(owners, kind="stable")
    duration = _together([block.duration_ms for block in blocks], np.int64)[order]
    usage = _together([block.cpu_usage_mhz for block in blocks], np.float64)[order]
    block_starts = np.cumsum([0, *(len(block) for block in blocks[:-1])])
    starts = np.flatnonzero(np.diff(owners[order], prepend=owners[order[0]] - 1))
    stops = np.append(starts[1:], len(order))
    joined: list[tuple[FragmentChunk, Sequence[Row]]] = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first = order[start]
        columns = array("q", duration[start:stop].tobytes()), array("d", usage[start:stop].tobytes())
        chunk = FragmentChunk(int(times[first]), int(owners[first]), -1, stop - start, *columns)
        joined.append((chunk, RowsOfChunk(blocks, block_starts, order[start:stop])))
    return joined


def _together(lists: Sequence[list], dtype: type) -> np.ndarray:
    return np.fromiter(chain.from_iterable(lists), dtype, sum(map(len, lists)))


def estimate_fragments(head: TaskHead, chunks: Sequence[FragmentChunk]) -> None:
    """Set the number of fragments of a task whose sender cannot tell, from what came in its first window.

    None came: none will. Else as many as its duration takes at the shortest length seen, and one to spare; if fewer
    come, the rest is filled in with zero length when the task is due.
    """
    chunk = next((chunk for chunk in chunks if chunk.task_id == head.task_id), None)
    if chunk is None or not isinstance(chunk.duration_ms, array):
        head.fragment_count, head.has_cpu_usage = 0, False
        return
    shortest_ms = min((d for d in chunk.duration_ms if d > 0), default=0)
    needed = -(-head.duration_ms // shortest_ms) if shortest_ms else 0
    head.fragment_count = min(max(needed, chunk.count) + 1, MAX_FRAGMENTS)

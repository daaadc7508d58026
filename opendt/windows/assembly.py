"""From the records of one window to columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from opendt.models.messages import MAX_FRAGMENTS, FragmentChunk, Partition, TaskHead
from opendt.models.telemetry import PowerSeries
from opendt.models.workload import Fragments, Tasks, make_tasks

# A fragment sent singly: begin [ms], task, duration [ms], CPU usage [MHz], then partition, offset and value as read.
Row = tuple[int, int, int, float, Partition, int, bytes]


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


def join_rows(rows: Sequence[Row]) -> list[tuple[FragmentChunk, list[Row]]]:
    """Single fragments as one chunk per task, with the rows it was made of.

    Fragments of a task stay in the order given. Chunks have no number (``first`` is -1): they follow what came before.
    """
    if not rows:
        return []
    times, owners, durations, usages, *_ = zip(*rows, strict=True)
    owner = np.array(owners, np.int64)
    order = np.argsort(owner, kind="stable")
    duration, usage = np.array(durations, np.int64)[order], np.array(usages, np.float64)[order]
    starts = np.flatnonzero(np.diff(owner[order], prepend=owner[order[0]] - 1))
    stops = np.append(starts[1:], len(rows))
    places = order.tolist()
    joined = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        first = places[start]
        columns = array("q", duration[start:stop].tobytes()), array("d", usage[start:stop].tobytes())
        chunk = FragmentChunk(times[first], owners[first], -1, stop - start, *columns)
        joined.append((chunk, [rows[place] for place in places[start:stop]]))
    return joined


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

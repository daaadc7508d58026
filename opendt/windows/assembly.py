"""From the records of one window to columns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np

from opendt.models.messages import FragmentChunk, TaskHead
from opendt.models.telemetry import PowerSeries
from opendt.models.workload import Fragments, Tasks, make_tasks


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


def power_of(readings: Sequence[tuple[int, float]]) -> PowerSeries:
    """Readings ordered by time; those of equal time keep the order given."""
    times = np.array([time for time, _ in readings], np.int64)
    watts = np.array([power for _, power in readings], np.float64)
    order = np.argsort(times, kind="stable")
    return PowerSeries(times[order], watts[order])

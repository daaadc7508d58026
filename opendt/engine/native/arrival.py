"""A whole workload as it arrives window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from opendt.engine.native.compiled import kernel
from opendt.models.workload import Fragments, Workload
from opendt.units import MS_PER_HOUR


def hourly(workload: Workload, length_ms: int = MS_PER_HOUR) -> Iterator[tuple[Workload, int | None]]:
    """What arrives in each window, and the window's end [epoch ms]; None for the last.

    A task arrives when it is submitted, a fragment when it would begin if its task started at once. Fragments must be
    grouped by task in task order, as ``read_trace`` gives them.
    """
    tasks, fragments = workload.tasks, workload.fragments
    origin = int(tasks.submission_ms.min())
    of_task = (tasks.submission_ms - origin) // length_ms
    last = int((tasks.submission_ms - origin).max()) + int(_longest(tasks.fragment_count, fragments.duration_ms))
    begin = tasks.submission_ms - origin
    found = np.zeros(last // length_ms + 2, np.int64)
    count_fragments(begin, tasks.fragment_count, fragments.duration_ms, length_ms, found)
    count = int(max(np.flatnonzero(found).max(initial=0), of_task.max())) + 1
    edges = np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])
    gpu = fragments.gpu_usage_mhz if fragments.gpu_usage_mhz.any() else np.zeros(0)
    n = len(fragments)
    arranged = Fragments(np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n), np.zeros(n))
    arrange_fragments(
        begin, tasks.fragment_count, tasks.task_id, fragments.duration_ms, fragments.cpu_usage_mhz, gpu, length_ms,
        edges.copy(), arranged.task_id, arranged.duration_ms, arranged.cpu_usage_mhz, arranged.gpu_usage_mhz,
    )  # fmt: skip
    task_order = np.argsort(of_task, kind="stable")
    t = np.searchsorted(of_task[task_order], np.arange(count + 1))
    for k in range(count):
        part = Workload(tasks.take(task_order[t[k] : t[k + 1]]), arranged.take(slice(edges[k], edges[k + 1])))
        yield part, origin + (k + 1) * length_ms if k + 1 < count else None


def _longest(count: Any, duration_ms: Any) -> Any:
    """The longest task [ms]."""
    some = np.flatnonzero(count)
    starts = (np.cumsum(count) - count)[some]
    return np.add.reduceat(duration_ms, starts).max() if len(some) else 0


@kernel
def count_fragments(begin: Any, count: Any, duration: Any, length: Any, found: Any) -> None:
    """How many fragments begin in each window; ``begin`` is the submission of each task since the first window."""
    i = 0
    for task in range(len(count)):
        at = begin[task]
        window = at // length
        end = (window + 1) * length
        for _ in range(count[task]):
            while at >= end:
                window += 1
                end += length
            found[window] += 1
            at += duration[i]
            i += 1


@kernel
def arrange_fragments(
    begin: Any, count: Any, ids: Any, duration: Any, usage: Any, gpu: Any, length: Any, cursor: Any, out_id: Any,
    out_duration: Any, out_usage: Any, out_gpu: Any,
) -> None:  # fmt: skip
    """Copy fragments to their window's place; ``cursor`` holds the next free place of each window."""
    i = 0
    for task in range(len(count)):
        at = begin[task]
        window = at // length
        end = (window + 1) * length
        for _ in range(count[task]):
            while at >= end:
                window += 1
                end += length
            place = cursor[window]
            cursor[window] = place + 1
            out_id[place] = ids[task]
            out_duration[place] = duration[i]
            out_usage[place] = usage[i]
            if len(gpu) > 0:
                out_gpu[place] = gpu[i]
            at += duration[i]
            i += 1

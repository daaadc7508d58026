"""Windows cut straight from a trace, as the stream would deliver them, without a broker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from opendt.models.messages import StreamPosition
from opendt.models.telemetry import PowerSeries
from opendt.models.workload import Workload
from opendt.windows.batch import WindowBatch

NOWHERE = StreamPosition(cluster="", offsets={}, sequences={})


def cut_windows(workload: Workload, power: PowerSeries | None, length_ms: int) -> Iterator[WindowBatch]:
    """The windows of a whole trace in order, empty ones included; the last one is marked.

    A task belongs to the window of its submission, a fragment to the one in which it begins if its task starts when
    submitted, a reading to the one of its time: the rules of the stream with chunks of one fragment.

    Args:
        workload: fragments grouped by task, as ``read_trace`` gives them.
        power: readings ordered by time, or None.
        length_ms: length of a window [ms]; windows are aligned to its multiples since the epoch.
    """
    tasks, fragments = workload.tasks, workload.fragments
    power = power or PowerSeries(np.zeros(0, np.int64), np.zeros(0))
    order = np.argsort(tasks.submission_ms, kind="stable")
    task_window = tasks.submission_ms[order] // length_ms
    begins = _begins_ms(workload)
    fragment_order = np.argsort(begins // length_ms, kind="stable")
    fragment_window = (begins // length_ms)[fragment_order]
    power_window = power.timestamp_ms // length_ms
    heads = [w[[0, -1]] for w in (task_window, fragment_window, power_window) if len(w)]
    if not heads:
        return
    first, last = min(int(h[0]) for h in heads), max(int(h[1]) for h in heads)
    for number in range(first, last + 1):
        yield WindowBatch(
            index=number - first,
            start_ms=number * length_ms,
            end_ms=(number + 1) * length_ms,
            workload=Workload(
                tasks.take(order[_span(task_window, number)]),
                fragments.take(fragment_order[_span(fragment_window, number)]),
            ),
            power=PowerSeries(
                power.timestamp_ms[_span(power_window, number)], power.power_w[_span(power_window, number)]
            ),
            topology=None,
            position=NOWHERE,
            last=number == last,
        )


def _span(windows: np.ndarray, number: int) -> slice:
    return slice(int(np.searchsorted(windows, number)), int(np.searchsorted(windows, number + 1)))


def _begins_ms(workload: Workload) -> np.ndarray:
    """When each fragment begins if its task starts when submitted [epoch ms], shape (fragments,)."""
    tasks, fragments = workload.tasks, workload.fragments
    if len(fragments) == 0:
        return np.zeros(0, np.int64)
    by_id = np.argsort(tasks.task_id)
    submission = tasks.submission_ms[by_id[np.searchsorted(tasks.task_id[by_id], fragments.task_id)]]
    before = np.cumsum(fragments.duration_ms) - fragments.duration_ms
    head = np.flatnonzero(np.diff(fragments.task_id, prepend=fragments.task_id[0] - 1))
    start_of_task = np.repeat(before[head], np.diff(head, append=len(fragments)))
    return submission + before - start_of_task

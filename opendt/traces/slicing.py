"""Cutting a part out of a trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from opendt.errors import TraceError
from opendt.models.telemetry import PowerSeries
from opendt.models.workload import I64, Fragments, Tasks, Workload
from opendt.traces.reader import Trace
from opendt.units import iso


def slice_trace(trace: Trace, start_ms: int, end_ms: int) -> Trace:
    """The part of a trace submitted in [start_ms, end_ms), its fragments cut at the end.

    Tasks keep their ids, order, submission times and ``duration_ms``. A fragment is counted from its task's submission
    plus the fragments before it: later ones are left out, the one that spans ``end_ms`` is shortened. Tasks submitted
    before the range are left out although they may still run in it, and so are links to parents outside. Power is cut
    to the range; carbon and topology stay whole, since runs may outlast the range.

    Raises ``TraceError`` for an empty range or one without any task.
    """
    if end_ms <= start_ms:
        raise TraceError(f"the range ends at {end_ms} ms, not after its start at {start_ms} ms. Give a later end.")
    tasks = trace.workload.tasks
    inside = (tasks.submission_ms >= start_ms) & (tasks.submission_ms < end_ms)
    if not inside.any():
        raise TraceError(
            f"no task of {trace.name} is submitted in [{start_ms}, {end_ms}) ms; the first is at {trace.origin_ms} "
            f"({iso(trace.origin_ms)}). Choose another range."
        )
    workload = _cut(trace.workload, inside, end_ms)
    power = trace.power
    if power is not None:
        low, high = np.searchsorted(power.timestamp_ms, [start_ms, end_ms])
        power = PowerSeries(power.timestamp_ms[low:high], power.power_w[low:high])
    report = replace(
        trace.report,
        tasks=len(workload.tasks),
        task_rows=len(workload.tasks),
        fragments=len(workload.fragments),
        fragment_rows=len(workload.fragments),
        tasks_without_fragments=int((workload.tasks.fragment_count == 0).sum()),
        power_samples=0 if power is None else len(power),
        dropped={},
        repaired={},
    )
    origin_ms = int(workload.tasks.submission_ms.min())
    return replace(trace, workload=workload, power=power, report=report, origin_ms=origin_ms)


def fragment_begin_ms(tasks: Tasks, fragments: Fragments) -> I64:
    """When each fragment begins if its task starts on submission [epoch ms], shape (fragments,).

    Fragments must be grouped by task in task order, as ``read_trace`` gives them.
    """
    before = np.cumsum(fragments.duration_ms) - fragments.duration_ms
    some = tasks.fragment_count > 0
    count = tasks.fragment_count[some]
    first = (np.cumsum(tasks.fragment_count) - tasks.fragment_count)[some]
    return np.repeat(tasks.submission_ms[some] - before[first], count) + before


def _cut(workload: Workload, inside: np.ndarray, end_ms: int) -> Workload:
    all_tasks = workload.tasks
    fragments = workload.fragments.take(np.repeat(inside, all_tasks.fragment_count))
    tasks = all_tasks.take(inside)
    begin = fragment_begin_ms(tasks, fragments)
    keep = begin < end_ms
    row = np.repeat(np.arange(len(tasks)), tasks.fragment_count)[keep]
    fragments = replace(fragments, duration_ms=np.minimum(fragments.duration_ms, end_ms - begin)).take(keep)
    used = np.zeros(len(tasks), np.bool_)
    used[row[fragments.cpu_usage_mhz > 0]] = True
    known = set(tasks.task_id.tolist())
    parents = {child: tuple(p for p in listed if p in known) for child, listed in tasks.parents.items()}
    tasks = replace(
        tasks,
        fragment_count=np.bincount(row, minlength=len(tasks)).astype(np.int64),
        has_cpu_usage=used,
        parents={child: listed for child, listed in parents.items() if listed},
    )
    return Workload(tasks, fragments)

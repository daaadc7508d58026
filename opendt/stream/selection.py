"""Which part of a trace a replay sends, and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Fragments, Tasks, Workload, task_number
from opendt.stream.schedule import Replayable, begin_times, grouped, task_rows
from opendt.traces.reader import Trace
from opendt.traces.slicing import slice_trace

_FAR_MS = 2**52
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Shifted:
    """A trace at another time, its tasks under other names."""

    workload: Workload
    power: PowerSeries | None
    topology: Topology | None


def select(trace: Trace, start_ms: int | None, stop_ms: int | None) -> Trace:
    """The part of a trace in [start_ms, stop_ms), fragments cut at the stop so that every task has all it announces.

    Raises:
        TraceError: nothing is left.
    """
    if start_ms is None and stop_ms is None:
        return trace
    return slice_trace(trace, -_FAR_MS if start_ms is None else start_ms, _FAR_MS if stop_ms is None else stop_ms)


def round_of(trace: Replayable, number: int) -> Replayable:
    """The trace as it is sent in a round, counted from 0: rounds follow each other at whole hours, without overlap.

    Tasks of round n > 0 are named ``<id>#n``; the topology is announced once.
    """
    if number == 0:
        return trace
    tasks, fragments, power = trace.workload.tasks, trace.workload.fragments, trace.power
    period_ms = _period_ms(trace)
    workload = _renamed(tasks, fragments, number, number * period_ms)
    shifted = None if power is None else PowerSeries(power.timestamp_ms + number * period_ms, power.power_w)
    return Shifted(workload, shifted, None)


def _period_ms(trace: Replayable) -> int:
    """Whole hours from the first event to the last one, the beginning of the last fragment included."""
    tasks, power = trace.workload.tasks, trace.power
    fragments, rows = grouped(tasks, trace.workload.fragments)
    times = [tasks.submission_ms, begin_times(tasks, fragments, rows)]
    times += [] if power is None else [power.timestamp_ms]
    all_times = np.concatenate(times)
    span_ms = int(all_times.max()) + 1 - int(all_times.min()) if len(all_times) else 1
    return -(-span_ms // _HOUR_MS) * _HOUR_MS


def _renamed(tasks: Tasks, fragments: Fragments, number: int, shift_ms: int) -> Workload:
    names = [f"{name}#{number}" for name in tasks.name.tolist()]
    numbers = np.array([task_number(name) for name in names], np.int64)
    renamed = dict(zip(tasks.task_id.tolist(), numbers.tolist(), strict=True))
    moved = replace(
        tasks,
        task_id=numbers,
        name=np.array(names, np.str_),
        submission_ms=tasks.submission_ms + shift_ms,
        deadline_ms=np.where(tasks.deadline_ms < 0, -1, tasks.deadline_ms + shift_ms),
        parents={renamed[child]: tuple(renamed[p] for p in of) for child, of in tasks.parents.items()},
    )
    return Workload(moved, replace(fragments, task_id=numbers[task_rows(tasks, fragments)]))

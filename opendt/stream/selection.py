"""Which part of a trace a replay sends, and how often."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from opendt.errors import InputError
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import Topology
from opendt.models.workload import Fragments, Tasks, Workload, task_number
from opendt.stream.schedule import Replayable
from opendt.traces.reader import Trace
from opendt.traces.slicing import slice_trace

_FAR_MS = 2**52
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Looped:
    """A trace sent several times, one after another."""

    workload: Workload
    power: PowerSeries | None
    topology: Topology | None


def select(trace: Trace, start_ms: int | None, stop_ms: int | None, loop: int = 1) -> Replayable:
    """The part of a trace in [start_ms, stop_ms), ``loop`` times over.

    Fragments are cut at the stop, so that every task has all the fragments it announces. Rounds follow each other at
    whole hours; tasks of round n > 0 are named ``<id>#n``.

    Raises:
        TraceError: nothing is left.
        InputError: ``loop`` is below 1.
    """
    if loop < 1:
        raise InputError(f"loop is {loop}; must be at least 1.")
    if start_ms is not None or stop_ms is not None:
        trace = slice_trace(trace, -_FAR_MS if start_ms is None else start_ms, _FAR_MS if stop_ms is None else stop_ms)
    return trace if loop == 1 else _looped(trace, loop)


def _looped(trace: Trace, loop: int) -> Looped:
    tasks, fragments, power = trace.workload.tasks, trace.workload.fragments, trace.power
    times = tasks.submission_ms if power is None else np.concatenate([tasks.submission_ms, power.timestamp_ms])
    first, last = int(times.min()), int(times.max())
    period_ms = -(-(last + 1 - first) // _HOUR_MS) * _HOUR_MS
    rounds = [_round(tasks, fragments, n, n * period_ms) for n in range(loop)]
    workload = Workload(_join_tasks([t for t, _ in rounds]), _join_fragments([f for _, f in rounds]))
    if power is not None:
        shifted = [power.timestamp_ms + n * period_ms for n in range(loop)]
        power = PowerSeries(np.concatenate(shifted), np.tile(power.power_w, loop))
    return Looped(workload, power, trace.topology)


def _round(tasks: Tasks, fragments: Fragments, n: int, shift_ms: int) -> tuple[Tasks, Fragments]:
    if n == 0:
        return tasks, fragments
    names = [f"{name}#{n}" for name in tasks.name.tolist()]
    numbers = np.array([task_number(name) for name in names], np.int64)
    renamed = dict(zip(tasks.task_id.tolist(), numbers.tolist(), strict=True))
    order = np.argsort(tasks.task_id, kind="stable")
    rows = order[np.searchsorted(tasks.task_id[order], fragments.task_id)]
    moved = replace(
        tasks,
        task_id=numbers,
        name=np.array(names, np.str_),
        submission_ms=tasks.submission_ms + shift_ms,
        deadline_ms=np.where(tasks.deadline_ms < 0, -1, tasks.deadline_ms + shift_ms),
        parents={renamed[child]: tuple(renamed[p] for p in of) for child, of in tasks.parents.items()},
    )
    return moved, replace(fragments, task_id=numbers[rows])


def _join_tasks(parts: list[Tasks]) -> Tasks:
    columns = [n for n in Tasks.__dataclass_fields__ if n != "parents"]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
    return Tasks(**joined, parents={k: v for part in parts for k, v in part.parents.items()})


def _join_fragments(parts: list[Fragments]) -> Fragments:
    columns = Fragments.__dataclass_fields__
    return Fragments(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns})

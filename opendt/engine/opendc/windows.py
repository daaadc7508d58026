"""Cutting a growing workload at a time: what OpenDC has to be given to be right before that time.

OpenDC runs whole workloads, so every window is simulated from the start. Work that cannot matter before the cut is
left out, and a task that does nothing, submitted at the cut, keeps samples coming until there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opendt.errors import EngineError
from opendt.models.workload import Fragments, Tasks, Workload, make_tasks

_STAND_IN_MS = 1
_STAND_IN_MHZ = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A workload for one run of OpenDC.

    Attributes:
        workload: what to write.
        marker: id of the task that marks the cut, None without one.
        incomplete: ids of tasks whose known fragments end too early: a completion before the cut (at or before it for
            those in ``stand_in``) means that a fragment was needed that has not arrived.
        stand_in: ids of incomplete tasks that got one short fragment, because OpenDC ignores tasks without any.
    """

    workload: Workload
    marker: int | None
    incomplete: NDArray[np.int64]
    stand_in: NDArray[np.int64]


def merged(known: Workload, arrived: Workload, earliest_ms: int | None) -> Workload:
    """Both workloads, tasks in order of arrival; tasks without fragments are left out.

    A task submitted before ``earliest_ms``, up to which results are out, counts as submitted then.

    Raises ``EngineError`` for a task that arrives twice and for fragments of a task that never arrived.
    """
    new = arrived.tasks.take(arrived.runnable)
    if earliest_ms is not None:
        new = replace(new, submission_ms=np.maximum(new.submission_ms, earliest_ms))
    tasks = _joined(known.tasks, new)
    ids, counts = np.unique(tasks.task_id, return_counts=True)
    if (counts > 1).any():
        raise _refused(f"task {ids[counts > 1][0]} arrived twice", "duplicate task")
    dropped = arrived.tasks.task_id[~arrived.runnable]
    more = arrived.fragments
    more = more.take(~np.isin(more.task_id, dropped)) if len(dropped) else more
    strange = ~np.isin(more.task_id, ids)
    if strange.any():
        raise _refused(f"a fragment of task {more.task_id[strange][0]} arrived before the task", "unknown task")
    fragments = Fragments(
        *(np.concatenate([getattr(known.fragments, c), getattr(more, c)]) for c in Fragments.__slots__)
    )
    return Workload(tasks, fragments)


def _joined(first: Tasks, second: Tasks) -> Tasks:
    if len(second) == 0:
        return first
    columns = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in Tasks.__slots__
        if name != "parents"
    }
    return Tasks(**columns, parents=first.parents | second.parents)


def cut(workload: Workload, until_ms: int | None, *, whole_tasks: bool) -> Cut:
    """What OpenDC must run so that everything before ``until_ms`` (epoch) is right; all of it for None.

    Args:
        workload: everything known, every task with at least one fragment in all.
        until_ms: time of the cut.
        whole_tasks: keep all fragments of the tasks kept (checkpoints look ahead).

    Raises ``EngineError`` without a cut when a task depends on one that is not there.
    """
    tasks = workload.tasks
    if until_ms is not None:
        tasks = tasks.take(tasks.submission_ms < until_ms)
    complete = _without_orphans(tasks)
    if until_ms is None and len(complete) < len(tasks):
        waiting = tasks.task_id[~np.isin(tasks.task_id, complete.task_id)][0]
        raise _refused(
            f"task {waiting} waits for ever: a task it depends on is not in the workload or has no fragments",
            "parent missing", task_id=int(waiting),
        )  # fmt: skip
    tasks = complete
    rows, begin_ms, position = _rows(tasks, workload.fragments)
    # A fragment can begin earlier than its durations say by at most the fraction of a millisecond that Perfect scaling
    # discards per fragment before it (SEMANTICS 5.3); it never begins earlier otherwise.
    needed = np.ones(len(rows), np.bool_)
    if until_ms is not None and not whole_tasks:
        needed = begin_ms - position < until_ms
    fragments = workload.fragments.take(rows[needed])
    row = _task_rows(tasks, fragments.task_id)
    known = np.bincount(_task_rows(tasks, workload.fragments.task_id[rows]), minlength=len(tasks))
    active = np.zeros(len(tasks), np.bool_)
    active[row[fragments.cpu_usage_mhz > 0]] = True
    kept = np.bincount(row, minlength=len(tasks))
    idle = (tasks.has_cpu_usage & ~active) | (kept == 0)
    fragments = _with_stand_ins(fragments, tasks.take(idle))
    incomplete = tasks.has_cpu_usage & (known < tasks.fragment_count)
    marker = None
    if until_ms is not None and len(tasks):
        marker = _free_id(tasks.task_id)
        tasks = _joined(
            tasks, make_tasks(np.array([marker]), np.array([until_ms]), fragment_count=np.ones(1, np.int64))
        )
        nothing = np.zeros(1)
        fragments = _appended(fragments, Fragments(np.array([marker]), np.zeros(1, np.int64), nothing, nothing))
    task_id = tasks.task_id[: len(incomplete)]
    return Cut(Workload(tasks, fragments), marker, task_id[incomplete], task_id[incomplete & idle])


def _without_orphans(tasks: Tasks) -> Tasks:
    """Tasks all of whose ancestors are known: the others cannot start yet, and OpenDC would wait for ever."""
    waiting: set[int] = set()
    while tasks.parents:
        ids = set(tasks.task_id.tolist())
        orphans = {task for task, parents in tasks.parents.items() if not ids.issuperset(parents)}
        if not orphans:
            break
        waiting |= orphans
        tasks = tasks.take(~np.isin(tasks.task_id, list(orphans)))
    return tasks


def _rows(tasks: Tasks, fragments: Fragments) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Fragments of the tasks: row, earliest time it can begin [epoch ms], number within its task."""
    rows = np.flatnonzero(np.isin(fragments.task_id, tasks.task_id))
    if len(rows) == 0:
        return rows, rows, rows
    task = _task_rows(tasks, fragments.task_id[rows])
    order = np.argsort(task, kind="stable")
    sorted_task = task[order]
    first = np.r_[True, sorted_task[1:] != sorted_task[:-1]]
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    # Perfect scaling skips fragments that ask for nothing, so their time does not count as certain.
    certain = np.where(fragments.cpu_usage_mhz[rows][order] > 0, fragments.duration_ms[rows][order], 0)
    before = np.cumsum(certain) - certain
    begin = np.empty(len(rows), np.int64)
    begin[order] = before - before[starts][group] + tasks.submission_ms[sorted_task]
    position = np.empty(len(rows), np.int64)
    position[order] = np.arange(len(rows)) - starts[group]
    return rows, begin, position


def _task_rows(tasks: Tasks, task_id: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(task_id) == 0:
        return np.zeros(0, np.int64)
    order = np.argsort(tasks.task_id, kind="stable")
    return order[np.searchsorted(tasks.task_id[order], task_id)]


def _with_stand_ins(fragments: Fragments, tasks: Tasks) -> Fragments:
    if len(tasks) == 0:
        return fragments
    usage = np.where(tasks.has_cpu_usage, _STAND_IN_MHZ, 0.0)
    duration = np.full(len(tasks), _STAND_IN_MS, np.int64)
    return _appended(fragments, Fragments(tasks.task_id, duration, usage, np.zeros(len(tasks))))


def _appended(first: Fragments, second: Fragments) -> Fragments:
    return Fragments(*(np.concatenate([getattr(first, c), getattr(second, c)]) for c in Fragments.__slots__))


def _free_id(task_id: NDArray[np.int64]) -> int:
    """An id no task has, small where the others are, so that all still fit OpenDC's int32."""
    largest = int(task_id.max())
    if 0 <= largest < 2**31 - 2:
        return largest + 1
    taken = set(task_id.tolist())
    return next(number for number in range(len(taken) + 1) if number not in taken)


def check_arrived(part: Cut, ended_ms: dict[int, int], until_ms: int | None) -> None:
    """Raise ``EngineError`` naming a task that ran out of fragments before ``until_ms``.

    Args:
        part: what was run.
        ended_ms: epoch time at which each completed task ended.
        until_ms: the cut, None for the end of all work.
    """
    short = set(part.stand_in.tolist())
    for task in part.incomplete.tolist():
        ended = ended_ms.get(task)
        if ended is None:
            continue
        needed = ended - (_STAND_IN_MS if task in short else 0)
        if until_ms is None or needed < until_ms:
            raise _refused(
                f"task {task} needs its next fragment at {needed} ms, but it has not arrived. Send a task's fragments "
                "no later than the window in which they begin", "fragment missing", task_id=task,
            )  # fmt: skip


def _refused(text: str, reason: str, **facts: object) -> EngineError:
    return EngineError(f"{text}.", engine="opendc", reason=reason, **facts)

"""Workload as columns: tasks and their fragments. What readers produce and engines consume."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]
I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

_PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_INT64_MAX = 2**63 - 1


def task_number(text: str) -> int:
    """Engine number of a task's text id, the same in every process and without any table.

    A plain decimal integer that fits int64 ("2133099", "-4") is its own number. Everything else, "007" and "+7"
    included, so that two ids never share a number by notation, gets the first 63 bits of its BLAKE2b hash.
    """
    if _PLAIN_INTEGER.fullmatch(text):
        number = int(text)
        if -_INT64_MAX - 1 <= number <= _INT64_MAX:
            return number
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def task_numbers(texts: Iterable[str]) -> I64:
    """``task_number`` of many ids, in their order, as an int64 array."""
    return np.fromiter((task_number(text) for text in texts), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Tasks:
    """``n`` workload tasks as columns of equal length, in file (arrival) order.

    ``task_id`` is the engine's integer id, unique within a workload. ``name`` keeps the source's own id as
    text; for integer ids it is that integer's text. ``mem_capacity`` is the trace's raw value (OpenDC divides
    it by 1000 to get MiB, see ``units.mem_capacity_to_mib``). ``fragment_count`` is the number of fragments
    the task has in all, also when a batch carries only the first of them; ``has_cpu_usage`` tells whether any
    of them asks for more than 0 MHz. ``parents`` maps task_id to the ids it waits for (usually empty).
    """

    task_id: I64
    name: NDArray[np.str_]
    submission_ms: I64  # epoch ms
    duration_ms: I64
    cpu_count: I32
    cpu_capacity_mhz: F64
    mem_capacity: I64
    fragment_count: I64
    has_cpu_usage: NDArray[np.bool_]
    gpu_count: I32
    gpu_capacity_mhz: F64
    deadline_ms: I64  # epoch ms, -1 when none
    deferrable: NDArray[np.bool_]
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.task_id)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Tasks:
        """The rows selected by an index array or a mask, in that order."""
        columns = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "parents"}
        kept = set(columns["task_id"].tolist()) if self.parents else set()
        return Tasks(**columns, parents={k: v for k, v in self.parents.items() if k in kept})


@dataclass(frozen=True, slots=True)
class Fragments:
    """Fragments as columns of equal length; those of one task stand in execution order.

    ``task_id`` refers to ``Tasks.task_id``. Rows of different tasks may be interleaved; ``opendt.traces`` promises more
    (see ``read_trace``): grouped by task, groups in the order of the tasks.
    """

    task_id: I64
    duration_ms: I64
    cpu_usage_mhz: F64  # of the whole task, not per core
    gpu_usage_mhz: F64

    def __len__(self) -> int:
        return len(self.task_id)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Fragments:
        """The rows selected by an index array, mask or slice, in that order."""
        return Fragments(*(getattr(self, f.name)[index] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Workload:
    """Tasks and fragments together: a whole trace, or what arrived in one window."""

    tasks: Tasks
    fragments: Fragments

    @property
    def runnable(self) -> NDArray[np.bool_]:
        """Mask over tasks: True where the task has at least one fragment, so OpenDC would run it."""
        return self.tasks.fragment_count > 0


def make_tasks(task_id: I64, submission_ms: I64, **columns: object) -> Tasks:
    """Tasks with neutral values for every column not given (0, no name change, no deadline)."""
    n = len(task_id)
    base: dict[str, object] = {
        "task_id": np.asarray(task_id, dtype=np.int64),
        "name": np.asarray(task_id).astype(np.str_),
        "submission_ms": np.asarray(submission_ms, dtype=np.int64),
        "duration_ms": np.zeros(n, np.int64),
        "cpu_count": np.zeros(n, np.int32),
        "cpu_capacity_mhz": np.zeros(n),
        "mem_capacity": np.zeros(n, np.int64),
        "fragment_count": np.zeros(n, np.int64),
        "has_cpu_usage": np.zeros(n, np.bool_),
        "gpu_count": np.zeros(n, np.int32),
        "gpu_capacity_mhz": np.zeros(n),
        "deadline_ms": np.full(n, -1, np.int64),
        "deferrable": np.zeros(n, np.bool_),
    }
    return Tasks(**(base | columns))  # type: ignore[arg-type]


def empty_workload() -> Workload:
    """A workload without tasks and fragments."""
    nothing = np.zeros(0, np.int64)
    return Workload(make_tasks(nothing, nothing), Fragments(nothing, nothing, np.zeros(0), np.zeros(0)))


def with_fragment_facts(tasks: Tasks, fragments: Fragments) -> Tasks:
    """Tasks whose ``fragment_count`` and ``has_cpu_usage`` are counted from the fragments given."""
    order = np.argsort(tasks.task_id, kind="stable")
    at = order[np.searchsorted(tasks.task_id[order], fragments.task_id)]
    count = np.bincount(at, minlength=len(tasks)).astype(np.int64)
    used = np.zeros(len(tasks), np.bool_)
    used[at[fragments.cpu_usage_mhz > 0]] = True
    return replace(tasks, fragment_count=count, has_cpu_usage=used)

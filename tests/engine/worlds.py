"""Small random worlds for engine tests, and what two results must have in common."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, settings

from opendt.engine.base import SimulationResult
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Tasks, Workload, make_tasks, with_fragment_facts

EXAMPLES = int(os.environ.get("ENGINE_EXAMPLES", "60"))
DEEP = EXAMPLES > 60  # a search for new worlds, not the same ones again
MANY = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=not DEEP, print_blob=True
)
LONGEST_S = 300.0  # of one world in a deep search
EPOCH = 1_700_000_000_000
LINEAR = {"modelType": "linear", "idlePower": 100.0, "maxPower": 200.0}


@contextmanager
def patience() -> Iterator[None]:
    """In a deep search, end the process with its stacks when a world takes minutes: it will never end."""
    if not DEEP:
        yield
        return
    faulthandler.dump_traceback_later(LONGEST_S, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def host(count: int = 1, cores: int = 4, speed: float = 1000.0, memory: float = 100_000, **more: Any) -> dict[str, Any]:
    """A HOST entry of a topology file."""
    return {
        "name": more.pop("name", "H"), "count": count, "cpu": {"coreCount": cores, "coreSpeed": speed},
        "memory": {"memorySize": memory}, "cpuPowerModel": more.pop("power", LINEAR), **more,
    }  # fmt: skip


def topology(*hosts: dict[str, Any], **cluster: Any) -> Topology:
    """A topology of one cluster."""
    return parse_topology({"clusters": [{"name": "C", "hosts": list(hosts) or [host()], **cluster}]})


def workload(*tasks: dict[str, Any]) -> Workload:
    """A workload from dictionaries: ``at`` (ms after EPOCH), ``fragments`` [(ms, MHz)], ``cpu``, ``mem``, ``id``."""
    n = len(tasks)
    ids = np.array([t.get("id", i + 1) for i, t in enumerate(tasks)], np.int64)
    made = make_tasks(
        ids,
        np.array([EPOCH + t.get("at", 0) for t in tasks], np.int64).reshape(n),
        cpu_count=np.array([t.get("cpu", 1) for t in tasks], np.int32),
        mem_capacity=np.array([t.get("mem", 1000) for t in tasks], np.int64),
        parents={int(i): tuple(t["parents"]) for i, t in zip(ids, tasks, strict=True) if "parents" in t},
    )
    rows = [(i, d, u) for i, t in zip(ids, tasks, strict=True) for d, u in t.get("fragments", [(1000, 500.0)])]
    fragments = Fragments(
        np.array([r[0] for r in rows], np.int64),
        np.array([r[1] for r in rows], np.int64),
        np.array([r[2] for r in rows], np.float64),
        np.zeros(len(rows)),
    )
    return Workload(with_fragment_facts(made, fragments), fragments)


def cut(whole: Workload, edges: list[int], *, at_once: bool = False) -> list[Workload]:
    """What arrives in each window when a task comes at its submission and each fragment when it would begin.

    With ``at_once`` all fragments come with their task.
    """
    tasks, fragments = whole.tasks, whole.fragments
    order = np.argsort(fragments.task_id, kind="stable")
    grouped = fragments.take(order)
    rank = {int(task): row for row, task in enumerate(tasks.task_id)}
    begin = np.empty(len(grouped), np.int64)
    clock: dict[int, int] = {}
    for i, task in enumerate(grouped.task_id.tolist()):
        begin[i] = clock.get(task, int(tasks.submission_ms[rank[task]]))
        clock[task] = begin[i] + (0 if at_once else int(grouped.duration_ms[i]))
    low = [-(2**62), *edges]
    high = [*edges, 2**62]
    return [
        Workload(
            tasks.take((tasks.submission_ms >= a) & (tasks.submission_ms < b)), grouped.take((begin >= a) & (begin < b))
        )
        for a, b in zip(low, high, strict=True)
    ]


def joined(results: list[SimulationResult]) -> dict[str, pa.Table]:
    """The tables of several calls, one after the other."""
    names = ("power_source", "host", "service", "task", "task_events")
    tables = {n: [getattr(r, n) for r in results if getattr(r, n) is not None] for n in names}
    return {name: pa.concat_tables(parts).combine_chunks() for name, parts in tables.items() if parts}


def permuted(whole: Workload, order: Any) -> Workload:
    """The same workload with task rows in another order."""
    tasks: Tasks = whole.tasks.take(np.asarray(order))
    return replace(whole, tasks=tasks)

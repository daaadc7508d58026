"""Worlds of the conformance suite, and what two results must have in common."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from opendt.engine.base import EngineOptions
from opendt.models.telemetry import CarbonTrace
from opendt.models.topology import parse_topology
from opendt.models.workload import Fragments, Workload, make_tasks, with_fragment_facts

T0 = 1_664_582_400_000
TABLES = ("power_source", "host", "service", "task", "task_events")
ENTITY = {"power_source": "source_name", "host": "host_name", "service": "hosts_up", "task": "task_id"}


def host(cores=4, speed=1000, memory=100_000, count=1, name="H", model=None):
    """A HOST entry: linear 100 to 200 W unless a power model is given."""
    return {
        "name": name, "count": count, "cpu": {"coreCount": cores, "coreSpeed": speed},
        "memory": {"memorySize": memory},
        "cpuPowerModel": model or {"modelType": "linear", "idlePower": 100, "maxPower": 200},
    }  # fmt: skip


def site(*hosts, **more):
    """A topology of one cluster."""
    return parse_topology({"clusters": [{"name": "C", "hosts": list(hosts) or [host()], **more}]})


def work(*tasks, **columns):
    """A workload of (submission s, [(duration s, MHz), ...]) with ids 1, 2, ...; one core each unless given."""
    ids = np.arange(1, len(tasks) + 1, dtype=np.int64)
    rows = [(i, d, u) for i, (_, pieces) in zip(ids, tasks, strict=True) for d, u in pieces]
    fragments = Fragments(
        np.array([r[0] for r in rows], np.int64), np.array([round(r[1] * 1000) for r in rows], np.int64),
        np.array([float(r[2]) for r in rows]), np.zeros(len(rows)),
    )  # fmt: skip
    submission = np.array([T0 + round(s * 1000) for s, _ in tasks], np.int64)
    columns = {"cpu_count": np.ones(len(tasks), np.int32), **columns}
    return Workload(with_fragment_facts(make_tasks(ids, submission, **columns), fragments), fragments)


def random_world(seed, *, overload=0.9, tasks=25):
    """A topology of two host types, a workload that queues, a carbon trace."""
    rng = np.random.default_rng(seed)
    model = {"modelType": "mse", "idlePower": 50, "maxPower": 250, "calibrationFactor": 2}
    topology = site(host(count=2), host(cores=8, speed=1500, name="B", model=model),
                    powerSource={"carbonTracePath": "carbon.parquet"})  # fmt: skip
    made = []
    for _ in range(tasks):
        pieces = [
            (int(rng.integers(0, 90_000)) / 1000, round(float(rng.uniform(0, overload * 2000))))
            for _ in range(int(rng.integers(1, 9)))
        ]
        made.append((int(rng.integers(0, 300_000)) / 1000, pieces))
    cores = rng.integers(1, 3, tasks).astype(np.int32)
    memory = rng.integers(0, 50_000_000, tasks)
    times = T0 + np.cumsum(rng.integers(1, 90_000, 12))
    carbon = CarbonTrace(times.astype(np.int64), np.round(rng.uniform(50, 500, 12), 2))
    return topology, work(*made, cpu_count=cores, mem_capacity=memory), carbon


def arriving(workload, start_ms, end_ms):
    """What a stream delivers in a window: tasks submitted in it, fragments that begin in it."""
    tasks, fragments = workload.tasks, workload.fragments
    row = np.searchsorted(tasks.task_id, fragments.task_id)
    begin = np.empty(len(fragments), np.int64)
    at = {}
    for i, task in enumerate(row):
        begin[i] = at.get(task, tasks.submission_ms[task])
        at[task] = begin[i] + fragments.duration_ms[i]
    late = end_ms if end_ms is not None else np.iinfo(np.int64).max
    now = (tasks.submission_ms >= start_ms) & (tasks.submission_ms < late)
    return Workload(tasks.take(now), fragments.take((begin >= start_ms) & (begin < late)))


def in_windows(engine, topology, workload, options, carbon, cuts):
    """Results of consecutive windows ending at the cuts and at the end of all work."""
    state, results, start = engine.start(topology, options, carbon), [], 0
    for end in [*cuts, None]:
        state, result = engine.advance(state, arriving(workload, start, end), end)
        results.append(result)
        start = end
    return results


def joined(results, name):
    """One table of all results, rows by time and entity."""
    tables = [getattr(result, name) for result in results]
    table = pa.concat_tables(tables, promote_options="permissive")
    if name == "task_events":
        return table.sort_by([("time_ms", "ascending"), ("task_id", "ascending"), ("event", "ascending")])
    _, codes = np.unique(table[ENTITY[name]].to_pylist(), return_inverse=True)
    return table.take(np.lexsort((codes, table["timestamp"].to_numpy())))


def assert_same(one, other):
    """The same rows in every table, to the last bit, and the same totals."""
    for name in TABLES:
        if getattr(one[0], name) is not None:
            first, second = joined(one, name), joined(other, name)
            assert first.to_pylist() == second.to_pylist(), name
    for count in ("tasks_started", "tasks_completed", "tasks_terminated"):
        assert sum(getattr(r, count) for r in one) == sum(getattr(r, count) for r in other), count
    for amount in ("energy_j", "carbon_g"):
        assert sum(getattr(r, amount) for r in one) == pytest.approx(sum(getattr(r, amount) for r in other), rel=1e-6)


def as_bytes(table):
    """The table as bytes, independent of how it is cut into chunks."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def total(table, name):
    """Sum of a float32 column in double precision."""
    return float(table[name].to_numpy().astype(np.float64).sum())


def column(table, name, entity=None):
    """A column by simulated time: {timestamp s: value}, of one entity where rows have one; first row of a time."""
    found = {}
    for row in table.to_pylist():
        if entity is None or entity in (row.get("host_name"), row.get("task_id"), row.get("source_name")):
            found.setdefault(row["timestamp"] / 1000, row[name])
    return found


def events(result, kind):
    """{task id: time s} of one kind of event."""
    rows = result.task_events.to_pylist()
    return {r["task_id"]: (r["time_ms"] - T0) / 1000 for r in rows if r["event"] == kind}


WORLDS = {
    "queueing": (random_world(1), EngineOptions(sample_interval_ms=30_000, host_every=1, task_rows=True)),
    "overload": (random_world(2, overload=3.0), EngineOptions(sample_interval_ms=7_000, host_every=1, task_rows=True)),
    "perfect": (
        random_world(3, overload=3.0),
        EngineOptions(sample_interval_ms=10_000, host_every=1, task_rows=True, scaling="Perfect"),
    ),
    "random policy": (
        random_world(4),
        EngineOptions(
            sample_interval_ms=60_000, host_every=2, task_rows=True,
            allocation={"type": "prefab", "policyName": "Random"},
        ),
    ),
    "memorizing": (
        random_world(5, tasks=40),
        EngineOptions(
            sample_interval_ms=60_000, host_every=1, task_rows=False,
            allocation={"type": "prefab", "policyName": "TaskNumMemorizing"},
        ),
    ),
}  # fmt: skip

"""Small topologies and outcomes for the tests of this area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from opendt.engine.base import EngineOptions, Occupancy, SimulationResult
from opendt.errors import EngineError
from opendt.models.topology import Topology, parse_topology
from opendt.models.workload import Fragments, Workload, make_tasks
from opendt.optimize.evaluate import Evaluator
from opendt.optimize.outcome import Outcome
from opendt.optimize.trials import Problem, make_problem
from opendt.settings import OptimizeSettings, SloSettings


def topology(
    *counts: int, cores: int = 16, speed: float = 2100.0, idle: float = 100.0, most: float = 200.0
) -> Topology:
    """One cluster ``C01`` with host types ``H01``, ``H02`` ... of these counts, linear power."""
    hosts = [
        {
            "name": f"H{i + 1:02d}",
            "count": count,
            "cpu": {"coreCount": cores, "coreSpeed": speed},
            "memory": {"memorySize": 100_000},
            "cpuPowerModel": {"modelType": "linear", "idlePower": idle, "maxPower": most},
        }
        for i, count in enumerate(counts or (10,))
    ]
    return parse_topology({"clusters": [{"name": "C01", "hosts": hosts}]})


def outcome(energy_kwh: float = 100.0, runtime_h: float = 24.0, **values: Any) -> Outcome:
    """An outcome with plausible values where none is given."""
    base: dict[str, Any] = {"carbon_kg": 30.0, "peak_power_kw": 8.0, "queue_delay_s": 1.0, "tasks_completed": 100}
    return Outcome(energy_kwh=energy_kwh, runtime_h=runtime_h, **(base | values))


@dataclass(frozen=True)
class ToyState:
    """A topology; the toy engine knows no windows."""

    topology: Topology
    now_ms: int | None = None

    def to_bytes(self) -> bytes:
        return self.topology.to_json()


class ToyEngine:
    """Pools all cores: tasks start first come first served when cores are free; power is linear in cores in use.

    Enough physics for decisions (fewer hosts: less idle power, longer queues) and quick to check by hand.
    """

    name = "toy"
    version = "1"

    def __init__(self) -> None:
        self.runs = 0

    def start(self, topology: Topology, options: EngineOptions, carbon: Any = None) -> ToyState:
        if topology.host_count == 13:
            raise EngineError("thirteen hosts bring bad luck", reason="superstition")
        return ToyState(topology)

    def advance(self, state: ToyState, arrived: Workload, until_ms: int | None) -> tuple[ToyState, SimulationResult]:
        self.runs += 1
        topology, tasks = state.topology, arrived.tasks
        free, ends, rows = topology.core_count, [], []
        core_ms = 0
        for i in np.argsort(tasks.submission_ms, kind="stable"):
            now, cores = int(tasks.submission_ms[i]), int(tasks.cpu_count[i])
            ends.sort()
            while ends and (ends[0][0] <= now or free < cores):
                now = max(now, ends[0][0])
                free += ends.pop(0)[1]
            free -= cores
            end = now + int(tasks.duration_ms[i])
            ends.append((end, cores))
            core_ms += cores * int(tasks.duration_ms[i])
            ident = int(tasks.task_id[i])
            rows += [(ident, "submitted", int(tasks.submission_ms[i])), (ident, "scheduled", now)]
            rows += [(ident, "completed", end)]
        first, last = int(tasks.submission_ms.min()), max(r[2] for r in rows)
        idle_w = sum(h.count * h.cpuPowerModel.idlePower for c in topology.clusters for h in c.hosts)
        range_w = sum(h.count * (h.cpuPowerModel.maxPower - h.cpuPowerModel.idlePower)
                      for c in topology.clusters for h in c.hosts)  # fmt: skip
        mean_load = core_ms / (last - first) / topology.core_count
        watts = idle_w + range_w * mean_load
        return state, _toy_result(rows, topology, first, last, watts, mean_load)

    def with_topology(self, state: ToyState, topology: Topology) -> ToyState:
        return ToyState(topology, state.now_ms)

    def state_from_bytes(self, data: bytes) -> ToyState:
        raise NotImplementedError


def _toy_result(
    rows: list[tuple[int, str, int]], topology: Topology, first: int, last: int, watts: float, load: float
) -> SimulationResult:
    seconds = (last - first) / 1000
    source = pa.table({"timestamp": [last - first], "timestamp_absolute": [last], "source_name": ["P"],
                       "cluster_name": ["C01"], "power_draw": pa.array([watts], pa.float32())})  # fmt: skip
    groups = tuple((c, h) for c, cluster in enumerate(topology.clusters) for h in range(len(cluster.hosts)))
    counts = np.array([topology.clusters[c].hosts[h].count for c, h in groups], np.float32)
    weights = np.stack([counts * (1 - load), counts * load], axis=1)[None].astype(np.float32)
    events = pa.table({"task_id": pa.array([r[0] for r in rows], pa.int64()), "event": [r[1] for r in rows],
                       "time_ms": pa.array([r[2] for r in rows], pa.int64())})  # fmt: skip
    tasks = len(rows) // 3
    return SimulationResult(
        source, source, source, None, events,
        Occupancy(np.array([last]), np.array([0.0, 1.0]), groups, weights, weights, counts[None]),
        watts * seconds, watts * seconds / 3.6e6 * 300, tasks, tasks, 0, 0, 0,
    )  # fmt: skip


def workload(tasks: int = 20, cores: int = 8, hours: float = 1.0, every_s: float = 600.0) -> Workload:
    """Equal tasks submitted at equal distances, each with one fragment."""
    ids = np.arange(tasks, dtype=np.int64)
    duration = np.full(tasks, round(hours * 3_600_000), np.int64)
    made = make_tasks(
        ids, 1_000_000 + np.round(ids * every_s * 1000).astype(np.int64), duration_ms=duration,
        cpu_count=np.full(tasks, cores, np.int32), fragment_count=np.ones(tasks, np.int64),
        has_cpu_usage=np.ones(tasks, np.bool_),
    )  # fmt: skip
    return Workload(made, Fragments(ids, duration, np.full(tasks, 1000.0 * cores), np.zeros(tasks)))


def problem(world: Topology | None = None, slo: SloSettings | None = None, **settings: Any) -> Problem:
    """A problem on the toy engine: by default ten hosts of which the workload needs at most three or four."""
    evaluator = Evaluator(ToyEngine(), workload())
    return make_problem(world or topology(10), evaluator, slo or SloSettings(), OptimizeSettings(**settings))

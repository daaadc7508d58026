"""A whole trace through one engine: what ``opendt simulate`` does."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from opendt.engine.base import Engine, EngineOptions, SimulationResult, simulate
from opendt.errors import TopologyError
from opendt.traces import read_trace
from opendt.units import G_PER_KG, MS_PER_S, joules_to_kwh

if TYPE_CHECKING:
    from opendt.settings import Settings


@dataclass(frozen=True, slots=True)
class Run:
    """A simulated trace: what the engine returned, what reading the trace said, and how long it took [s]."""

    engine: str
    result: SimulationResult
    tasks: int
    fragments: int
    notes: tuple[str, ...]
    read_s: float
    simulate_s: float

    def summary(self) -> dict[str, Any]:
        """Figures of the run as plain values; the keys of ``opendt simulate --json``."""
        r = self.result
        power_w = total_power_w(r.power_source)
        makespan_ms = int(pa.compute.max(r.service["timestamp"]).as_py() or 0) if len(r.service) else 0
        energy_kwh = float(joules_to_kwh(r.energy_j))
        return {
            "engine": self.engine,
            "energy_kwh": energy_kwh,
            "carbon_kg": r.carbon_g / G_PER_KG,
            "tasks_seen": self.tasks,
            "tasks_run": r.tasks_completed,
            "tasks_terminated": r.tasks_terminated,
            "tasks_dropped": self.tasks - r.tasks_completed - r.tasks_terminated,
            "fragments": self.fragments,
            "makespan_s": makespan_ms / MS_PER_S,
            "mean_power_w": r.energy_j / (makespan_ms / MS_PER_S) if makespan_ms else 0.0,
            "peak_power_w": float(power_w.max(initial=0.0)),
            "mean_wait_s": mean_wait_s(r.task_events),
            "samples": len(power_w),
            "read_s": self.read_s,
            "simulate_s": self.simulate_s,
            "wall_s": self.read_s + self.simulate_s,
        }


def total_power_w(power_source: pa.Table) -> Any:
    """Power of all clusters at each sample [W]; a time sampled twice keeps both samples."""
    at = power_source["timestamp"].to_numpy()
    watts = power_source["power_draw"].to_numpy().astype(np.float64)
    if len(at) == 0:
        return watts
    names = np.asarray(pa.compute.rank(power_source["source_name"].combine_chunks(), tiebreaker="dense"))
    samples = len(at) // int(names.max())
    return watts.reshape(samples, -1).sum(axis=1)


def mean_wait_s(events: pa.Table) -> float:
    """Mean time from submission to placement over the tasks placed [s]; 0 when there are none."""
    times = {}
    for name in ("submitted", "scheduled"):
        rows = events.filter(pa.compute.equal(events["event"], name))
        task, first = np.unique(rows["task_id"].to_numpy(), return_index=True)
        times[name] = dict(zip(task.tolist(), rows["time_ms"].to_numpy()[first].tolist(), strict=True))
    waits = [at - times["submitted"][task] for task, at in times["scheduled"].items() if task in times["submitted"]]
    return float(np.mean(waits)) / MS_PER_S if waits else 0.0


def options_of(settings: Settings, *, interval_s: int, tables: bool, exact: bool = False) -> EngineOptions:
    """Engine options from settings; host and task rows at every sample when ``tables`` are wanted."""
    return EngineOptions(
        sample_interval_ms=interval_s * MS_PER_S,
        host_every=1 if tables else 0,
        task_rows=tables,
        scaling=settings.engine.scaling,
        allocation=settings.engine.allocation,
        seed=settings.engine.seed,
        occupancy_knots=0,
        exact=exact,
    )


def simulate_trace(engine: Engine, trace: Path, topology: Path | None, options: EngineOptions) -> Run:
    """Read a trace folder and simulate all of it.

    Raises ``TraceError`` or ``TopologyError`` for bad input, ``EngineError`` when the simulation fails.
    """
    begin = time.perf_counter()
    read = read_trace(trace, topology=topology)
    if read.topology is None:
        raise TopologyError(f"{trace} has no topology.json. Give one with --topology.", trace=str(trace))
    middle = time.perf_counter()
    result = simulate(engine, read.topology, read.workload, options, read.carbon)
    return Run(
        engine=engine.name,
        result=result,
        tasks=len(read.workload.tasks),
        fragments=len(read.workload.fragments),
        notes=tuple(read.report.sentences()),
        read_s=middle - begin,
        simulate_s=time.perf_counter() - middle,
    )


def write_tables(result: SimulationResult, folder: Path) -> None:
    """Write ``host, task, powerSource, service`` (and ``battery``) as Parquet in OpenDC's columns."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "host": result.host, "task": result.task, "powerSource": result.power_source, "service": result.service,
        "battery": result.battery,
    }  # fmt: skip
    for name, table in tables.items():
        if table is not None:
            pq.write_table(table, folder / f"{name}.parquet", compression="zstd")

"""What a simulation amounts to: the handful of numbers that SLOs and objectives talk about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from opendt.engine.base import SimulationResult
from opendt.models.topology import Topology
from opendt.models.workload import Workload
from opendt.settings import SloMetric
from opendt.units import G_PER_KG, MS_PER_HOUR, MS_PER_S, joules_to_kwh

METRICS: tuple[SloMetric, ...] = ("energy_kwh", "runtime_h", "carbon_kg", "peak_power_kw", "queue_delay_s")
"""Metrics an SLO can bound; every one is better when lower."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Totals of one simulated workload.

    Attributes:
        energy_kwh: energy drawn by all power sources [kWh].
        carbon_kg: emission of that energy [kg].
        peak_power_kw: highest sampled power of the datacenter [kW].
        runtime_h: first submission to the end of the last task [h].
        queue_delay_s: mean wait of placed tasks for a host [s].
        queue_delay_p95_s: 95th percentile of that wait [s].
        tasks_completed: tasks that ended normally.
        tasks_lost: tasks the scheduler gave up, or that never got a host.
        peak_cores: most cores reserved by running tasks at once.
        work_mhz_s: processing delivered by all hosts [MHz·s]; None when the engine does not tell.
            Under ``NoDelay`` an overloaded host silently delivers less, so a saving may be work not done.
    """

    energy_kwh: float
    carbon_kg: float
    peak_power_kw: float
    runtime_h: float
    queue_delay_s: float
    queue_delay_p95_s: float = 0.0
    tasks_completed: int = 0
    tasks_lost: int = 0
    peak_cores: int = 0
    work_mhz_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return asdict(self)


def outcome_of(result: SimulationResult, topology: Topology, workload: Workload) -> Outcome:
    """The outcome of one simulation of a whole workload, from the first submission to the end of the last task."""
    delay_mean, delay_p95 = _queue_delay_s(result.task_events)
    return Outcome(
        energy_kwh=float(joules_to_kwh(result.energy_j)),
        carbon_kg=result.carbon_g / G_PER_KG,
        peak_power_kw=_peak_power_w(result.power_source) / 1e3,
        runtime_h=_runtime_ms(result.task_events) / MS_PER_HOUR,
        queue_delay_s=delay_mean,
        queue_delay_p95_s=delay_p95,
        tasks_completed=result.tasks_completed,
        tasks_lost=result.tasks_terminated + result.tasks_waiting,
        peak_cores=_peak_cores(result.task_events, workload),
        work_mhz_s=_delivered_work_mhz_s(result, topology),
    )


def _peak_power_w(power_source: pa.Table) -> float:
    """Highest sum over power sources at one sample time; of doubled final samples the larger counts."""
    if power_source.num_rows == 0:
        return 0.0
    times, at = np.unique(power_source["timestamp"].to_numpy(), return_inverse=True)
    watts = power_source["power_draw"].to_numpy().astype(np.float64)
    names = pc.dictionary_encode(power_source["source_name"].combine_chunks())
    source = np.asarray(names.indices)
    peak = np.zeros((len(times), len(names.dictionary)))
    np.maximum.at(peak, (at, source), watts)
    return float(peak.sum(axis=1).max())


def _times(events: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = events.filter(pc.equal(events["event"], name))
    return rows["task_id"].to_numpy(), rows["time_ms"].to_numpy()


def _runtime_ms(events: pa.Table) -> float:
    _, submitted = _times(events, "submitted")
    ends = np.concatenate([_times(events, "completed")[1], _times(events, "terminated")[1]])
    if len(submitted) == 0 or len(ends) == 0:
        return 0.0
    return float(ends.max() - submitted.min())


def _queue_delay_s(events: pa.Table) -> tuple[float, float]:
    """Mean and 95th percentile of the wait from submission to first placement [s]."""
    ids, submitted = _times(events, "submitted")
    placed_ids, placed = _times(events, "scheduled")
    if len(placed_ids) == 0:
        return 0.0, 0.0
    order = np.lexsort((placed, placed_ids))
    first_ids, first = np.unique(placed_ids[order], return_index=True)
    by_id = np.argsort(ids, kind="stable")
    at = by_id[np.searchsorted(ids[by_id], first_ids)]
    wait = (placed[order][first] - submitted[at]) / MS_PER_S
    return float(wait.mean()), float(np.quantile(wait, 0.95))


def _peak_cores(events: pa.Table, workload: Workload) -> int:
    """Most cores reserved at one time; of a task that ends as another starts only one counts."""
    started_ids, started = _times(events, "scheduled")
    ended_ids, ended = _times(events, "completed")
    failed_ids, failed = _times(events, "failed")
    ids = np.concatenate([ended_ids, failed_ids, started_ids])
    times = np.concatenate([ended, failed, started])
    order = np.argsort(workload.tasks.task_id, kind="stable")
    cores = workload.tasks.cpu_count[order[np.searchsorted(workload.tasks.task_id[order], ids)]].astype(np.int64)
    cores[: len(ended) + len(failed)] *= -1
    in_use = np.cumsum(cores[np.argsort(times, kind="stable")])
    return int(in_use.max(initial=0))


def _delivered_work_mhz_s(result: SimulationResult, topology: Topology) -> float | None:
    """Integral over time of the capacity granted, from interval means of utilisation.

    A host between two knots is split linearly, so the knots' weighted mean is its utilisation exactly.
    """
    occupancy = result.occupancy
    if occupancy is None or len(occupancy.timestamp_ms) == 0:
        return None
    hosts = [topology.clusters[c].hosts[h] for c, h in occupancy.groups]
    capacity = np.array([host.capacity_mhz for host in hosts])
    used = np.asarray(occupancy.mean_weights, dtype=np.float64) @ np.asarray(occupancy.knots, dtype=np.float64)
    times = np.asarray(occupancy.timestamp_ms, dtype=np.float64)
    start = float(np.min(_times(result.task_events, "submitted")[1], initial=times[0]))
    seconds = np.diff(times, prepend=start) / MS_PER_S
    return float(seconds @ (used @ capacity))

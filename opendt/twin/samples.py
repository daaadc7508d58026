"""From an engine's tables to the samples of one window: simulated, priced and measured power on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from opendt.engine.base import Occupancy, SimulationResult
from opendt.models.topology import Topology
from opendt.twin.align import first_of_each

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """One row per sample time of a window, all columns of shape (s,), as simulated with the topology as given."""

    timestamp_ms: I64
    interval_s: F64  # time since the sample before
    power_w: F64
    energy_j: F64
    carbon_g: F64
    carbon_intensity_g_per_kwh: F64
    tasks_running: I64
    tasks_waiting: I64
    active_hosts: I64 | None
    utilization_ratio: F64 | None
    occupancy: Occupancy | None

    def __len__(self) -> int:
        return len(self.timestamp_ms)


def samples_of(result: SimulationResult, topology: Topology, previous_ms: int | None) -> Samples:
    """The samples of a result, clusters added up; times that occur twice at the end of a run count once.

    Args:
        result: what the engine returned for the window.
        topology: topology in force.
        previous_ms: time of the last sample before the window; None when there is none.
    """
    source = result.power_source
    times, cluster = _column(source, "timestamp_absolute", np.int64), _codes(source)
    clusters = int(cluster.max()) + 1 if len(cluster) else 1
    unique, row = np.unique(times, return_inverse=True)
    # A cluster's first row at a time shows the power of the interval that ends there; energies of all rows add up.
    _, first = np.unique(row * clusters + cluster, return_index=True)

    def total(name: str, index: NDArray[np.intp] | slice) -> F64:
        weights = _column(source, name, np.float64)[index]
        return np.bincount(row[index], weights=weights, minlength=len(unique)).astype(np.float64)

    everything = slice(None)
    intensity = np.zeros(len(unique))
    np.maximum.at(intensity, row, _column(source, "carbon_intensity", np.float64))
    service = result.service.take(pa.array(first_of_each(_column(result.service, "timestamp_absolute", np.int64))))
    occupancy = _once(result.occupancy)
    return Samples(
        timestamp_ms=unique,
        interval_s=_intervals(unique, previous_ms, source),
        power_w=total("power_draw", first),
        energy_j=total("energy_usage", everything),
        carbon_g=total("carbon_emission", everything),
        carbon_intensity_g_per_kwh=intensity,
        tasks_running=_column(service, "tasks_active", np.int64),
        tasks_waiting=_column(service, "tasks_pending", np.int64),
        active_hosts=occupancy.active_hosts.sum(axis=1).astype(np.int64) if occupancy else None,
        utilization_ratio=_utilization(occupancy, topology) if occupancy else None,
        occupancy=occupancy,
    )


def _intervals(times: I64, previous_ms: int | None, source: pa.Table) -> F64:
    if len(times) == 0:
        return np.zeros(0)
    # Before the first sample the interval began with the simulation, at simulated time 0.
    start = previous_ms if previous_ms is not None else int(times[0]) - int(_column(source, "timestamp", np.int64)[0])
    return np.diff(times, prepend=start) / 1000.0


def _column(table: pa.Table, name: str, dtype: type) -> NDArray:
    return table[name].to_numpy().astype(dtype, copy=False)


def _codes(source: pa.Table) -> NDArray[np.int64]:
    names = source["source_name"].combine_chunks()
    encoded = pc.dictionary_encode(names)
    return np.asarray(encoded.indices, dtype=np.int64)


def _once(occupancy: Occupancy | None) -> Occupancy | None:
    if occupancy is None:
        return None
    keep = first_of_each(np.asarray(occupancy.timestamp_ms))
    if len(keep) == len(occupancy.timestamp_ms):
        return occupancy
    return Occupancy(
        timestamp_ms=occupancy.timestamp_ms[keep],
        knots=occupancy.knots,
        groups=occupancy.groups,
        weights=occupancy.weights[keep],
        mean_weights=occupancy.mean_weights[keep],
        active_hosts=occupancy.active_hosts[keep],
    )


def _utilization(occupancy: Occupancy, topology: Topology) -> F64:
    """Used share of all capacity [ratio] per sample, shape (s,)."""
    hosts = [topology.clusters[c].hosts[h] for c, h in occupancy.groups]
    capacity = np.array([host.capacity_mhz for host in hosts])
    used = np.einsum("sgk,k,g->s", occupancy.weights, occupancy.knots, capacity)
    return used / sum(host.capacity_mhz * host.count for host in hosts)

"""Rows for the lake from one window; names and units as declared in ``opendt.lake.schema``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opendt.calibration.base import Prediction
from opendt.engine.base import SimulationResult
from opendt.models.workload import Tasks
from opendt.twin.samples import Samples
from opendt.windows.batch import WindowBatch

F64 = NDArray[np.float64]
NO_FRAGMENTS = "no fragments"
FITS_NOWHERE = "fits no host"


def window_row(
    batch: WindowBatch, result: SimulationResult, samples: Samples, prediction: Prediction, measured_w: F64
) -> dict[str, Any]:
    """Counts and energies of the ``windows`` row."""
    energy_j, carbon_g = simulated_energy(samples, prediction)
    known = np.isfinite(measured_w)
    return {
        "start_ms": batch.start_ms,
        "end_ms": batch.end_ms,
        "state": "reopened" if any(r.policy == "reopen" for r in batch.late) else "closed",
        "tasks_arrived": len(batch.workload.tasks),
        "tasks_dropped": int((batch.workload.tasks.fragment_count == 0).sum()) + result.tasks_terminated,
        "fragments_arrived": len(batch.workload.fragments),
        "power_samples": len(batch.power),
        "late_records": len(batch.late),
        "duplicate_records": batch.duplicates,
        "dead_letters": len(batch.dead),
        "tasks_started": result.tasks_started,
        "tasks_completed": result.tasks_completed,
        "tasks_terminated": result.tasks_terminated,
        "tasks_running": result.tasks_running,
        "tasks_waiting": result.tasks_waiting,
        "energy_j": float(energy_j.sum()),
        "energy_uncalibrated_j": float(samples.energy_j.sum()),
        "energy_measured_j": float((measured_w * samples.interval_s)[known].sum()) if known.any() else None,
        "carbon_g": float(carbon_g.sum()),
        "offsets_json": batch.position.offsets_json(),
    }


def simulated_energy(samples: Samples, prediction: Prediction) -> tuple[F64, F64]:
    """Energy [J] and emission [g] per sample under the parameters in force, each of shape (s,).

    The emission scales with the energy: within a sample's interval the carbon intensity is that of the simulation.
    """
    energy_j = prediction.mean_w * samples.interval_s
    share = np.divide(energy_j, samples.energy_j, out=np.zeros(len(samples)), where=samples.energy_j > 0)
    return energy_j, samples.carbon_g * share


def power_rows(
    samples: Samples, prediction: Prediction, measured_w: F64, persistence_w: float | None
) -> dict[str, Any]:
    """Columns of table ``power_samples``; NaN becomes null where there is no measurement."""
    energy_j, carbon_g = simulated_energy(samples, prediction)
    n = len(samples)
    return {
        "timestamp_ms": samples.timestamp_ms,
        "simulated_w": prediction.power_w,
        "uncalibrated_w": samples.power_w,
        "measured_w": nullable(measured_w),
        "band_low_w": nullable(prediction.band_low_w, n),
        "band_high_w": nullable(prediction.band_high_w, n),
        "persistence_w": pa.array([persistence_w] * n, pa.float64()),
        "utilization_ratio": nullable(samples.utilization_ratio, n),
        "active_hosts": samples.active_hosts if samples.active_hosts is not None else pa.nulls(n, pa.int64()),
        "tasks_running": samples.tasks_running,
        "tasks_waiting": samples.tasks_waiting,
        "carbon_intensity_g_per_kwh": samples.carbon_intensity_g_per_kwh,
        "energy_j": energy_j,
        "carbon_g": carbon_g,
    }


def host_rows(result: SimulationResult) -> dict[str, Any]:
    """Columns of table ``host_samples``."""
    host = result.host
    return {
        "timestamp_ms": host["timestamp_absolute"],
        "cluster_name": host["cluster_name"],
        "host_name": host["host_name"],
        "tasks_running": host["tasks_running"],
        "cpu_capacity_mhz": host["cpu_capacity"],
        "cpu_usage_mhz": host["cpu_usage"],
        "cpu_demand_mhz": host["cpu_demand"],
        "cpu_utilization_ratio": host["cpu_utilization"],
        "power_w": host["power_draw"],
    }


def task_rows(result: SimulationResult, arrived: Tasks) -> dict[str, Any]:
    """Columns of table ``task_events``: what the engine did, and tasks that arrived without work to do."""
    events = result.task_events
    idle = arrived.take(arrived.fragment_count == 0)
    terminated = events["event"].to_numpy(zero_copy_only=False) == "terminated"
    reasons = [FITS_NOWHERE if ended else None for ended in terminated]

    def joined(name: str, extra: list[Any], type_: pa.DataType) -> pa.ChunkedArray:
        return pa.chunked_array([*events[name].cast(type_).chunks, pa.array(extra, type_)])

    n = len(idle)
    return {
        "task_id": joined("task_id", idle.task_id.tolist(), pa.int64()),
        "task_name": joined("task_name", idle.name.tolist(), pa.string()),
        "event": joined("event", ["dropped"] * n, pa.string()),
        "time_ms": joined("time_ms", idle.submission_ms.tolist(), pa.int64()),
        "cluster_name": joined("cluster_name", [None] * n, pa.string()),
        "host_name": joined("host_name", [None] * n, pa.string()),
        "reason": pa.array(reasons + [NO_FRAGMENTS] * n, pa.string()),
    }


def rejected_rows(batch: WindowBatch) -> dict[str, dict[str, Any]]:
    """Columns of ``late_records`` and ``dead_letters``, each only where there is something."""
    tables: dict[str, dict[str, Any]] = {}
    if batch.late:
        tables["late_records"] = {
            "topic": [r.topic for r in batch.late],
            "partition": [r.partition for r in batch.late],
            "offset_": [r.offset for r in batch.late],
            "event_ms": [r.event_ms for r in batch.late],
            "kind": [r.kind for r in batch.late],
            "policy": [r.policy for r in batch.late],
            "payload": pa.array([r.payload for r in batch.late], pa.binary()),
        }
    if batch.dead:
        tables["dead_letters"] = {
            "topic": [r.topic for r in batch.dead],
            "partition": [r.partition for r in batch.dead],
            "offset_": [r.offset for r in batch.dead],
            "reason": [r.reason for r in batch.dead],
            "payload": pa.array([r.payload for r in batch.dead], pa.binary()),
            "payload_bytes": [r.payload_bytes for r in batch.dead],
            "retried_ms": pa.nulls(len(batch.dead), pa.int64()),
        }
    return tables


def nullable(values: F64 | None, length: int = 0) -> pa.Array:
    """A double column; NaN, and the absence of all values, become null."""
    if values is None:
        return pa.nulls(length, pa.float64())
    return pa.array(values, pa.float64(), from_pandas=True)

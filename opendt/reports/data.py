"""What a run report shows, read from the lake with SQL: one function per figure or table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from opendt.errors import InputError
from opendt.lake import Lake
from opendt.lake.queries import LATEST_FIRST, RUNS

Columns = dict[str, NDArray[Any]]

MAX_POINTS = 1_400  # about the pixels a figure is wide; more would only be drawn over each other
_NICE_STEPS_MS = tuple(1_000 * s for s in (1, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400))


def find_run(lake: Lake, run_id: str, datacenter: str | None = None) -> dict[str, Any]:
    """The run's row with its totals so far.

    Raises:
        InputError: no such run (names the latest ones), or it covers several datacenters and none was named.
    """
    found = lake.rows(f"SELECT * FROM ({RUNS}) WHERE run_id = ? ORDER BY datacenter", [run_id])
    if not found:
        latest = [row["run_id"] for row in lake.rows("SELECT run_id FROM runs ORDER BY started_ms DESC LIMIT 5")]
        known = f"The latest are: {', '.join(latest)}." if latest else "The lake holds no runs yet: try `opendt demo`."
        raise InputError(f"run {run_id!r} is not in the lake. {known}", run_id=run_id)
    chosen = [row for row in found if datacenter in (None, row["datacenter"])]
    if len(chosen) != 1:
        names = ", ".join(row["datacenter"] for row in found)
        raise InputError(f"run {run_id!r} has datacenters {names}: name one of them.", run_id=run_id)
    return chosen[0]


def latest_run_id(lake: Lake) -> str:
    """Id of the run started last, of those with a committed window if any; ``InputError`` when there is none."""
    found = lake.rows(f"SELECT run_id FROM runs ORDER BY {LATEST_FIRST} LIMIT 1")
    if not found:
        raise InputError("the lake holds no runs yet: try `opendt demo`.")
    return str(found[0]["run_id"])


def bucket_ms(span_ms: int, max_points: int = MAX_POINTS) -> int:
    """The smallest round step [ms] that cuts a span into at most ``max_points``."""
    wanted = span_ms / max_points
    return next((step for step in _NICE_STEPS_MS if step >= wanted), _NICE_STEPS_MS[-1])


def power(lake: Lake, run: Mapping[str, Any]) -> Columns:
    """Means of power [W], band [W], utilisation and signed error [%] per step of the figure."""
    return _columns(
        lake.query(
            """
            SELECT timestamp_ms // $step * $step AS time_ms, avg(simulated_w) AS simulated_w,
                   avg(uncalibrated_w) AS uncalibrated_w, avg(measured_w) AS measured_w,
                   avg(band_low_w) AS band_low_w, avg(band_high_w) AS band_high_w,
                   avg(100 * (simulated_w / nullif(measured_w, 0) - 1)) AS error_pct,
                   avg(utilization_ratio) AS utilization_ratio, avg(active_hosts) AS active_hosts
            FROM power_samples WHERE run_id = $run_id AND datacenter = $datacenter GROUP BY 1 ORDER BY 1
            """,
            _key(run) | {"step": bucket_ms(_span_ms(lake, run))},
        )
    )


def carbon(lake: Lake, run: Mapping[str, Any]) -> Columns:
    """Emission [kg] and mean carbon intensity [g/kWh] per hour of trace time, and the emission so far [kg]."""
    return _columns(
        lake.query(
            """
            SELECT *, sum(carbon_kg) OVER (ORDER BY time_ms) AS so_far_kg FROM (
                SELECT timestamp_ms // 3600000 * 3600000 AS time_ms, sum(carbon_g) / 1000 AS carbon_kg,
                       avg(carbon_intensity_g_per_kwh) AS intensity_g_per_kwh
                FROM power_samples WHERE run_id = $run_id AND datacenter = $datacenter GROUP BY 1
            ) ORDER BY time_ms
            """,
            _key(run),
        )
    )


def accuracy(lake: Lake, run: Mapping[str, Any]) -> Columns:
    """Error [%] per window of the twin, of the topology as given and of persistence; band coverage [%]."""
    return _columns(
        lake.query(
            """
            SELECT epoch_ms("start") AS time_ms, mape_pct, uncalibrated_mape_pct, persistence_mape_pct,
                   band_coverage_pct
            FROM accuracy WHERE run_id = $run_id AND datacenter = $datacenter ORDER BY 1
            """,
            _key(run),
        )
    )


def accuracy_totals(lake: Lake, run: Mapping[str, Any]) -> dict[str, float | None]:
    """Accuracy over all samples of the run that have a reading: shares, bias, band coverage and width."""
    (row,) = lake.rows(
        """
        WITH scored AS (
            SELECT *, 100 * abs(simulated_w / measured_w - 1) AS error_pct FROM power_samples
            WHERE run_id = $run_id AND datacenter = $datacenter AND measured_w > 0
        )
        SELECT count(*) AS samples, avg(error_pct) AS mape_pct,
               avg(100 * abs(uncalibrated_w / measured_w - 1)) AS uncalibrated_mape_pct,
               avg(100 * abs(persistence_w / measured_w - 1)) AS persistence_mape_pct,
               100 * avg((error_pct < 5)::INTEGER) AS under_5_pct, 100 * avg((error_pct < 10)::INTEGER) AS under_10_pct,
               100 * (sum(simulated_w) / sum(measured_w) - 1) AS bias_pct,
               100 * avg((measured_w BETWEEN band_low_w AND band_high_w)::INTEGER) AS band_coverage_pct,
               avg(100 * (band_high_w - band_low_w) / measured_w) AS band_width_pct
        FROM scored
        """,
        _key(run),
    )
    return row


def hosts(lake: Lake, run: Mapping[str, Any]) -> Columns:
    """Mean utilisation per host and step, ordered by host and time."""
    step = max(3_600_000, bucket_ms(_span_ms(lake, run), 240))
    return _columns(
        lake.query(
            """
            SELECT cluster_name || ' / ' || host_name AS host, timestamp_ms // $step * $step AS time_ms,
                   avg(cpu_utilization_ratio) AS utilization_ratio
            FROM host_samples WHERE run_id = $run_id AND datacenter = $datacenter
            GROUP BY cluster_name, host_name, time_ms
            ORDER BY cluster_name, length(host_name), host_name, time_ms
            """,
            _key(run) | {"step": step},
        )
    )


def calibrations(lake: Lake, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Calibrations in order, with ``strips``: what is drawn together, as path to name to number."""
    rows = lake.rows(
        """
        SELECT trained_until_ms AS time_ms, calibration_id, method, curve, parameters_json, samples, score_mape_pct,
               heldout_mape_pct, active_heldout_mape_pct, published, reason
        FROM calibrations WHERE run_id = $run_id AND datacenter = $datacenter ORDER BY window_index, created_ms
        """,
        _key(run),
    )
    return [row | {"strips": _strips(json.loads(row["parameters_json"] or "{}"))} for row in rows]


def drifts(calibrations: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(since when [epoch ms], size [%]) of each change of the cluster that the last calibration knows of."""
    events = json.loads(calibrations[-1]["parameters_json"] or "{}").get("drift", []) if calibrations else []
    return [(int(event["since_ms"]), float(event["size_pct"])) for event in events]


def proposals(lake: Lake, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Proposals, best first, with reasons, changes and what was decided about each."""
    rows = lake.rows(
        """
        SELECT proposals.*, latest.decision, latest.decided_by, latest.decision_reason,
               100 * (1 - energy_kwh / nullif(baseline_energy_kwh, 0)) AS saving_pct
        FROM proposals LEFT JOIN (
            SELECT proposal_id, arg_max(decision, created_ms) AS decision,
                   arg_max(decided_by, created_ms) AS decided_by, arg_max(reason, created_ms) AS decision_reason
            FROM decisions GROUP BY 1
        ) AS latest USING (proposal_id)
        WHERE run_id = $run_id AND datacenter = $datacenter ORDER BY score NULLS LAST, created_ms
        """,
        _key(run),
    )
    return [
        row | {"reasons": json.loads(row["reasons_json"] or "[]"), "changes": json.loads(row["changes_json"] or "{}")}
        for row in rows
    ]


def slos(lake: Lake, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Targets in force beside what the run reached."""
    return lake.rows(
        'SELECT objective, target, "value", met, over_pct FROM slo_compliance '
        "WHERE run_id = $run_id AND datacenter = $datacenter ORDER BY objective",
        _key(run),
    )


def stream(lake: Lake, run: Mapping[str, Any]) -> dict[str, Any]:
    """Counts of the stream over the run's windows, and the time a window takes [ms]."""
    (row,) = lake.rows(
        """
        SELECT count(*) AS windows, min(start_ms) AS first_ms, max(end_ms) AS last_ms,
               sum(late_records) AS late_records, sum(duplicate_records) AS duplicate_records,
               sum(dead_letters) AS dead_letters, sum(tasks_completed) AS tasks_completed,
               sum(tasks_terminated) AS tasks_terminated,
               quantile_cont(wall_ms, 0.5) AS median_wall_ms, max(wall_ms) AS max_wall_ms
        FROM windows WHERE run_id = $run_id AND datacenter = $datacenter
        """,
        _key(run),
    )
    return row


def provenance(lake: Lake, run: Mapping[str, Any]) -> dict[str, Any]:
    """Where the numbers come from: the run's own record, and hashes over the results as they are in the lake now."""
    (row,) = lake.rows(
        "SELECT config_json, trace_sha256, topology_version, window_ms, origin_ms, stages_json, dropped_json FROM runs "
        "WHERE run_id = $run_id AND datacenter = $datacenter",
        _key(run),
    )
    return row | {
        "config": json.loads(row["config_json"] or "{}"),
        "stages": json.loads(row["stages_json"] or "{}"),
        "dropped": json.loads(row["dropped_json"] or "{}"),
        "power_sha256": _sha256(lake, run, "power_samples", "timestamp_ms, simulated_w, uncalibrated_w, measured_w"),
        "windows_sha256": _sha256(lake, run, "windows", "window_index, start_ms, end_ms, energy_j, carbon_g"),
        "snapshot": lake.snapshot(),
    }


def _sha256(lake: Lake, run: Mapping[str, Any], table: str, columns: str) -> str:
    """SHA-256 over a table's columns as little-endian 8-byte numbers, null as NaN, in order of the first column."""
    found = lake.query(
        f"SELECT {columns} FROM {table} WHERE run_id = $run_id AND datacenter = $datacenter ORDER BY 1", _key(run)
    )
    digest = hashlib.sha256()
    for name in found.column_names:
        digest.update(name.encode() + b"\0")
        digest.update(np.ascontiguousarray(_numpy(found.column(name))).astype("<f8").tobytes())
    return digest.hexdigest()


def _key(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"run_id": run["run_id"], "datacenter": run["datacenter"]}


def _span_ms(lake: Lake, run: Mapping[str, Any]) -> int:
    (row,) = lake.rows(
        "SELECT coalesce(max(end_ms) - min(start_ms), 0) AS span_ms FROM windows "
        "WHERE run_id = $run_id AND datacenter = $datacenter",
        _key(run),
    )
    return int(row["span_ms"])


def _columns(table: pa.Table) -> Columns:
    return {name: _numpy(table.column(name)) for name in table.column_names}


def _numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """Integers stay integers, other numbers become float64 with NaN for null, text becomes objects."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    return column.cast(pa.float64()).to_numpy()


def _strips(parameters: Any, path: tuple[str, ...] = ()) -> dict[str, dict[str, float]]:
    """Numbers of nested parameters: lists and mappings of nothing but numbers stay together, under their path.

    A list of mappings is a record, such as that of drift, and no parameter of the model.
    """
    if isinstance(parameters, list) and any(isinstance(item, Mapping) for item in parameters):
        return {}
    items = dict(enumerate(parameters)) if isinstance(parameters, list) else parameters
    found: dict[str, dict[str, float]] = {}
    together = bool(path) and len(items) > 1 and all(map(_is_number, items.values()))
    for name, value in items.items():
        if _is_number(value):
            key, leaf = (path, str(name)) if together else ((*path, str(name)), "")
            found.setdefault(".".join(key), {})[leaf] = float(value)
        elif isinstance(value, Mapping | list):
            found |= _strips(value, (*path, str(name)))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""Accuracy of a trace or a run as plain values: what ``opendt accuracy`` prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from opendt import metrics
from opendt.calibration.evaluate import PERSISTENCE, PUBLISHED, Evaluation, evaluate
from opendt.calibration.recorded import simulated_trace
from opendt.errors import InputError
from opendt.models.telemetry import PowerSeries
from opendt.units import MS_PER_HOUR, MS_PER_S, iso

if TYPE_CHECKING:
    from opendt.lake import Lake
    from opendt.settings import Settings

TRUTH = "truth.json"


def trace_accuracy(
    path: Path,
    settings: Settings,
    *,
    lead_h: int = 1,
    methods: Sequence[str] = ("online", "grid", "off"),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Simulate a trace, walk forward over it with each method, and score them beside persistence.

    Raises ``TraceError`` for a trace without measured power or topology.
    """
    started = time.perf_counter()
    if progress:
        progress("simulation")
    trace, occupancy = simulated_trace(path, settings)
    assert trace.topology is not None
    assert trace.power is not None
    found = evaluate(
        trace.topology, occupancy, trace.power, settings.calibration,
        lead_h=lead_h, methods=methods, carbon=trace.carbon, progress=progress,
    )  # fmt: skip
    return {
        "trace": trace.name,
        "lead_h": lead_h,
        "cadence_s": settings.engine.sample_interval_s,
        **span(found),
        "methods": {name: score.to_dict() for name, score in found.scores.items()},
        "noise_floor_pct": _noise_floor(path),
        "drift": found.drift,
        "totals": found.totals,
        "published": list(PUBLISHED),
        "walk_s": found.wall_s,
        "wall_s": time.perf_counter() - started,
    }


def span(found: Evaluation) -> dict[str, Any]:
    """First and last sample that counts."""
    times = next(iter(found.forecasts.values())).timestamp_ms[found.counted]
    return {"from": iso(int(times[0])), "until": iso(int(times[-1])), "samples": len(times)}


def _noise_floor(path: Path) -> float | None:
    """Error of the true power of a generated trace: no model can be expected to beat it [%]."""
    truth = path / TRUTH
    if not truth.exists():
        return None
    floor = orjson.loads(truth.read_bytes()).get("floor_mape_pct")
    return None if floor is None else float(floor)


def run_accuracy(lake: Lake, run_id: str, *, lead_h: int = 1, skip_h: float = 2.0) -> dict[str, Any]:
    """Score what a run predicted, window by window, from the lake.

    The method is the one the run calibrated with. Persistence holds over windows of ``lead_h`` hours.

    Raises ``InputError`` for an unknown run or one without measured power.
    """
    started = time.perf_counter()
    rows = lake.query(
        """SELECT timestamp_ms, simulated_w, uncalibrated_w, measured_w, band_low_w, band_high_w
           FROM power_samples WHERE run_id = ? ORDER BY timestamp_ms""",
        [run_id],
    )
    column = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}
    times = column["timestamp_ms"].astype(np.int64)
    if len(times) == 0:
        raise InputError(f"run {run_id!r} has no power samples in the lake. See `opendt runs`.", run_id=run_id)
    watts = {name: values.astype(np.float64) for name, values in column.items() if name.endswith("_w")}
    begin = int(times[0]) // MS_PER_HOUR * MS_PER_HOUR + int(skip_h * MS_PER_HOUR)
    counted = (times >= begin) & np.isfinite(watts["measured_w"])
    if not counted.any():
        raise InputError(f"run {run_id!r} has no measured power after its first hours.", run_id=run_id)
    found = lake.rows("SELECT method FROM calibrations WHERE run_id = ? ORDER BY window_index DESC LIMIT 1", [run_id])
    method = str(found[0]["method"]) if found else "off"
    scores: dict[str, Any] = {}

    def score(name: str, predicted: Any, low: Any = None, high: Any = None) -> None:
        if np.isfinite(predicted[counted]).any():
            bands = (None if low is None else low[counted], None if high is None else high[counted])
            result = metrics.accuracy(times[counted], predicted[counted], watts["measured_w"][counted], *bands)
            scores[name] = result.to_dict()

    if method != "off":
        score(method, watts["simulated_w"], watts["band_low_w"], watts["band_high_w"])
    score("uncalibrated", watts["uncalibrated_w"])
    known = np.isfinite(watts["measured_w"])
    measured = PowerSeries(times[known], watts["measured_w"][known])
    origin = times // (lead_h * MS_PER_HOUR) * (lead_h * MS_PER_HOUR)
    for name, kind in PERSISTENCE.items():
        score(name, metrics.persistence(measured, times, origin, kind))
    return {
        "run_id": run_id,
        "lead_h": lead_h,
        "cadence_s": float(np.median(np.diff(times))) / MS_PER_S if len(times) > 1 else None,
        "from": iso(int(times[counted][0])),
        "until": iso(int(times[counted][-1])),
        "samples": int(counted.sum()),
        "methods": scores,
        "noise_floor_pct": None,
        "drift": _drift_of_run(lake, run_id),
        "published": list(PUBLISHED),
        "wall_s": time.perf_counter() - started,
    }


def _drift_of_run(lake: Lake, run_id: str) -> list[dict[str, Any]]:
    """Changes of the cluster as the run's last calibration recorded them."""
    rows = lake.rows(
        """SELECT parameters_json FROM calibrations WHERE run_id = ? AND method = 'online'
           ORDER BY window_index DESC LIMIT 1""",
        [run_id],
    )
    return list(orjson.loads(rows[0]["parameters_json"]).get("drift", [])) if rows else []

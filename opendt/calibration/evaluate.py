"""How accurate calibration is: walk forward over a recorded trace, every method beside persistence.

Protocol. The trace is simulated once. Time is cut into windows of ``lead_h`` hours (aligned to the epoch); parameters,
corrections, bands and persistence of a window use only readings before it begins, while the workload that ran in it is
known, as it is to a twin. Calibrators learn hour by hour. The first windows, in which nothing is known, do not count:
``skip_h`` hours from the first sample's hour. Scores are on raw samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.ahead import LeadBand
from opendt.calibration.band import total_band
from opendt.calibration.banded import with_band
from opendt.calibration.base import Calibrator
from opendt.calibration.factory import make_calibrator
from opendt.calibration.hygiene import MAX_GAP_MS
from opendt.calibration.online import OnlineCalibrator
from opendt.calibration.search import take_samples
from opendt.engine.base import Occupancy
from opendt.errors import InputError
from opendt.metrics import Accuracy
from opendt.models.telemetry import CarbonTrace, PowerSeries, no_carbon
from opendt.models.topology import Topology
from opendt.power.carbon import emission_g
from opendt.settings import CalibrationSettings
from opendt.units import J_PER_KWH, MS_PER_HOUR, MS_PER_S

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

PERSISTENCE: dict[str, metrics.PersistenceKind] = {
    "persistence_last": "last", "persistence_mean": "mean", "persistence_day": "day",
}  # fmt: skip

PUBLISHED = (
    {
        "system": "OpenDT, not calibrated", "mape_pct": 5.13, "source": "arXiv 2604.11445",
        "protocol": "SURF week, power means of 5 minutes, hourly simulation, datasheet mse curve",
    },
    {
        "system": "OpenDT, calibrated", "mape_pct": 4.39, "source": "arXiv 2604.11445",
        "protocol": "SURF week, power means of 5 minutes, each hour a grid of 10 exponents on the last 60 minutes",
    },
    {
        "system": "FootPrinter", "mape_pct": 7.86, "source": "arXiv 2604.11445",
        "protocol": "SURF week, its own simulation",
    },
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one method predicted: times [epoch ms], watts and band per sample; NaN where it had nothing to say."""

    timestamp_ms: I64
    power_w: F64
    low_w: F64
    high_w: F64


@dataclass(frozen=True)
class Evaluation:
    """Scores per method, and what else was learned on the way.

    Attributes:
        scores: accuracy per method.
        forecasts: predictions per method.
        measured_w: measured power at the sample times of the forecasts [W], NaN where there is none.
        counted: samples that entered the scores.
        drift: changes of the cluster the online calibrator found.
        totals: energy and carbon of the counted time: predicted with 90 % band, measured.
        wall_s: time of the walk.
    """

    scores: dict[str, Accuracy]
    forecasts: dict[str, Forecast]
    measured_w: F64
    counted: NDArray[np.bool_]
    drift: list[dict[str, Any]]
    totals: dict[str, Any]
    wall_s: float
    lead_h: float


def hourly(occupancy: Occupancy, measured: PowerSeries) -> list[tuple[int, Occupancy, PowerSeries]]:
    """(start [epoch ms], occupancy, readings) of every hour that has samples."""
    hours = np.asarray(occupancy.timestamp_ms) // MS_PER_HOUR
    reading_hours = measured.timestamp_ms // MS_PER_HOUR
    found = []
    for hour in np.unique(hours):
        inside = slice(*np.searchsorted(hours, [hour, hour + 1]))
        arrived = slice(*np.searchsorted(reading_hours, [hour, hour + 1]))
        readings = PowerSeries(measured.timestamp_ms[arrived], measured.power_w[arrived])
        found.append((int(hour) * MS_PER_HOUR, take_samples(occupancy, inside), readings))
    return found


def walk_forward(
    calibrator: Calibrator, hours: Sequence[tuple[int, Occupancy, PowerSeries]], lead_h: int = 1
) -> Forecast:
    """Predict every hour with what was known when its window of ``lead_h`` hours began; learn from each hour after.

    A calibrator's own band is one for the next hour. Longer windows have one from errors at their leads (``ahead.py``).
    """
    times, power, low, high = [], [], [], []
    outcome = limits = window = None
    band = LeadBand(lead_h) if lead_h > 1 else None
    for start_ms, occupancy, readings in hours:
        this = start_ms // (lead_h * MS_PER_HOUR)
        if outcome is None or this != window:
            outcome, window = calibrator.params_for(start_ms), this
            limits = band.limits() if band else None
        prediction = outcome.predict(occupancy)
        if band and outcome.calibration_id is not None:
            prediction = with_band(replace(prediction, band_low_w=None, band_high_w=None), limits)
        if band:
            band.follow(calibrator, start_ms, occupancy, readings)
        nothing = np.full(len(prediction.power_w), np.nan)
        times.append(np.asarray(occupancy.timestamp_ms, np.int64))
        power.append(prediction.power_w)
        low.append(nothing if prediction.band_low_w is None else prediction.band_low_w)
        high.append(nothing if prediction.band_high_w is None else prediction.band_high_w)
        calibrator.observe(occupancy, readings)
    return Forecast(*(np.concatenate(column) for column in (times, power, low, high)))


def evaluate(
    topology: Topology,
    occupancy: Occupancy,
    measured: PowerSeries,
    settings: CalibrationSettings,
    *,
    lead_h: int = 1,
    skip_h: float | None = None,
    methods: Sequence[str] = ("online", "grid", "off"),
    carbon: CarbonTrace | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score methods and the three kinds of persistence on one simulated trace.

    Args:
        topology: the datasheet.
        occupancy: the whole trace simulated.
        measured: measured power.
        settings: of the calibrators; ``mode`` is replaced by each of ``methods``.
        lead_h: hours for which a prediction must hold.
        skip_h: hours at the beginning that do not count: two windows of one hour or one longer window by default.
        methods: online, grid, bayesian, off.
        carbon: carbon intensity for the total emission.
        progress: told each method before it starts.

    Raises:
        InputError: measured power does not overlap the simulated time, or is shorter than what does not count.
    """
    started = time.perf_counter()
    occupancy = take_samples(occupancy, np.unique(np.asarray(occupancy.timestamp_ms), return_index=True)[1])
    hours = hourly(occupancy, measured)
    times = np.asarray(occupancy.timestamp_ms, np.int64)
    watts = metrics.align(measured, times, MAX_GAP_MS)
    begin = hours[0][0] + int((skip_h if skip_h is not None else max(2, lead_h)) * MS_PER_HOUR)
    counted = np.isfinite(watts) & (watts > 0) & (times >= begin)
    if not counted.any():
        raise InputError(
            "no measured power to compare with after the first hours. Check that consumption.parquet covers the time "
            "of the workload, and that the trace is longer than the lead.",
            lead_h=lead_h,
        )
    forecasts: dict[str, Forecast] = {}
    drift: list[dict[str, Any]] = []
    for method in methods:
        if progress:
            progress(method)
        calibrator = make_calibrator(settings.model_copy(update={"mode": method}), topology)
        forecasts["uncalibrated" if method == "off" else method] = walk_forward(calibrator, hours, lead_h)
        if isinstance(calibrator, OnlineCalibrator):
            drift = [event.to_dict() for event in calibrator.drifts]
    origin = times // (lead_h * MS_PER_HOUR) * (lead_h * MS_PER_HOUR)
    nothing = np.full(len(times), np.nan)
    for name, kind in PERSISTENCE.items():
        held = metrics.persistence(measured, times, origin, kind)
        forecasts[name] = Forecast(times, held, nothing, nothing)
    scores = {name: score for name, f in forecasts.items() if (score := _score(f, watts, counted)) is not None}
    best = forecasts.get("online") or next(iter(forecasts.values()))
    return Evaluation(
        scores, forecasts, watts, counted, drift, totals(best, watts, counted, carbon or no_carbon()),
        time.perf_counter() - started, lead_h,
    )  # fmt: skip


def _score(forecast: Forecast, measured_w: F64, counted: NDArray[np.bool_]) -> Accuracy | None:
    """None for a method that had nothing to say in the counted time (yesterday, in a trace of a day)."""
    if not np.isfinite(forecast.power_w[counted]).any():
        return None
    columns = (forecast.timestamp_ms, forecast.power_w, measured_w, forecast.low_w, forecast.high_w)
    return metrics.accuracy(*(column[counted] for column in columns))


def totals(forecast: Forecast, measured_w: F64, counted: NDArray[np.bool_], carbon: CarbonTrace) -> dict[str, Any]:
    """Energy [kWh] and carbon [kg] of the counted samples: predicted, with the 90 % band, and measured.

    The band is the one a twin could give for a stretch as long as the last half of the counted time, from the errors of
    the hours in the first half; scaled to the whole. None where the time is too short for it.
    """
    times = forecast.timestamp_ms[counted]
    predicted, measured = forecast.power_w[counted], measured_w[counted]
    step_ms = int(np.median(np.diff(times))) if len(times) > 1 else 0
    found: dict[str, Any] = {}
    hours = times // MS_PER_HOUR
    first = hours < (hours[0] + hours[-1] + 1) // 2
    for name, unit, weigh in (
        ("energy_kwh", 1.0, lambda w: w * step_ms / MS_PER_S / J_PER_KWH),
        ("carbon_kg", 1e-3, lambda w: emission_g(w, times - step_ms, times, carbon)),
    ):
        parts, real = weigh(predicted) * unit, weigh(measured) * unit
        found[name] = {"predicted": float(parts.sum()), "measured": float(real.sum())}
        found[name] |= _second_half(hours, first, parts, real)
    return found


def _second_half(hours: I64, first: NDArray[np.bool_], parts: F64, real: F64) -> dict[str, Any]:
    """The 90 % band of the second half, from the hourly errors of the first half, beside what was measured."""
    past = [_relative(real[first & (hours == h)], parts[first & (hours == h)]) for h in np.unique(hours[first])]
    coming = np.array([parts[~first & (hours == h)].sum() for h in np.unique(hours[~first])])
    low, high = total_band(coming, past)
    if not np.isfinite(low):
        return {}
    return {"second_half": {"low": low, "high": high, "measured": float(real[~first].sum())}}


def _relative(real: F64, parts: F64) -> float:
    return float(real.sum() / parts.sum() - 1) if parts.sum() > 0 else float("nan")

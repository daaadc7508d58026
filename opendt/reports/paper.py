"""The two experiments of the OpenDT paper (arXiv 2604.11445) on any trace: figures as PNG and PDF, numbers as CSV.

Experiment 1 predicts power without calibration, experiment 2 with it (the paper's grid, and our online calibration).
Beside power and error over time: CPU utilisation, a sustainability overview (energy, carbon, performance, efficiency)
and jobs per kWh. As in the paper one cycle counts as one floating point operation.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from opendt import metrics
from opendt.calibration.evaluate import PUBLISHED, Evaluation, evaluate
from opendt.calibration.recorded import simulate_recorded
from opendt.engine.base import Occupancy, SimulationResult
from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.models.topology import Topology
from opendt.power.carbon import emission_g
from opendt.power.pricing import host_types
from opendt.reports.figures import BAD, GIVEN, GOOD, MEASURED, PERSISTENCE, SIMULATED, WIDTH_IN, render
from opendt.settings import Settings
from opendt.units import J_PER_KWH, MS_PER_HOUR, MS_PER_S, iso

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

THRESHOLD_PCT = 10.0  # the paper's non-functional requirement on the error
LEARNING_H = 2  # hours in which nothing is known yet; they do not count in means
SMOOTHING_MS = 450_000  # running mean of plotted power, as in the paper's figures
CYCLES_PER_MHZ_S = 1e6
TERA = 1e12
LINES: dict[str, tuple[str, str, str]] = {
    "uncalibrated": ("not calibrated", GIVEN, "--"),
    "grid": ("calibrated, the paper's grid", PERSISTENCE, "-."),
    "online": ("calibrated online", SIMULATED, "-"),
    "persistence_last": ("last value held for an hour", "#7d8590", ":"),
}


@dataclass(frozen=True)
class Series:
    """Everything the figures show.

    Attributes:
        timestamp_ms, measured_w, predicted_w: per sample; predictions by method.
        utilization: used share of all processing capacity per sample.
        hour_ms: start of each full hour, with the hourly columns below.
        energy_kwh: energy per hour, measured and by method.
        carbon_kg, work_tera, jobs: per hour; carbon of the measured energy.
    """

    timestamp_ms: I64
    measured_w: F64
    predicted_w: dict[str, F64]
    utilization: F64
    hour_ms: I64
    energy_kwh: dict[str, F64]
    carbon_kg: F64
    work_tera: F64
    jobs: F64


def write_paper_report(trace: Path, out: Path, settings: Settings) -> dict[str, Any]:
    """Simulate a trace, walk forward with and without calibration, write figures and numbers.

    Returns the files written and the scores per method. Raises ``TraceError`` for a trace without measured power.
    """
    read, result = simulate_recorded(trace, settings)
    assert read.topology is not None
    assert read.power is not None
    assert result.occupancy is not None
    found = evaluate(
        read.topology, result.occupancy, read.power, settings.calibration, methods=("online", "grid", "off")
    )
    series = make_series(found, result, read.topology, read.carbon or no_carbon())
    out.mkdir(parents=True, exist_ok=True)
    files = [path for name, draw in FIGURES.items() for path in _write_figure(out, name, draw, series)]
    files += [_write_samples(out / "power_over_time.csv", series), _write_hours(out / "hours.csv", series)]
    files.append(_write_scores(out / "scores.csv", found))
    return {
        "trace": read.name,
        "files": [str(path) for path in files],
        "methods": {name: score.to_dict() for name, score in found.scores.items()},
        "published": list(PUBLISHED),
        "wall_s": found.wall_s,
    }


def make_series(found: Evaluation, result: SimulationResult, topology: Topology, carbon: CarbonTrace) -> Series:
    """The columns behind the figures."""
    online = found.forecasts["online"]
    times = online.timestamp_ms
    occupancy = cast(Occupancy, result.occupancy)
    first = np.unique(np.asarray(occupancy.timestamp_ms), return_index=True)[1]
    used_mhz, capacity_mhz = _used_mhz(occupancy, topology)
    used_mhz = used_mhz[first]
    step_ms = int(np.median(np.diff(times))) if len(times) > 1 else MS_PER_HOUR
    predicted = {name: found.forecasts[name].power_w for name in LINES}
    hours = np.unique(times // MS_PER_HOUR)
    full = np.array([(times // MS_PER_HOUR == h).sum() * step_ms >= 0.9 * MS_PER_HOUR for h in hours])
    hour_ms = hours[full] * MS_PER_HOUR

    def hourly(power_w: F64) -> F64:
        means = metrics.bucket_means(times, power_w, MS_PER_HOUR)
        return np.asarray(means[full] * MS_PER_HOUR / MS_PER_S / J_PER_KWH, np.float64)

    work = metrics.bucket_means(times, used_mhz, MS_PER_HOUR)[full] * CYCLES_PER_MHZ_S * MS_PER_HOUR / MS_PER_S / TERA
    grams = emission_g(found.measured_w, times - step_ms, times, carbon)
    energy = {"measured": hourly(found.measured_w)} | {name: hourly(watts) for name, watts in predicted.items()}
    return Series(
        times, found.measured_w, predicted, used_mhz / capacity_mhz, hour_ms, energy,
        metrics.bucket_means(times, grams, MS_PER_HOUR)[full] * MS_PER_HOUR / step_ms / 1e3, work,
        _jobs(result, hour_ms),
    )  # fmt: skip


def _used_mhz(occupancy: Occupancy, topology: Topology) -> tuple[F64, float]:
    """Processing in use at each sample and all there is [MHz]."""
    hosts = host_types(topology, occupancy.groups)
    capacity = np.array([host.capacity_mhz for host in hosts])
    busy = np.asarray(occupancy.weights, np.float64) @ np.asarray(occupancy.knots, np.float64)
    return busy @ capacity, float(sum(host.count * mhz for host, mhz in zip(hosts, capacity, strict=True)))


def _jobs(result: SimulationResult, hour_ms: I64) -> F64:
    """Tasks completed per hour."""
    events = result.task_events
    done = events.filter(pc.equal(events["event"], "completed"))["time_ms"].to_numpy()
    edges = np.append(hour_ms, hour_ms[-1] + MS_PER_HOUR) if len(hour_ms) else np.zeros(1)
    return np.histogram(done, bins=edges)[0].astype(np.float64) if len(hour_ms) else np.zeros(0)


def rolling_mape(timestamp_ms: I64, predicted_w: F64, measured_w: F64) -> F64:
    """MAPE [%] of each hour's samples, one value per hour in order of time; NaN without measurements."""
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(measured_w > 0, np.abs(predicted_w / measured_w - 1) * 100, np.nan)
    return metrics.bucket_means(timestamp_ms, error, MS_PER_HOUR)


# Figures


def power_uncalibrated(s: Series) -> Figure:
    """Experiment 1: measured power and the prediction without calibration."""
    return _power(s, ("uncalibrated",), "Experiment 1: power over time without calibration")


def power_calibrated(s: Series) -> Figure:
    """Experiment 2: measured power and the predictions with calibration."""
    return _power(s, ("grid", "online"), "Experiment 2: power over time with calibration")


def mape_over_time(s: Series) -> Figure:
    """Error of each hour by method, with the paper's threshold."""
    figure, (axes,) = _axes(1, 3.6)
    hours = np.unique(s.timestamp_ms // MS_PER_HOUR) * MS_PER_HOUR
    for name, (label, colour, line) in LINES.items():
        error = rolling_mape(s.timestamp_ms, s.predicted_w[name], s.measured_w)
        axes.plot(_times(hours), error, color=colour, ls=line, lw=1.1, label=f"{label} ({_mean(error):.2f} %)")
    axes.axhline(THRESHOLD_PCT, color=BAD, lw=1.0, label=f"threshold {THRESHOLD_PCT:g} %")
    axes.set(title="Error by hour", ylabel="MAPE [%]", ylim=(0, None))
    return _finished(figure, axes)


def _mean(hourly: F64) -> float:
    counted = hourly[LEARNING_H:]
    return float(np.nanmean(counted)) if np.isfinite(counted).any() else float("nan")


def cpu_utilization(s: Series) -> Figure:
    """Used share of all processing capacity."""
    figure, (axes,) = _axes(1, 2.8)
    axes.plot(_times(s.timestamp_ms), s.utilization * 100, color=SIMULATED, lw=1.0)
    axes.set(title="CPU utilisation", ylabel="utilisation [%]", ylim=(0, 100))
    return _finished(figure, axes)


def sustainability(s: Series) -> Figure:
    """Energy, carbon, performance and efficiency per hour."""
    figure, panels = _axes(4, 7.6)
    at = _times(s.hour_ms)
    width = np.timedelta64(50, "m")
    panels[0].plot(at, s.energy_kwh["measured"], color=MEASURED, label="measured")
    panels[0].plot(at, s.energy_kwh["online"], color=SIMULATED, ls="--", label="predicted online")
    panels[0].set(title="Sustainability", ylabel="energy [kWh/h]")
    panels[0].legend(loc="best", ncols=2)
    rows = (
        (s.carbon_kg, "carbon [kg/h]", BAD),
        (s.work_tera, "performance\n[TFLOP/h]", PERSISTENCE),
        (_per_kwh(s.work_tera, s), "efficiency\n[TFLOP/kWh]", GOOD),
    )
    for axes, (values, label, colour) in zip(panels[1:], rows, strict=True):
        axes.bar(at, values, width=cast(Any, width), color=colour)
        axes.set(ylabel=label)
    return _finished(figure, panels[-1], legend=False)


def jobs_per_kwh(s: Series) -> Figure:
    """Tasks completed per kWh of measured energy, by hour."""
    figure, (axes,) = _axes(1, 2.8)
    axes.bar(_times(s.hour_ms), _per_kwh(s.jobs, s), width=cast(Any, np.timedelta64(50, "m")), color=SIMULATED)
    axes.set(title="Jobs per kWh", ylabel="jobs completed per kWh")
    return _finished(figure, axes, legend=False)


FIGURES: dict[str, Callable[[Series], Figure]] = {
    "experiment_1_power": power_uncalibrated,
    "experiment_2_power": power_calibrated,
    "mape_over_time": mape_over_time,
    "cpu_utilization": cpu_utilization,
    "sustainability_overview": sustainability,
    "jobs_per_kwh": jobs_per_kwh,
}


def _power(s: Series, methods: tuple[str, ...], title: str) -> Figure:
    figure, (axes,) = _axes(1, 3.6)
    buckets = np.unique(s.timestamp_ms // SMOOTHING_MS) * SMOOTHING_MS

    def smooth(watts: F64) -> F64:
        return metrics.bucket_means(s.timestamp_ms, watts, SMOOTHING_MS) / 1e3

    def known(watts: F64) -> F64:
        return np.where(np.isfinite(s.measured_w), watts, np.nan)

    axes.plot(_times(buckets), smooth(s.measured_w), color=MEASURED, lw=1.3, label="measured")
    for name in methods:
        label, colour, line = LINES[name]
        axes.plot(_times(buckets), smooth(known(s.predicted_w[name])), color=colour, ls=line, lw=1.1, label=label)
    axes.set(title=title, ylabel="power [kW]")
    return _finished(figure, axes)


def _per_kwh(values: F64, s: Series) -> F64:
    energy = s.energy_kwh["measured"]
    return np.divide(values, energy, out=np.full(len(values), np.nan), where=energy > 0)


def _axes(count: int, height_in: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])


def _finished(figure: Figure, axes: Axes, *, legend: bool = True) -> Figure:
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("trace time (UTC)")
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", ncols=2)
    return figure


def _times(epoch_ms: I64) -> NDArray[Any]:
    return epoch_ms.astype("datetime64[ms]")


# Files


def _write_figure(out: Path, name: str, draw: Callable[[Series], Figure], series: Series) -> list[Path]:
    pictures = render(lambda *_: draw(series), cast(Any, None), {}, "png", "pdf")
    written = []
    for format, data in pictures.items():
        path = out / f"{name}.{format}"
        path.write_bytes(data)
        written.append(path)
    return written


def _write_samples(path: Path, s: Series) -> Path:
    columns = {"measured_w": s.measured_w} | {f"{name}_w": watts for name, watts in s.predicted_w.items()}
    return _write_csv(path, s.timestamp_ms, columns | {"utilization_ratio": s.utilization})


def _write_hours(path: Path, s: Series) -> Path:
    columns = {f"energy_{name}_kwh": energy for name, energy in s.energy_kwh.items()}
    columns |= {"carbon_kg": s.carbon_kg, "work_tflop": s.work_tera, "jobs_completed": s.jobs}
    hours = np.unique(s.timestamp_ms // MS_PER_HOUR) * MS_PER_HOUR
    kept = np.isin(hours, s.hour_ms)
    for name, watts in s.predicted_w.items():
        columns[f"mape_{name}_pct"] = rolling_mape(s.timestamp_ms, watts, s.measured_w)[kept]
    columns["tflop_per_kwh"] = _per_kwh(s.work_tera, s)
    columns["jobs_per_kwh"] = _per_kwh(s.jobs, s)
    return _write_csv(path, s.hour_ms, columns)


def _write_csv(path: Path, at: I64, columns: dict[str, F64]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time", *columns])
        for i, moment in enumerate(at.tolist()):
            values = ["" if np.isnan(c[i]) else f"{c[i]:.6g}" for c in columns.values()]
            writer.writerow([iso(moment), *values])
    return path


def _write_scores(path: Path, found: Evaluation) -> Path:
    rows = {name: score.to_dict() for name, score in found.scores.items()}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", *next(iter(rows.values()))])
        for name, score in rows.items():
            writer.writerow([name, *("" if v is None else f"{v:.6g}" for v in score.values())])
    return path

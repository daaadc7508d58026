"""Figures of a run as matplotlib objects and as PNG or PDF bytes; numbers come from the lake.

``power_png(lake, run_id)`` and its siblings return bytes for whoever shows an image (Prefect artifacts, reports).
Colours are Okabe and Ito's, which people with any colour vision tell apart; lines also differ in style.
Figures are built without pyplot and leave nothing behind.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from opendt.lake import Lake
from opendt.reports import data

MEASURED, SIMULATED, BAND, GIVEN, PERSISTENCE, GOOD, BAD = (
    "#1b1f24", "#0072b2", "#56b4e9", "#b35900", "#7a5195", "#00775a", "#b3400a",
)  # fmt: skip
WIDTH_IN, DPI = 10.0, 140
LEAST_SAVING_PCT = 0.05  # less is printed as 0.0 %

_STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#8a919a",
    "axes.labelcolor": "#3d444d", "axes.grid": True, "grid.color": "#e3e6ea", "grid.linewidth": 0.8,
    "xtick.color": "#3d444d", "ytick.color": "#3d444d", "axes.axisbelow": True, "legend.frameon": False,
    "legend.fontsize": 9, "figure.facecolor": "white", "lines.linewidth": 1.4, "pdf.fonttype": 42,
}  # fmt: skip
_STYLE_LOCK = threading.Lock()

Run = Mapping[str, Any]
FigureMaker = Callable[[Lake, Run], Figure]


def power_figure(lake: Lake, run: Run) -> Figure:
    """Simulated and measured power [kW] with the prediction band, above the signed error [%]."""
    found = data.power(lake, run)
    figure, (top, strip) = _axes(2, height_in=4.6, ratios=(3, 1))
    at = _times(found["time_ms"])
    if np.isfinite(found["band_low_w"]).any():
        top.fill_between(
            at, found["band_low_w"] / 1e3, found["band_high_w"] / 1e3, color=BAND, alpha=0.35, lw=0, label="90 % band"
        )
    top.plot(at, found["uncalibrated_w"] / 1e3, color=GIVEN, ls="--", lw=1.0, label="simulated as given")
    top.plot(at, found["measured_w"] / 1e3, color=MEASURED, lw=1.2, label="measured")
    top.plot(at, found["simulated_w"] / 1e3, color=SIMULATED, label="simulated")
    top.set(title="Power", ylabel="power [kW]")
    _legend(top)
    strip.axhspan(-5, 5, color=GOOD, alpha=0.12, lw=0, label="within 5 %")
    strip.axhline(0, color="#8a919a", lw=0.8)
    strip.plot(at, found["error_pct"], color=SIMULATED, lw=1.0)
    strip.set(ylabel="error [%]")
    _symmetric(strip, found["error_pct"], least=8.0)
    _dates(strip, at)
    return figure


def carbon_figure(lake: Lake, run: Run) -> Figure:
    """Emission per hour [kg] with the total so far [kg], above the carbon intensity of the grid [g/kWh]."""
    found = data.carbon(lake, run)
    figure, (top, bottom) = _axes(2, height_in=4.2, ratios=(2, 1))
    at = _times(found["time_ms"])
    top.bar(at, found["carbon_kg"], width=_step(at), align="edge", color=GOOD, alpha=0.75, label="per hour")
    top.set(title="Carbon emission", ylabel="emission [kg/h]")
    total = top.twinx()
    total.plot(at, found["so_far_kg"], color=MEASURED, label="so far (right)")
    total.set(ylabel="so far [kg]", ylim=(0, None))
    total.grid(visible=False)
    total.spines["right"].set_visible(True)
    _legend(top, total)
    bottom.step(at, found["intensity_g_per_kwh"], where="post", color=PERSISTENCE)
    bottom.set(ylabel="intensity\n[g/kWh]", ylim=(0, None))
    _dates(bottom, at)
    return figure


def accuracy_figure(lake: Lake, run: Run) -> Figure:
    """Error per window [%]: the twin beside persistence and the topology as given."""
    found = data.accuracy(lake, run)
    figure, (axes,) = _axes(1, height_in=3.2)
    at = _times(found["time_ms"])
    for name, label, colour, line in (
        ("uncalibrated_mape_pct", "as given", GIVEN, "--"),
        ("persistence_mape_pct", "persistence", PERSISTENCE, ":"),
        ("mape_pct", "twin", SIMULATED, "-"),
    ):
        mean = _mean_text(found[name])
        axes.step(at, found[name], where="post", color=colour, ls=line, label=f"{label} (mean {mean})")
    axes.set(title="Error per window (MAPE)", ylabel="MAPE [%]", ylim=(0, _upper(found)))
    _legend(axes)
    _dates(axes, at)
    return figure


def calibration_figure(lake: Lake, run: Run) -> Figure:
    """Parameters in force over time, at most six strips, above the error they were chosen with [%]."""
    found = data.calibrations(lake, run)
    paths = sorted({path for row in found for path in row["strips"]}, key=lambda path: (not path.endswith("_w"), path))[
        :6
    ]
    if not paths:
        return _sentence("Calibration", "no calibration parameters")
    figure, axes = _axes(len(paths) + 1, height_in=1.8 + 1.3 * (len(paths) + 1))
    at = _times(np.array([row["time_ms"] for row in found], dtype=np.int64))
    published = np.array([bool(row["published"]) for row in found], dtype=bool)
    for strip, path in zip(axes, paths, strict=False):
        for name in sorted({name for row in found for name in row["strips"].get(path, {})}):
            values = np.array([row["strips"].get(path, {}).get(name, np.nan) for row in found])
            strip.step(at, np.where(published, values, np.nan), where="post", color=SIMULATED, lw=1.0)
            strip.plot(at[~published], values[~published], "x", color=BAD, ms=4)
        strip.set_title(_short(path), fontsize=9, fontweight="normal", pad=3)
    if not published.all():
        axes[0].plot([], [], "x", color=BAD, ms=4, label="not put in force")
        _legend(axes[0])
    figure.suptitle("Calibration", x=0.01, ha="left", fontsize=11, fontweight="bold")
    _scores(axes[-1], at, found)
    _mark_drifts(axes, found)
    _dates(axes[-1], at)
    return figure


def hosts_figure(lake: Lake, run: Run) -> Figure:
    """Heat map of utilisation [%]: a row per host, a column per hour (or longer in long runs)."""
    found = data.hosts(lake, run)
    figure, (axes,) = _axes(1, height_in=3.8)
    names, firsts, rows = np.unique(found["host"].astype(str), return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(firsts))  # hosts in the order of the query, which knows that H2 comes before H10
    columns, column = np.unique(found["time_ms"], return_inverse=True)
    grid = np.full((max(1, len(names)), max(1, len(columns))), np.nan)
    if len(names):
        grid[rank[rows], column] = found["utilization_ratio"] * 100
    at = matplotlib.dates.date2num(_times(columns)) if len(columns) else np.array([0.0])
    step = float(np.diff(at).min()) if len(at) > 1 else 1 / 24
    image = axes.imshow(
        grid, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0, vmax=100, origin="upper",
        extent=(at[0], at[-1] + step, max(1, len(names)), 0),
    )  # fmt: skip
    axes.set(title="Utilisation of hosts", ylabel=f"host (of {len(names):,})")
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, format=PercentFormatter(), pad=0.015, label="utilisation")
    _dates(axes, _times(columns))
    return figure


def proposals_figure(lake: Lake, run: Run) -> Figure:
    """Energy of each proposal as saving against the baseline on the same windows [%], with its band."""
    title = "Proposals: energy saved against the present topology"
    every = data.proposals(lake, run)
    found = [row for row in every if row["saving_pct"] is not None][:12]
    if not found:
        return _sentence(title, f"none of {len(every)} proposals was simulated" if every else "no proposals")
    if all(abs(row["saving_pct"]) < LEAST_SAVING_PCT for row in found):
        return _sentence(title, _no_effect(len(found)))
    figure, (axes,) = _axes(1, height_in=1.6 + 0.4 * max(1, len(found)))
    places = np.arange(len(found))
    savings = np.array([row["saving_pct"] for row in found], dtype=float)
    bars = axes.barh(places, savings, color=[GOOD if s >= 0 else BAD for s in savings], height=0.6)
    for place, row in zip(places, found, strict=True):
        if row["energy_low_kwh"] is not None and row["energy_high_kwh"] is not None:
            ends = [100 * (1 - row[n] / row["baseline_energy_kwh"]) for n in ("energy_high_kwh", "energy_low_kwh")]
            axes.plot(ends, [place, place], color=MEASURED, lw=1.2, marker="|", ms=8)
    axes.bar_label(bars, [f"{saving:+.1f} %" for saving in savings], padding=4, fontsize=9)
    axes.margins(x=0.15)
    axes.set_yticks(places, [f"{row['strategy']}  {row['proposal_id'][:10]}" for row in found])
    axes.invert_yaxis()
    axes.axvline(0, color="#8a919a", lw=0.8)
    axes.set(title=title, xlabel="energy saved [%]")
    return figure


FIGURES: dict[str, FigureMaker] = {
    "power": power_figure,
    "accuracy": accuracy_figure,
    "carbon": carbon_figure,
    "hosts": hosts_figure,
    "calibration": calibration_figure,
    "proposals": proposals_figure,
}


def render(make: FigureMaker, lake: Lake, run: Run, *formats: str) -> dict[str, bytes]:
    """A figure in each format ("png", "pdf", "svg"); the same data give the same bytes."""
    with _STYLE_LOCK, matplotlib.rc_context(_STYLE):  # the style is global to matplotlib, and flows draw in threads
        figure = make(lake, run)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once; each format would do it again
        return {format: _encoded(figure, format) for format in formats}


def _png(name: str, lake: Lake, run_id: str, datacenter: str | None) -> bytes:
    return render(FIGURES[name], lake, data.find_run(lake, run_id, datacenter), "png")["png"]


def power_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``power_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("power", lake, run_id, datacenter)


def carbon_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``carbon_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("carbon", lake, run_id, datacenter)


def accuracy_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``accuracy_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("accuracy", lake, run_id, datacenter)


def calibration_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``calibration_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("calibration", lake, run_id, datacenter)


def hosts_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``hosts_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("hosts", lake, run_id, datacenter)


def proposals_png(lake: Lake, run_id: str, datacenter: str | None = None) -> bytes:
    """``proposals_figure`` as PNG; ``InputError`` for an unknown run."""
    return _png("proposals", lake, run_id, datacenter)


def _encoded(figure: Figure, format: str) -> bytes:
    out = io.BytesIO()
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(format, {})
    figure.savefig(out, format=format, dpi=DPI, metadata=metadata)
    return out.getvalue()


def _axes(count: int, *, height_in: float, ratios: tuple[int, ...] | None = None) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(count, 1, sharex=True, squeeze=False, height_ratios=ratios)
    return figure, list(grid[:, 0])


def _sentence(title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, (axes,) = _axes(1, height_in=1.4)
    axes.set_title(title)
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#3d444d")
    return figure


def _no_effect(count: int) -> str:
    which = "the only proposal does not change" if count == 1 else f"none of {count} proposals changes"
    return f"{which} the energy by {LEAST_SAVING_PCT:g} % or more"


def _mark_drifts(axes: list[Axes], calibrations: list[dict[str, Any]]) -> None:
    """A line through every strip where the cluster began to change, with the size of the change [%]."""
    for since_ms, size_pct in data.drifts(calibrations):
        since = _times(np.array([since_ms]))[0]
        for strip in axes:
            strip.axvline(since, color=BAD, lw=1.0, ls="--")
        early = since_ms < (calibrations[0]["time_ms"] + calibrations[-1]["time_ms"]) / 2
        axes[0].text(
            since, 0.97, f" drift {size_pct:+.1f} % ", transform=axes[0].get_xaxis_transform(), fontsize=8, color=BAD,
            ha="left" if early else "right", va="top", clip_on=True,
        )  # fmt: skip


def _times(epoch_ms: NDArray[Any]) -> NDArray[Any]:
    return epoch_ms.astype("datetime64[ms]")


def _step(at: NDArray[Any]) -> Any:
    return np.diff(at).min() if len(at) > 1 else np.timedelta64(3_600_000, "ms")


def _dates(axes: Axes, at: NDArray[Any]) -> None:
    if not len(at):
        axes.set_xticks([])
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", va="center", color="#3d444d")
        return
    locator = AutoDateLocator(minticks=4, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlabel("trace time (UTC)")


def _legend(*axes: Axes) -> None:
    entries = [entry for one in axes for entry in zip(*one.get_legend_handles_labels(), strict=True)]
    if entries:
        handles, labels = zip(*entries, strict=True)
        axes[0].legend(handles, labels, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, borderaxespad=0.2)


def _symmetric(axes: Axes, values: NDArray[Any], *, least: float) -> None:
    """Limits around zero that show all but the most extreme percent of the values."""
    finite = np.abs(values[np.isfinite(values)])
    reach = max(least, 1.15 * float(np.quantile(finite, 0.99))) if len(finite) else least
    axes.set_ylim(-reach, reach)


def _upper(found: data.Columns) -> float | None:
    values = np.concatenate([found[n] for n in ("mape_pct", "uncalibrated_mape_pct", "persistence_mape_pct")])
    finite = values[np.isfinite(values)]
    return max(2.0, 1.1 * float(finite.max())) if len(finite) else None


def _scores(axes: Axes, at: NDArray[Any], found: list[dict[str, Any]]) -> None:
    for name, label, colour, line in (
        ("score_mape_pct", "on the data used", SIMULATED, "-"),
        ("heldout_mape_pct", "held out", GOOD, "--"),
        ("active_heldout_mape_pct", "held out, parameters in force before", PERSISTENCE, ":"),
    ):
        values = np.array([np.nan if row[name] is None else row[name] for row in found], dtype=float)
        if np.isfinite(values).any():
            axes.step(at, values, where="post", color=colour, ls=line, lw=1.1, label=label)
    axes.set(ylabel="MAPE [%]", ylim=(0, None))
    _legend(axes)


def _mean_text(values: NDArray[Any]) -> str:
    finite = values[np.isfinite(values)]
    return f"{finite.mean():.2f} %" if len(finite) else "unknown"


def _short(path: str) -> str:
    """A parameter's name with its unit, and the host type it belongs to."""
    *of, name = path.split(".")
    unit = name.replace("_w", " [W]") if name.endswith("_w") else name.replace("_", " ")
    return f"{unit} of {of[-1]}" if len(of) > 1 else unit

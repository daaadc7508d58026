"""``opendt calibrate``: fit power-model parameters to a recorded trace and say whether they are better."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, console, errors, print_json
from opendt.cli.wide import show_rows
from opendt.errors import ConfigError

if TYPE_CHECKING:
    from opendt.calibration.offline import CalibrationReport
    from opendt.calibration.space import Space
    from opendt.settings import Settings


@command
def calibrate(
    trace: Annotated[Path, typer.Option("--trace", help="Folder of the trace to calibrate on.", metavar="DIR")],
    method: Annotated[str, typer.Option(help="online, bayesian, random or grid.")] = "online",
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", help="Property and bounds, PATH=LOW:HIGH; may be repeated.", metavar="RANGE"),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Trials of a search; the setting's by default.", min=1)] = None,
    days: Annotated[float | None, typer.Option(help="Only the last so many days.", min=0.2)] = None,
    holdout: Annotated[float, typer.Option(help="Hours at the end kept to decide on.", min=0.0)] = 24.0,
    engine: Annotated[str | None, typer.Option("--engine", help="native or opendc.", metavar="ENGINE")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the calibrated topology.", metavar="FILE")] = None,
    opendc_out: Annotated[
        Path | None, typer.Option("--opendc-out", help="Write it with the closest curves OpenDC has.", metavar="FILE")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit power-model parameters to measured power; compare with the active model on held-out hours.

    Example: opendt calibrate --trace data/traces/surf --method bayesian
    --parameter cpuPowerModel.calibrationFactor=1:10 --parameter cpuPowerModel.idlePower=20:40
    """
    from opendt.settings import load_settings

    settings = load_settings(config, {"engine.name": engine, "calibration.trials": trials})
    with errors.status(f"calibrating ({method}) ..."):
        report = run(trace, settings, method, _space(parameter, settings), days, holdout)
    if out is not None:
        out.write_bytes(report.topology.to_json() + b"\n")
    if opendc_out is not None:
        opendc_out.write_bytes(report.opendc_topology.to_json() + b"\n")
    if as_json:
        print_json(report.summary())
    else:
        _print(report)


def run(
    trace: Path, settings: Settings, method: str, space: Space | None, days: float | None, holdout_h: float
) -> CalibrationReport:
    """Simulate a trace once and calibrate on it; other trials are simulated where their properties ask for it."""
    from opendt.calibration.offline import calibrate as fit
    from opendt.calibration.recorded import engine_options, simulated_trace
    from opendt.calibration.simulating import simulator
    from opendt.calibration.space import is_power_path
    from opendt.engine import get_engine

    chosen = settings.calibration
    read, occupancy = simulated_trace(trace, settings, days=days)
    assert read.topology is not None
    assert read.power is not None
    simulate = None
    needs_simulation = space is not None and not all(is_power_path(d.path) for d in space.dimensions)
    if method != "online" and (settings.engine.name == "opendc" or needs_simulation):
        simulate = simulator(get_engine(settings.engine.name, settings), read.workload, engine_options(settings))
    return fit(
        read.topology, occupancy, read.power, method=method, space=space, trials=chosen.trials, batch=chosen.batch,
        points=chosen.grid_points, seed=chosen.seed, holdout_h=holdout_h, simulate=simulate,
        engine=settings.engine.name,
    )  # fmt: skip


def _space(ranges: list[str] | None, settings: Settings) -> Space | None:
    from opendt.calibration.space import parse_space

    if not ranges:
        return parse_space(settings.calibration.space) if settings.calibration.space else None
    return parse_space(dict(_range(text) for text in ranges))


def _range(text: str) -> tuple[str, Any]:
    path, _, bounds = text.rpartition("=")
    low, _, high = bounds.partition(":")
    try:
        return path, [float(low), float(high)]
    except ValueError:
        raise ConfigError(
            f"--parameter {text}: write PATH=LOW:HIGH, as in cpuPowerModel.calibrationFactor=1:10.", parameter=text
        ) from None


def _print(report: CalibrationReport) -> None:
    found = report.summary()
    complete = sorted((t for t in report.trials if t.score_mape_pct is not None), key=lambda t: t.score_mape_pct or 0.0)
    if report.method != "online":
        names = list(found["parameters"])
        rows = [[*(_text(t.parameters[n]) for n in names), f"{t.score_mape_pct:.3f}"] for t in complete[:10]]
        show_rows([*names, "MAPE %"], rows)
    else:
        _print_curves(found["parameters"]["groups"])
    console.print(f"{found['trials']} trials, {found['failed_trials']} failed")
    for name, curve in found["opendc_curves"].items():
        model = curve["model"]
        console.print(f"{name}: OpenDC's closest curve is {model['modelType']}, {curve['loss_pct']:.2f} % off")
    word = "better, worth publishing" if found["publish"] else "not published"
    console.print(f"{word}: {found['reason']}")


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _print_curves(groups: dict[str, Any]) -> None:
    columns = ["host type", *(f"{load} %" for load in ("0", "12.5", "25", "37.5", "50", "62.5", "75", "87.5", "100"))]
    rows = [[name, *(f"{w:.1f}" for w in curve["levels_w"])] for name, curve in groups.items()]
    show_rows([*columns, "step"], [[*row, f"{groups[row[0]]['step_w']:.1f}"] for row in rows])


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(calibrate)

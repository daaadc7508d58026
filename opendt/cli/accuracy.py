"""``opendt accuracy``: how well the twin predicts power, beside persistence and the published figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, errors, print_json
from opendt.cli.wide import show_rows
from opendt.errors import ConfigError

LABELS = {"persistence_last": "hold last", "persistence_mean": "hold mean", "persistence_day": "yesterday"}
METHODS = ("online", "bayesian", "grid", "off")


@command
def accuracy(
    trace: Annotated[Path | None, typer.Option("--trace", help="Folder of a trace to evaluate.", metavar="DIR")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Run in the lake to evaluate instead.", metavar="ID")] = None,
    lead: Annotated[str, typer.Option(help="How long a prediction must hold: 1h, 24h.", metavar="HOURS")] = "1h",
    cadence: Annotated[
        int | None, typer.Option(help="Spacing of samples [s]; the setting's by default.", min=1, metavar="S")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="online, grid, off or bayesian (slow); may be repeated.")
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Walk forward over a recorded trace, or look at a run: error, bias, band, drift, beside persistence.

    Parameters used in an hour come only from measurements before it. Example:
    opendt accuracy --trace data/traces/surf --lead 24h
    """
    from opendt.reports.accuracy import run_accuracy, trace_accuracy
    from opendt.settings import load_settings

    if (trace is None) == (run is None):
        raise ConfigError("give either --trace DIR or --run ID.")
    lead_h = _hours(lead)
    settings = load_settings(config, {"lake.path": lake, "engine.sample_interval_s": cadence})
    if run is not None:
        from opendt.lake import Lake

        with Lake.open(settings.lake, read_only=True) as opened:
            found = run_accuracy(opened, run, lead_h=lead_h)
    else:
        assert trace is not None
        chosen = _methods(method)
        with errors.status("reading the trace") as status:
            found = trace_accuracy(
                trace, settings, lead_h=lead_h, methods=chosen, progress=lambda stage: status.update(f"{stage} ...")
            )
    if as_json:
        print_json(found)
    else:
        _print(found)


def _hours(lead: str) -> int:
    text = lead.strip().lower().removesuffix("h")
    if not text.isdigit() or not 1 <= int(text) <= 24 * 31:
        raise ConfigError(f"--lead {lead}: give whole hours from 1h to 744h.", lead=lead)
    return int(text)


def _methods(given: list[str] | None) -> list[str]:
    chosen = given or ["online", "grid", "off"]
    unknown = [m for m in chosen if m not in METHODS]
    if unknown:
        raise ConfigError(f"--method {unknown[0]}: choose from {', '.join(METHODS)}.", method=unknown[0])
    return list(dict.fromkeys(chosen))


def _print(found: dict[str, Any]) -> None:
    what = f"trace {found['trace']}" if "trace" in found else f"run {found['run_id']}"
    columns = ("method", "MAPE %", "5 min %", "hour %", "<5 %", "<10 %", "bias %", "in band %", "band %")
    keys = (
        "mape_pct", "mape_5min_pct", "mape_hourly_pct", "under_5_pct", "under_10_pct", "bias_pct",
        "band_coverage_pct", "band_width_pct",
    )  # fmt: skip
    rows = [
        (LABELS.get(name, name), *(_percent(score[key]) for key in keys)) for name, score in found["methods"].items()
    ]
    console.print(f"{what}, {found['lead_h']} h ahead, {found['samples']:,} samples from {found['from']}")
    show_rows(columns, rows)
    if found.get("noise_floor_pct") is not None:
        console.print(f"noise floor of the meter: {found['noise_floor_pct']:.2f} %")
    for event in found["drift"]:
        console.print(_sentence(event))
    for name, total in (found.get("totals") or {}).items():
        console.print(f"{name}: predicted {total['predicted']:,.1f}, measured {total['measured']:,.1f}")
    console.print("published: " + "; ".join(f"{p['system']} {p['mape_pct']} %" for p in found["published"]))
    console.print(f"{found['wall_s']:.1f} s")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _sentence(event: dict[str, Any]) -> str:
    from opendt.units import iso

    hosts = "".join(f", {name} {change:+.1f} %" for name, change in event["groups"].items())
    return f"drift of {event['size_pct']:+.1f} % since {iso(event['since_ms'])} (found {iso(event['found_ms'])}){hosts}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(accuracy)

"""``opendt report paper``: the published experiments, on any trace."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opendt.cli.common import ConfigOption, JsonOption, command, console, errors, print_json
from opendt.cli.report import report_app


@report_app.command("paper")
@command
def paper_report(
    trace: Annotated[Path, typer.Option("--trace", help="Folder of the trace.", metavar="DIR")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.", metavar="DIR")] = Path("artifacts/paper"),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repeat the two experiments of the OpenDT paper: figures as PNG and PDF, numbers as CSV.

    Power with and without calibration, error by hour, CPU utilisation, sustainability, jobs per kWh. Example:
    opendt report paper --trace data/traces/surf --out artifacts/paper
    """
    from opendt.reports.paper import write_paper_report
    from opendt.settings import load_settings

    with errors.status("simulating and calibrating ..."):
        found = write_paper_report(trace, out, load_settings(config))
    if as_json:
        print_json(found)
        return
    for name in ("uncalibrated", "grid", "online", "persistence_last"):
        console.print(f"{name}: {found['methods'][name]['mape_pct']:.2f} % MAPE an hour ahead")
    console.print("published: " + "; ".join(f"{p['system']} {p['mape_pct']} %" for p in found["published"]))
    console.print(f"{len(found['files'])} files in {out}")


def register(app: typer.Typer) -> None:
    """The command is already part of ``report``."""

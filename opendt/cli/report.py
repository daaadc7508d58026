"""``opendt report``: results as documents.

Other modules add commands by importing ``report_app`` and decorating a function with ``@report_app.command(...)``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from opendt.cli.common import ConfigOption, JsonOption, LakeOption, command, console, print_json

report_app = typer.Typer(no_args_is_help=True, help="Write results as documents.")


@report_app.command("run")
@command
def run_report(
    run_id: Annotated[str, typer.Argument(metavar="ID", help="Run to report on; `latest` for the newest.")],
    lake: LakeOption = None,
    config: ConfigOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write into; artifacts/reports/ID by default.", metavar="DIR")
    ] = None,
    datacenter: Annotated[str | None, typer.Option(help="Which datacenter, where a run has several.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run as one self-contained HTML page, with its figures as PNG and PDF beside it.

    Example: opendt report run latest --out /tmp/report
    """
    from opendt.lake import Lake
    from opendt.reports import data
    from opendt.reports.run import write_run_report
    from opendt.settings import load_settings

    with Lake.open(load_settings(config, {"lake.path": lake}).lake, read_only=True) as opened:
        found = data.latest_run_id(opened) if run_id == "latest" else run_id
        known = data.find_run(opened, found, datacenter)  # an unknown id must not become part of a path
        written = write_run_report(opened, found, out or _folder(known["run_id"]), datacenter=known["datacenter"])
    if as_json:
        print_json({"run_id": written.run_id, "html": written.html, "figures": list(written.figures)})
    else:
        console.print(f"{written.html}\n{len(written.figures)} figures beside it", soft_wrap=True)


def _folder(run_id: str) -> Path:
    """A folder named after the run, whatever characters its id holds."""
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in run_id).lstrip(".") or "run"
    return Path("artifacts/reports") / safe


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(report_app, name="report")

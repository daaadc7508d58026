"""A run's report: one HTML file that needs nothing beside it, and the same figures as PNG and PDF."""

from __future__ import annotations

import base64
import json
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from opendt.code_version import code_version
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.lake.plain import plain
from opendt.reports import data
from opendt.reports.figures import FIGURES, render

_LIBRARIES = ("duckdb", "pyarrow", "numpy", "numba", "scipy", "matplotlib")
MAX_CALIBRATIONS = 12  # the table shows the latest; the figure shows all


@dataclass(frozen=True, slots=True)
class RunReport:
    """Files of a report: the HTML page and, per figure, its PNG and PDF."""

    run_id: str
    html: Path
    figures: tuple[Path, ...]


def write_run_report(
    lake: Lake,
    run_id: str,
    folder: Path,
    *,
    datacenter: str | None = None,
    now: datetime | None = None,
) -> RunReport:
    """Write ``report.html`` and the figures of a run into a folder, which is made if it does not exist.

    Args:
        run_id: run to report on.
        datacenter: needed only when the run covers several.
        now: moment printed as the time of writing; the clock's by default.

    Raises:
        InputError: unknown run, or a folder that cannot be written.
    """
    run = data.find_run(lake, run_id, datacenter)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        images = {name: render(make, lake, run, "png", "pdf") for name, make in FIGURES.items()}
        page = _page(lake, run, {name: files["png"] for name, files in images.items()}, now or datetime.now(UTC))
        figures = tuple(
            _write(folder / f"{name}.{kind}", content)
            for name, files in images.items()
            for kind, content in files.items()
        )
        html = _write(folder / "report.html", page.encode())
    except OSError as error:
        raise InputError(
            f"{folder}: the report cannot be written ({error}). Choose another folder with --out."
        ) from None
    return RunReport(run["run_id"], html, figures)


def _page(lake: Lake, run: dict[str, Any], images: dict[str, bytes], now: datetime) -> str:
    calibrations = data.calibrations(lake, run)
    stream = data.stream(lake, run)
    return _environment().get_template("run.html.j2").render(
        run=run,
        stream=stream,
        first=_moment(stream["first_ms"]),
        last=_moment(stream["last_ms"]),
        accuracy=data.accuracy_totals(lake, run),
        slos=data.slos(lake, run),
        calibrations=calibrations[-MAX_CALIBRATIONS:],
        calibration_count=len(calibrations),
        proposals=data.proposals(lake, run),
        provenance=data.provenance(lake, run),
        libraries={name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        opendt=code_version(),
        images={name: base64.b64encode(png).decode() for name, png in images.items()},
        now=now,
    )  # fmt: skip


def _environment() -> Environment:
    """Everything is escaped: names of traces, hosts and people are data."""
    environment = Environment(
        loader=PackageLoader("opendt.reports", "templates"),
        autoescape=select_autoescape(default_for_string=True, default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "moment": _moment, "pretty": _pretty}
    return environment


def _number(value: Any, digits: int = 2, unit: str = "") -> str:
    """A number for people with its unit, a dash for none."""
    if value is None or value != value:
        return "–"
    return f"{value:,.{digits}f}" + (f" {unit}" if unit else "")


def _moment(value: Any) -> str:
    if value is None:
        return "–"
    moment = value if isinstance(value, datetime) else datetime.fromtimestamp(value / 1000, UTC)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _pretty(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path

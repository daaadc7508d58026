"""What a run shows in the Prefect UI: a summary, tables, links. Nothing is shown outside a flow run."""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from prefect.context import FlowRunContext

from flows.showing import show
from opendt.reports.drawing import Drawing
from opendt.settings import Settings
from opendt.traces import Trace
from opendt.twin.totals import RunSummary, WindowSummary
from tasks.report import draw_figures

FIGURES = ("power",)  # of a run that has just ended


def window_count(trace: Trace, length_s: int) -> int:
    """Windows that a replay of the trace fills: from the first record's to the last one's."""
    from opendt.stream.schedule import begin_times, grouped

    tasks = trace.workload.tasks
    fragments, rows = grouped(tasks, trace.workload.fragments)
    begins = begin_times(tasks, fragments, rows)
    power = [] if trace.power is None else [trace.power.timestamp_ms]
    times = [values for values in (tasks.submission_ms, begins, *power) if len(values)]
    length_ms = length_s * 1000
    if not times:
        return 0
    return int(max(v.max() for v in times) // length_ms - min(v.min() for v in times) // length_ms) + 1


@contextmanager
def drawing() -> Iterator[Drawing]:
    """Where a run's figures are drawn: beside it in a flow run, nowhere outside one."""
    with Drawing() as found:
        if FlowRunContext.get() is not None:
            found.start()
        yield found


def publish_run(
    summary: RunSummary, windows: Sequence[WindowSummary], settings: Settings, drawing: Drawing | None = None
) -> None:
    """The summary, the table of windows and the power figure of a run."""
    page = run_markdown(summary, f"http://{settings.api.host}:{settings.api.port}/")
    publish_markdown("summary", summary.run_id, page)
    publish_table(
        "windows",
        summary.run_id,
        "What each window brought: tasks, energy, error of the calibrated model and of persistence.",
        [window_row(w) for w in windows],
    )
    publish_figures(settings, summary.run_id, drawing=drawing)


def publish_figures(
    settings: Settings, run_id: str, names: Sequence[str] = FIGURES, *, drawing: Drawing | None = None
) -> None:
    """Figures of a run; drawing one takes a second, so only where somebody can look at it."""
    if FlowRunContext.get() is not None:
        found = draw_figures(drawing or Drawing(), settings.lake, run_id, settings.datacenter, names)
        for name, png in found.items():
            publish_image(name, run_id, png)


def run_markdown(summary: RunSummary, dashboard: str) -> str:
    """A run's totals as a table for people, and where to look further."""
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in summary.dropped.items()) or "none"
    rows = [
        ("Windows", f"{summary.windows:,} ({summary.windows_recomputed:,} in this process)"),
        ("Tasks", f"{summary.tasks_seen:,} seen, {summary.tasks_run:,} run, {summary.tasks_dropped:,} dropped"),
        ("Dropped", dropped),
        ("Fragments", f"{summary.fragments:,}"),
        ("Energy", f"{summary.energy_kwh:,.2f} kWh simulated, {_number(summary.energy_measured_kwh, 'kWh')} measured"),
        ("Carbon", f"{summary.carbon_kg:,.2f} kg CO2"),
        ("Peak power", f"{summary.peak_power_kw:,.2f} kW"),
        ("Error (MAPE)", f"{_number(summary.mape_pct, '%')} calibrated, "
                         f"{_number(summary.uncalibrated_mape_pct, '%')} with the topology as given"),
        ("Persistence", f"{_number(summary.persistence_mape_pct, '%')} for holding the last value"),
        ("Rejected", f"{summary.late_records:,} late, {summary.duplicate_records:,} duplicate, "
                     f"{summary.dead_letters:,} not understood"),
        ("Proposals", f"{summary.proposals:,}"),
        ("Wall time", f"{summary.wall_s:.1f} s"),
    ]  # fmt: skip
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    lake = f" --lake {shlex.quote(summary.lake)}"
    query = f"select * from energy_by_hour where run_id = '{summary.run_id}' order by hour"
    return (
        f"## Run {summary.run_id} of {summary.datacenter}: {summary.state}\n\n| what | result |\n|---|---|\n{table}\n\n"
        f'- Results with SQL: `opendt sql "{query}"{lake}`\n'
        f"- Report: `opendt report run {summary.run_id}{lake}`, or the deployment report\n"
        f"- [Dashboard]({dashboard}), while `opendt api{lake}` or the deployment serve-api runs\n"
    )


def window_row(window: WindowSummary) -> dict[str, Any]:
    """A window as a row of the table, narrow enough for the UI to show it whole."""
    start = datetime.fromtimestamp(window.start_ms / 1000, UTC)
    return {
        "window": window.index,
        "start": f"{start:%m-%d %H:%M}",
        "new": window.tasks_arrived,
        "running": window.tasks_running,
        "waiting": window.tasks_waiting,
        "kWh": round(window.energy_kwh, 2),
        "MAPE %": _rounded(window.mape_pct),
        "persistence %": _rounded(window.persistence_mape_pct),
        "late": window.late_records,
    }


def publish_markdown(kind: str, run_id: str, text: str, description: str = "") -> None:
    """A markdown artifact of the current flow run, with a key that collects this kind of page over runs."""
    from prefect.artifacts import create_markdown_artifact

    show(
        lambda: create_markdown_artifact(
            text, key=key(kind), description=description or f"{kind.capitalize()} of {run_id}"
        )
    )


def publish_table(kind: str, run_id: str, description: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table artifact of the current flow run; nothing for an empty table."""
    from prefect.artifacts import create_table_artifact

    table = [dict(row) for row in rows]
    if table:
        show(lambda: create_table_artifact(table, key=key(kind), description=f"{description} Run {run_id}."))


def publish_link(kind: str, url: str, text: str) -> None:
    """A link artifact of the current flow run."""
    from prefect.artifacts import create_link_artifact

    show(lambda: create_link_artifact(url, link_text=text, key=key(kind), description=text))


def publish_image(kind: str, run_id: str, png: bytes) -> None:
    """A figure in the current flow run, carried in the page itself, so that it needs no file server.

    As markdown: the UI prints the address of an image artifact beside it, here a hundred thousand letters.
    """
    picture = f"![{kind} of {run_id}](data:image/png;base64,{base64.b64encode(png).decode()})"
    publish_markdown(kind, run_id, picture)


def key(kind: str) -> str:
    """An artifact key: lower case letters, digits and dashes are all Prefect allows."""
    return "opendt-" + re.sub(r"[^a-z0-9-]+", "-", kind.lower()).strip("-")


def _number(value: float | None, unit: str) -> str:
    return "not" if value is None else f"{value:,.2f} {unit}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

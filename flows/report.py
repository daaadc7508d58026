"""A run as one HTML page, its figures in the Prefect UI."""

from __future__ import annotations

from prefect import flow

from flows import artifacts
from flows.parameters import ReportParameters
from flows.runtime import run_name, say
from tasks.report import write_report


@flow(name="report", flow_run_name=run_name("report", "run_id"), persist_result=False)
def report(params: ReportParameters) -> str:
    """Write the report of a run; returns the path of its HTML page."""
    settings = params.settings()
    found = write_report(settings.lake, params.run_id, params.datacenter or None, params.out)
    artifacts.publish_figures(settings, found.run_id, ("power", "accuracy", "carbon", "calibration"))
    text = f"## Report of {found.run_id}\n\n`{found.html}`, {len(found.figures)} figures beside it.\n"
    artifacts.publish_markdown("report", found.run_id, text)
    say("Report of %s: %s", found.run_id, found.html)
    return str(found.html)

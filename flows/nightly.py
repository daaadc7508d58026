"""Every night: calibrate on the last days, compare, publish or keep, report, tidy the lake."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import artifacts
from flows.calibrate import recalibrate, result
from flows.parameters import NightlyParameters
from flows.runs import lake_run, last_completed
from flows.runtime import default_run_id, run_name, say
from tasks.calibrate import daily_accuracy
from tasks.lake import maintain_lake
from tasks.report import write_report


@flow(name="nightly", flow_run_name=run_name("nightly", "datacenter"), persist_result=False)
def nightly(params: NightlyParameters) -> dict[str, Any]:
    """Calibrate on the last days, publish what is better, write the accuracy report, compact the lake."""
    settings = params.settings()
    done_by = last_completed(settings, "nightly", params.once_per_h) if params.once_per_h else None
    if done_by:
        say(
            "Nothing to do: %s did it within the last %g h. Missed nights are caught up once.",
            done_by,
            params.once_per_h,
        )
        return {"run_id": done_by, "skipped": True}
    run_id = default_run_id("nightly")
    with lake_run(settings, run_id, "nightly"):
        found, done = recalibrate(params, settings, run_id)
        days = daily_accuracy(settings.lake, found.history.run_id, settings.datacenter)
        report = write_report(settings.lake, found.history.run_id, settings.datacenter, params.out)
        tidied = maintain_lake(settings.lake)
    artifacts.publish_table("accuracy-by-day", run_id, "Error per day of trace time.", day_rows(days))
    artifacts.publish_figures(settings, found.history.run_id, ("power", "accuracy"))
    summary = result(found, done, run_id) | {"skipped": False, "report": str(report.html), "maintenance": tidied}
    artifacts.publish_markdown("nightly", run_id, nightly_markdown(summary, days))
    say("Night of %s: %s; report %s.", settings.datacenter, found.reason, report.html)
    return summary


def nightly_markdown(summary: dict[str, Any], days: list[dict[str, Any]]) -> str:
    """The night in a few lines."""
    last = days[-1] if days else {}
    error = f"{last['mape_pct']:.2f} % on {last['day']}" if last else "not measured"
    files = summary["maintenance"]
    return (
        f"## Night {summary['run_id']}\n\n"
        f"- Calibration: {summary['reason']}; {summary['done']}\n"
        f"- Error of the twin: {error}, persistence {_pct(last.get('persistence_mape_pct'))}\n"
        f"- Report: `{summary['report']}`\n"
        f"- Lake: {files['files_before']} files became {files['files_after']}, "
        f"{files['snapshots_expired']} snapshots expired\n"
    )


def day_rows(days: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy per day as a table for people."""
    return [
        {
            "day": day["day"],
            "samples": day["samples"],
            "MAPE %": _rounded(day["mape_pct"]),
            "uncalibrated %": _rounded(day["uncalibrated_mape_pct"]),
            "persistence %": _rounded(day["persistence_mape_pct"]),
            "energy bias %": _rounded(day["energy_bias_pct"]),
        }
        for day in days
    ]


def _pct(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f} %"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)

"""Keep the lake small and quick."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import artifacts
from flows.parameters import MaintainParameters
from flows.runtime import run_name, say
from tasks.lake import maintain_lake as maintain_step


@flow(name="maintain-lake", flow_run_name=run_name("maintain", "lake"), persist_result=False)
def maintain_lake(params: MaintainParameters) -> dict[str, Any]:
    """Merge small files, forget snapshots older than the lake keeps, delete what nothing refers to."""
    settings = params.settings()
    report = maintain_step(settings.lake, params.keep_days)
    artifacts.publish_table("maintenance", settings.lake.path.name, "What was merged and deleted.", as_rows(report))
    say(
        "Lake %s: %d files became %d, %d snapshots expired.",
        settings.lake.path, report["files_before"], report["files_after"], report["snapshots_expired"],
    )  # fmt: skip
    return report


def as_rows(values: dict[str, Any]) -> list[dict[str, str]]:
    """Names and values, one row each."""
    return [{"what": name.replace("_", " "), "value": f"{value}"} for name, value in values.items()]

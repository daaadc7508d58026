"""Reports and figures of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opendt.lake import Lake
from opendt.reports.drawing import Drawing
from opendt.settings import LakeSettings
from tasks.policy import step

if TYPE_CHECKING:  # draws with matplotlib, which takes a second to import
    from opendt.reports.run import RunReport


@step(run_name="{run_id} report")
def write_report(settings: LakeSettings, run_id: str, datacenter: str | None, out: str = "") -> RunReport:
    """Write a run's report; ``latest`` is the newest run.

    Beside the lake's data unless a folder is given: the one in which a worker runs flows is gone afterwards.
    """
    from opendt.reports import data
    from opendt.reports.run import write_run_report

    with Lake.open(settings, read_only=True) as lake:
        known = data.find_run(lake, data.latest_run_id(lake) if run_id == "latest" else run_id, datacenter)
        folder = Path(out) if out else settings.path / "reports" / known["run_id"]
        return write_run_report(lake, known["run_id"], folder, datacenter=known["datacenter"])


@step(run_name="{run_id} figures")
def draw_figures(
    drawing: Drawing, settings: LakeSettings, run_id: str, datacenter: str | None, names: Sequence[str]
) -> dict[str, bytes]:
    """Figures of a run as PNG by name, e.g. ``power``, ``accuracy``, ``carbon``, ``calibration``."""
    return drawing.take(settings, run_id, datacenter, names)

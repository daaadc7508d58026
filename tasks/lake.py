"""What is written to the lake beside windows."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from opendt.lake import Lake
from opendt.lake.maintain import maintain
from opendt.settings import LakeSettings
from opendt.twin.session import TwinSession
from opendt.twin.totals import RunSummary
from tasks.policy import LONG_TIMEOUT_S, step


@step(run_name="{run_id} totals")
def finish_run(session: TwinSession, proposals: list[dict[str, Any]], run_id: str) -> RunSummary:
    """Mark the run completed, with its totals and proposals."""
    return session.finish(proposals)


@step(run_name="{trace} replayed")
def record_replay(lake: Lake | LakeSettings, report: dict[str, Any], trace: str, run_id: str | None) -> None:
    """Enter a replay in the lake, given open or by its settings."""
    columns = (
        "replay_id", "datacenter", "layout", "speed", "messages", "payload_bytes", "max_lag_s", "state", "started_ms",
        "ended_ms",
    )  # fmt: skip
    row = {name: report[name] for name in columns} | {"trace": trace, "run_id": run_id}
    with nullcontext(lake) if isinstance(lake, Lake) else Lake.open(lake) as opened:
        opened.upsert("replays", [row])


@step(name="maintain lake", timeout_s=LONG_TIMEOUT_S)
def maintain_lake(settings: LakeSettings, keep_days: float | None = None) -> dict[str, Any]:
    """Compact the lake and expire old snapshots; safe while others write."""
    with Lake.open(settings) as lake:
        return maintain(lake, keep_days=keep_days).as_dict()

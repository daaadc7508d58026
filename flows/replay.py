"""Send a recorded trace into Kafka at a chosen speed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows import artifacts
from flows.parameters import ReplayParameters
from flows.runtime import run_name, say
from opendt.stream.replay import new_replay_id
from tasks.lake import record_replay
from tasks.stream import replay_trace


@flow(name="replay", flow_run_name=run_name("replay", "trace"), persist_result=False)
def replay(params: ReplayParameters) -> dict[str, Any]:
    """Send a recorded trace into Kafka at a chosen speed. Returns what was sent."""
    settings = params.settings()
    replay_id = params.replay_id or new_replay_id()
    report = replay_trace(params.trace, settings.stream, settings.datacenter, replay_id)
    record_replay(settings.lake, report, params.trace, None)
    rows = [{"what": name.replace("_", " "), "value": str(value)} for name, value in report.items()]
    artifacts.publish_table("replay", replay_id, "What was sent.", rows)
    say("Replay %s: %s records in %.1f s.", replay_id, report["messages"], report["wall_s"])
    return report

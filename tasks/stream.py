"""Reading traces and sending them into Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opendt.settings import StreamSettings
from opendt.stream.replay_process import ReplayProcess
from opendt.traces import Trace
from opendt.traces import read_trace as _read_trace
from tasks.policy import LONG_TIMEOUT_S, step


@step(run_name="read {folder}")
def read_trace(folder: str, topology: str = "") -> Trace:
    """A checked trace; ``topology`` is a file to use instead of the folder's."""
    return _read_trace(Path(folder), topology=Path(topology) if topology else None)


@step(name="replay trace", run_name="replay {folder} as {replay_id}", timeout_s=30 * LONG_TIMEOUT_S)
def replay_trace(folder: str, settings: StreamSettings, datacenter: str, replay_id: str) -> dict[str, Any]:
    """Send a trace into Kafka. A second attempt goes on after the records that are there already."""
    with ReplayProcess(Path(folder), settings, datacenter, replay_id) as process:
        return process.wait().as_dict()

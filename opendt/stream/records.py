"""What a producer sends, in the lake's table ``replays``: entered when it starts, completed when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from opendt.lake import Lake
from opendt.settings import LakeSettings, StreamSettings
from opendt.stream.replay import ReplayReport


class ReplayRecords:
    """Rows of replays under way; a context manager. A replay that has not ended when it is left has failed.

    The row of a producer that was killed stays ``running`` until the replay is started again.

    Args:
        lake: where to enter them; None enters nothing.
        settings: layout and speed.
        replays: name of the trace, by (replay id, datacenter).
    """

    def __init__(
        self, lake: LakeSettings | None, settings: StreamSettings, replays: Mapping[tuple[str, str], str]
    ) -> None:
        self._lake = lake
        began = {"layout": settings.layout, "speed": settings.speed, "started_ms": time.time_ns() // 1_000_000}
        self._running: dict[tuple[str, str], dict[str, Any]] = {
            key: began | {"replay_id": key[0], "datacenter": key[1], "trace": trace} for key, trace in replays.items()
        }

    def __enter__(self) -> ReplayRecords:
        self._write([row | {"state": "running"} for row in self._running.values()])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended_ms = time.time_ns() // 1_000_000
        self._write([row | {"state": "failed", "ended_ms": ended_ms} for row in self._running.values()])

    def ended(self, report: ReplayReport) -> None:
        """Enter what a replay sent."""
        row = self._running.pop((report.replay_id, report.datacenter))
        names = ("messages", "payload_bytes", "max_lag_s", "state", "started_ms", "ended_ms")
        self._write([row | {name: getattr(report, name) for name in names}])

    def _write(self, rows: list[dict[str, Any]]) -> None:
        if self._lake is not None and rows:
            with Lake.open(self._lake) as lake:
                lake.upsert("replays", rows)

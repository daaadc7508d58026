"""The task stopper of the timeshift policy (SEMANTICS 10.4), as OpenDC's own runs show it."""

from __future__ import annotations

import numpy as np
from engine_worlds import EPOCH, host, topology, workload

from opendt.engine.base import EngineOptions, simulate
from opendt.engine.native.engine import NativeEngine
from opendt.models.telemetry import CarbonTrace

STOPPER = {"type": "timeshift", "memorize": False, "filters": [{"type": "Compute"}], "taskStopper": {"forecast": True}}


def pauses(intensities: list[float]) -> list[int]:
    """When a task of 20 s is paused [ms], under an intensity that changes every 5 s."""
    carbon = CarbonTrace(EPOCH + np.arange(len(intensities)) * 5000, np.array(intensities))
    site = topology(host(), powerSource={"carbonTracePath": "carbon.parquet"})
    options = EngineOptions(sample_interval_ms=1000, allocation=STOPPER)
    result = simulate(NativeEngine(), site, workload({"fragments": [(20_000, 500.0)]}), options, carbon)
    return [row["time_ms"] - EPOCH for row in result.task_events.to_pylist() if row["event"] == "paused"]


def test_the_first_intensity_pauses_nothing_since_nothing_runs_when_it_is_told():
    assert pauses([900.0, 100.0, 100.0, 100.0, 100.0, 100.0]) == []


def test_a_high_intensity_pauses_what_runs():
    assert pauses([100.0, 900.0, 100.0, 100.0, 100.0, 100.0]) == [5000]

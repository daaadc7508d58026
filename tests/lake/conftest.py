"""A lake per test and windows small enough to check by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from opendt.lake import Checkpoint, Lake, WindowCommit
from opendt.settings import LakeSettings

HOUR_MS = 3_600_000


@pytest.fixture
def settings(tmp_path: Path) -> LakeSettings:
    return LakeSettings(path=tmp_path / "lake")


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake without rows, made once and copied per test."""
    folder = tmp_path_factory.mktemp("template") / "lake"
    Lake.open(LakeSettings(path=folder)).close()
    return folder


@pytest.fixture
def lake(settings: LakeSettings, empty_lake: Path) -> Iterator[Lake]:
    shutil.copytree(empty_lake, settings.path)
    with Lake.open(settings) as opened:
        yield opened


@pytest.fixture
def window() -> Callable[..., WindowCommit]:
    return make_window


def make_window(
    index: int,
    *,
    run_id: str = "run-a",
    datacenter: str = "dc",
    samples: int = 4,
    watts: float = 1_000.0,
    **window: Any,
) -> WindowCommit:
    """An hour at constant power, measured 10 % higher, with one task that waited 2 s and ran for 60 s."""
    start = index * HOUR_MS
    step = HOUR_MS // samples
    times = [start + step * n for n in range(samples)]
    power = {
        "timestamp_ms": times,
        "simulated_w": watts,
        "uncalibrated_w": watts * 0.9,
        "measured_w": watts * 1.1,
        "persistence_w": watts,
        "band_low_w": watts * 0.8,
        "band_high_w": watts * 1.2,
        "energy_j": watts * step / 1_000,
        "carbon_g": 10.0,
    }
    task = {"task_id": index, "task_name": f"task-{index}"}
    events = [
        {**task, "event": "submitted", "time_ms": start},
        {**task, "event": "scheduled", "time_ms": start + 2_000, "cluster_name": "C", "host_name": "H-0"},
        {**task, "event": "completed", "time_ms": start + 62_000, "cluster_name": "C", "host_name": "H-0"},
    ]
    row = {
        "start_ms": start,
        "end_ms": start + HOUR_MS,
        "tasks_arrived": 1,
        "tasks_started": 1,
        "tasks_dropped": 0,
        "energy_j": watts * 3_600,
        "carbon_g": 10.0 * samples,
        **window,
    }
    state = Checkpoint("native", f"engine-{index}".encode(), lambda: f"twin-{index}".encode(), f'{{"p0": {index}}}')
    return WindowCommit(run_id, datacenter, index, {"power_samples": power, "task_events": events}, row, state)

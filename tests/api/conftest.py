"""An app over a lake with one finished run of six hours, and one that has just started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from opendt.api.app import create_app
from opendt.lake import Checkpoint, Lake, WindowCommit
from opendt.lake.connection import connect
from opendt.models.topology import Topology, parse_topology
from opendt.settings import ApiSettings, LakeSettings, Settings

TOKEN = "test-token-1234"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
HOUR_MS = 3_600_000
T0 = 1_665_100_800_000  # 2022-10-07T00:00:00Z
WINDOWS = 6


def topology(hosts: int) -> Topology:
    host = {"name": "H", "count": hosts, "cpu": {"coreCount": 4, "coreSpeed": 2_000}, "memory": {"memorySize": 4_096}}
    return parse_topology({"clusters": [{"name": "C", "hosts": [host]}]})


def window(index: int, run_id: str = "run-1", datacenter: str = "dc") -> WindowCommit:
    """An hour with a sample per minute: 1000 W + 100 W per window, measured 10 % more, 300 g/kWh, two hosts."""
    start, watts = T0 + index * HOUR_MS, 1_000.0 + 100 * index
    times = [start + 60_000 * n for n in range(60)]
    power = {
        "timestamp_ms": times, "simulated_w": watts, "uncalibrated_w": watts, "measured_w": watts * 1.1,
        "persistence_w": watts, "band_low_w": watts - 200, "band_high_w": watts + 200, "utilization_ratio": 0.5,
        "active_hosts": 2, "tasks_running": 1, "tasks_waiting": 0, "carbon_intensity_g_per_kwh": 300.0,
        "energy_j": watts * 60, "carbon_g": watts * 60 / 3.6e6 * 300,
    }  # fmt: skip
    hosts = [
        {"timestamp_ms": times[n], "cluster_name": "C", "host_name": name, "tasks_running": 1,
         "cpu_utilization_ratio": 0.25 * (1 + k), "power_w": 100.0 * (1 + k)}
        for n in (0, 30) for k, name in enumerate(("H-2", "H-10"))
    ]  # fmt: skip
    task = {"task_id": index, "task_name": f"t{index}"}
    events = [
        {**task, "event": "submitted", "time_ms": start},
        {**task, "event": "scheduled", "time_ms": start + 5_000, "host_name": "H-2", "cluster_name": "C"},
        {**task, "event": "completed", "time_ms": start + 65_000, "host_name": "H-2", "cluster_name": "C"},
    ]
    rows: dict[str, Any] = {
        "power_samples": power,
        "host_samples": hosts,
        "task_events": events,
        "calibrations": [
            {"calibration_id": f"c-{index}", "method": "grid", "curve": "mse", "parameters_json": '{"r": 3}',
             "score_mape_pct": 2.5, "published": True, "created_ms": 1_000 + index}
        ],
        "calibration_trials": {"calibration_id": f"c-{index}", "trial": [0, 1], "state": "complete",
                               "score_mape_pct": [2.5, 3.5]},
        "dead_letters": [{"topic": "dc.workload", "partition": 0, "offset_": index, "reason": "not JSON",
                          "payload": b"\x00{", "payload_bytes": 2}],
    }  # fmt: skip
    values = {
        "start_ms": start, "end_ms": start + HOUR_MS, "tasks_arrived": 1, "tasks_started": 1, "fragments_arrived": 3,
        "tasks_dropped": 0, "dead_letters": 1, "late_records": 0, "duplicate_records": 0, "energy_j": watts * 3_600,
        "carbon_g": watts * 3.6 / 3.6e3 * 300, "topology_version": topology(2).version, "wall_ms": 12.5,
        "offsets_json": '{"dc.workload/0": 7}',
    }  # fmt: skip
    return WindowCommit(run_id, datacenter, index, rows, values, Checkpoint("native", b"e", b"t", "{}"))


def proposal(name: str, hosts: int, score: float, **more: Any) -> dict[str, Any]:
    return {
        "run_id": "run-1", "datacenter": "dc", "proposal_id": name, "window_index": WINDOWS - 1, "strategy": "rules",
        "state": "pending", "changes_json": json.dumps({"clusters[0].hosts[0].count": hosts}),
        "topology_json": topology(hosts).to_json().decode(), "reasons_json": '["fewer idle hosts"]', "score": score,
        "baseline_score": 1.0, "energy_kwh": 5.0, "baseline_energy_kwh": 7.5, "runtime_h": 6.0, "peak_power_kw": 1.5,
        "simulations": 3, "duration_s": 0.1, "created_ms": 2_000,
        "details_json": json.dumps({"base_version": topology(2).version}), **more,
    }  # fmt: skip


def fill(lake: Lake) -> None:
    lake.start_run("run-1", "dc", "pipeline", started_ms=1_000, trace="tiny", config_json='{"a": 1}', engine="native")
    lake.commit_windows([window(index) for index in range(WINDOWS)])
    lake.finish_run("run-1", "dc", "completed", wall_s=3.0)
    lake.start_run("run-0", "other", "pipeline", started_ms=500)
    lake.insert(
        "topologies",
        [{"datacenter": "dc", "version": topology(2).version, "topology_json": topology(2).to_json().decode(),
          "source": "trace", "run_id": "run-1", "created_ms": 1_000}],
    )  # fmt: skip
    lake.insert("proposals", [proposal("p-good", 1, 0.5), proposal("p-fair", 3, 0.8)])
    lake.insert("replays", [{"replay_id": "rp", "datacenter": "dc", "messages": 10, "started_ms": 1}])


def make_settings(folder: Path, **api: Any) -> Settings:
    return Settings(
        datacenter="dc", lake=LakeSettings(path=folder), api=ApiSettings(poll_s=0.02, sql_workers=1, **api)
    )  # fmt: skip


@pytest.fixture(scope="session")
def filled_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written once, copied by whoever changes it."""
    folder = tmp_path_factory.mktemp("filled") / "lake"
    with Lake.open(LakeSettings(path=folder)) as lake:
        fill(lake)
    return folder


def client_for(settings: Settings) -> TestClient:
    app = create_app(settings, token=TOKEN)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="session")
def client(filled_lake: Path) -> Iterator[TestClient]:
    """For reading; shared by all tests."""
    with client_for(make_settings(filled_lake, sql_per_minute=100_000, whatif_per_minute=100_000)) as opened:
        yield opened


@pytest.fixture
def own(filled_lake: Path, tmp_path: Path) -> Iterator[TestClient]:
    """For changes; over a copy of the lake."""
    shutil.copytree(filled_lake, tmp_path / "lake")
    with client_for(make_settings(tmp_path / "lake")) as opened:
        yield opened


@pytest.fixture
def half_made(tmp_path: Path) -> Iterator[TestClient]:
    """Where a lake is being created: its catalogue is there, its tables are not."""
    settings = make_settings(tmp_path / "half")
    connect(settings.lake).close()
    with client_for(settings) as opened:
        yield opened


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[TestClient]:
    """Where there is no lake yet."""
    with client_for(make_settings(tmp_path / "none")) as opened:
        yield opened

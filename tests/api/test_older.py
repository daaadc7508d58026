"""The older systems' endpoints: paths, parameters and fields as they were."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from opendt.api.launcher import Launcher
from opendt.errors import TransientError

from .conftest import AUTH, make_settings, topology


def test_power_has_the_older_fields_and_hourly_means(client: TestClient) -> None:
    body = client.get("/api/power", params={"interval_seconds": 3_600}).json()
    assert body["data"][1] == {
        "timestamp": "2022-10-07T01:00:00Z",
        "simulated_power": pytest.approx(1_100.0),
        "actual_power": pytest.approx(1_210.0),
    }
    assert body["metadata"] == {
        "run_id": "run-1",
        "datacenter": "dc",
        "workload": "tiny",
        "interval_seconds": 3_600,
        "count": 6,
        "start_time": "2022-10-07T00:00:00Z",
        "end_time": "2022-10-07T05:00:00Z",
    }


def test_power_starts_where_asked_and_defaults_to_a_minute(client: TestClient) -> None:
    assert client.get("/api/power").json()["metadata"]["count"] == 360
    body = client.get("/api/power", params={"start_time": "2022-10-07T07:30:00+02:00"}).json()
    assert body["metadata"]["start_time"] == "2022-10-07T05:30:00Z"
    assert body["metadata"]["count"] == 30


@pytest.mark.parametrize("interval", ["0", "3601", "abc"])
def test_power_refuses_intervals_as_before(client: TestClient, interval: str) -> None:
    assert client.get("/api/power", params={"interval_seconds": interval}).status_code == 422


def test_co2_emission_is_power_times_intensity(client: TestClient) -> None:
    body = client.get("/api/co2_emission", params={"interval_seconds": 3_600}).json()
    assert body["data"][0] == {
        "timestamp": "2022-10-07T00:00:00Z",
        "carbon_intensity": 300.0,
        "power_draw": pytest.approx(1_000.0),
        "carbon_emission": pytest.approx(300.0),
    }
    assert body["metadata"]["count"] == 6


def test_sim_timeseries_has_three_lists_of_equal_length(client: TestClient) -> None:
    body = client.get("/api/sim/timeseries").json()
    assert set(body) == {"cpu_usages", "power_usages", "timestamps"}
    assert body["cpu_usages"] == pytest.approx([0.5] * 6)
    assert body["power_usages"] == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    assert body["timestamps"][0] == "2022-10-07T01:00:00Z"


def test_status_tells_everything_the_older_one_told(client: TestClient) -> None:
    body = client.get("/api/status").json()
    assert body["status"] == "stopped"
    assert body["cycle_count"] == 6
    assert body["cycle_count_opt"] == 2
    assert body["total_tasks"] == 6
    assert body["total_fragments"] == 18
    assert body["last_simulation"] == {
        "energy_kwh": pytest.approx(1.5),
        "runtime_hours": 1.0,
        "cpu_utilization": pytest.approx(0.5),
        "max_power_draw": pytest.approx(1_500.0),
    }
    assert body["current_window"] == "2022-10-07T05:00:00Z to 2022-10-07T06:00:00Z"
    assert body["best_config"]["score"] == 0.5
    assert body["slo_targets"] == {"energy_target": None, "runtime_target": None}
    older = {
        "status", "cycle_count", "cycle_count_opt", "last_simulation", "last_optimization", "total_tasks",
        "total_fragments", "current_window", "current_topology", "best_config", "topology_updates", "slo_targets",
        "window_baseline_score", "window_best_score", "window_trials", "window_accepted", "window_time_used_sec",
    }  # fmt: skip
    assert older <= set(body)


def test_topology_is_the_runs_own_until_somebody_puts_another(own: TestClient) -> None:
    before = own.get("/api/topology").json()
    assert before["current_topology"]["clusters"][0]["hosts"][0]["count"] == 2
    assert before["best_config"]["config"]["clusters"][0]["hosts"][0].get("count", 1) == 1

    wanted = {"clusters": [{"hosts": [{"count": 5, "cpu": {"coreCount": 8, "coreSpeed": 2_000},
                                       "memory": {"memorySize": "64 GB"}}]}]}  # fmt: skip
    answer = own.put("/api/topology", json=wanted, headers=AUTH).json()
    assert (answer["status"], answer["clusters"], answer["total_hosts"], answer["total_cores"]) == ("updated", 1, 5, 40)
    assert answer["topic"] == "sim.topology"
    assert "no broker" in answer["message"]
    after = own.get("/api/topology").json()
    assert after["current_topology"]["clusters"][0]["hosts"][0]["count"] == 5


def test_impossible_topology_names_the_field(own: TestClient) -> None:
    response = own.put("/api/topology", json={"clusters": [{"hosts": [{"count": 0}]}]}, headers=AUTH)
    assert response.status_code == 400
    assert "clusters.0.hosts.0" in response.json()["error"]


def test_accept_recommendation_applies_the_best_proposal(own: TestClient) -> None:
    answer = own.post("/api/accept_recommendation", headers=AUTH).json()
    assert answer["message"] == "Topology updated successfully with LLM recommendation"
    assert answer["topology_updates"] == 1
    assert answer["version"] == topology(1).version
    states = {p["proposal_id"]: p["state"] for p in own.get("/api/proposals").json()["items"]}
    assert states == {"p-good": "approved", "p-fair": "pending"}


def test_accept_recommendation_takes_a_topology_of_ones_own_and_reset_goes_back(own: TestClient) -> None:
    own.put("/api/topology", json=_json(2), headers=AUTH)
    answer = own.post("/api/accept_recommendation", json={"topology": _json(7)}, headers=AUTH).json()
    assert answer["applied_config"]["clusters"][0]["hosts"][0]["count"] == 7

    reset = own.post("/api/reset_topology", headers=AUTH)
    assert reset.json() == {"message": "Topology reset to initial configuration"}
    assert own.get("/api/topology").json()["current_topology"]["clusters"][0]["hosts"][0]["count"] == 2


def test_accept_recommendation_without_any_is_the_older_error(bare: TestClient) -> None:
    response = bare.post("/api/accept_recommendation", headers=AUTH)
    assert response.status_code == 400
    assert response.json()["error"] == "No recommendation available"


@pytest.mark.parametrize("path", ["/api/set_slo", "/api/submit_slo"])
def test_set_slo_changes_two_targets_once(own: TestClient, path: str) -> None:
    own.put("/api/slo", json={"carbon_kg": 9}, headers=AUTH)
    targets = {"energy_target": 5, "runtime_target": 1}
    assert own.post(path, json=targets, headers=AUTH).json() == {"status": "success", **targets}
    assert own.post(path, json=targets, headers=AUTH).json() == {"status": "unchanged", **targets}
    assert own.get("/api/slo").json()["slo"]["carbon_kg"] == 9
    assert own.get("/api/status").json()["slo_targets"] == targets
    rows = own.get("/api/runs/run-1/slo").json()["items"]
    assert {row["objective"]: row["met"] for row in rows} == {
        "carbon_kg": True,
        "energy_kwh": False,
        "runtime_h": False,
    }


@pytest.mark.parametrize("body", [{"energy_target": 0, "runtime_target": 1}, {"energy_target": 1}, {}])
def test_set_slo_refuses_what_is_not_positive(own: TestClient, body: dict[str, float]) -> None:
    assert own.post("/api/set_slo", json=body, headers=AUTH).status_code == 422


def test_everything_answers_before_the_first_run(bare: TestClient) -> None:
    assert bare.get("/api/status").json()["status"] == "stopped"
    assert bare.get("/api/topology").json() == {"current_topology": None, "best_config": None, "topology_updates": 0}
    assert bare.get("/api/sim/timeseries").json() == {"cpu_usages": [], "power_usages": [], "timestamps": []}
    missing = bare.get("/api/power")
    assert missing.status_code == 404
    assert missing.json()["type"] == "no-lake"
    assert "opendt run" in missing.json()["error"]


def test_start_without_a_trace_says_what_to_do(own: TestClient) -> None:
    response = own.post("/api/start", json={"trace": "no/such/trace"}, headers=AUTH)
    assert response.status_code == 400
    assert "opendt trace make" in response.json()["error"]
    assert own.post("/api/stop", headers=AUTH).json() == {"message": "System already stopped"}


@pytest.mark.parametrize(("field", "value"), [("speed", 0), ("speed", -5), ("run_id", "latest"), ("run_id", "../up")])
def test_start_refuses_at_the_door_what_no_run_may_have(
    own: TestClient, tmp_path: Path, field: str, value: Any
) -> None:
    response = own.post("/api/start", json={"trace": str(tmp_path), field: value}, headers=AUTH)
    assert response.status_code == 422
    assert field in response.text


def test_start_and_stop_follow_a_process(own: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.parquet").touch()
    program = "import signal, time; print('up', flush=True); time.sleep(60)"
    monkeypatch.setattr(Launcher, "_command", lambda self, trace, speed: [sys.executable, "-c", program])

    first = own.post("/api/start", json={"trace": str(tmp_path), "run_id": "mine"}, headers=AUTH).json()
    assert first == {"message": "System is starting...", "run_id": "mine"}
    assert own.get("/api/status").json()["status"] == "running"
    assert own.post("/api/start", json={"trace": str(tmp_path)}, headers=AUTH).json()["message"] == "System is running"
    assert own.post("/api/stop", headers=AUTH).json() == {"message": "System stopped"}
    deadline = time.monotonic() + 10
    while own.get("/api/status").json()["status"] != "stopped":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_run_that_fails_shows_as_error_and_leaves_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.parquet").touch()
    launcher = Launcher(make_settings(tmp_path / "lake"))
    monkeypatch.setattr(
        launcher, "_command", lambda trace, speed: [sys.executable, "-c", "import sys; sys.exit('why')"]
    )
    launcher.start(tmp_path)
    assert launcher._process is not None
    launcher._process.wait()
    assert launcher.state == "error"
    assert launcher.log_file is not None
    assert launcher.log_file.read_text() == "why\n"


def test_a_second_run_has_to_wait_and_close_ends_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.parquet").touch()
    launcher = Launcher(make_settings(tmp_path / "lake"))
    monkeypatch.setattr(
        launcher, "_command", lambda trace, speed: [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    launcher.start(tmp_path)
    with pytest.raises(TransientError, match="is running"):
        launcher.start(tmp_path)
    launcher.close()
    assert launcher.state == "stopped"
    assert launcher._process is not None
    assert launcher._process.returncode == -signal.SIGTERM


def test_a_run_can_be_stopped_whose_api_was_started_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell has its background jobs, and all that they start, ignore interrupts."""
    (tmp_path / "tasks.parquet").touch()
    launcher = Launcher(make_settings(tmp_path / "lake"))
    program = "import opendt.cli as c, time; c.app = lambda: (print('up', flush=True), time.sleep(60)); c.main()"
    monkeypatch.setattr(launcher, "_command", lambda trace, speed: [sys.executable, "-c", program])
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        launcher.start(tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert launcher.log_file is not None
    deadline = time.monotonic() + 20
    while "up" not in launcher.log_file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    launcher.close()
    assert "KeyboardInterrupt" in launcher.log_file.read_text()  # which is how commands learn of it


def test_command_passes_lake_trace_and_speed(tmp_path: Path) -> None:
    launcher = Launcher(make_settings(tmp_path / "lake"), tmp_path / "c.yaml")
    launcher.run_id = "x"
    command = launcher._command(Path("t"), 300.0)
    assert command[3:] == [
        "run", "--trace", "t", "--run-id", "x", "--lake", str(tmp_path / "lake"),
        "--config", str(tmp_path / "c.yaml"), "--speed", "300.0",
    ]  # fmt: skip


def _json(hosts: int) -> dict:
    import json

    return json.loads(topology(hosts).to_json())

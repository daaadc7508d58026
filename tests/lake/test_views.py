"""Views for people, against numbers worked by hand: 1 kW simulated, 1.1 kW measured, 10 g per sample."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opendt.lake import Lake
from opendt.lake.migrate import view_statements
from opendt.lake.queries import LATEST_FIRST
from opendt.reports.data import latest_run_id
from opendt.settings import LakeSettings

from .conftest import make_window


@pytest.fixture(scope="module")
def lake(empty_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    path = tmp_path_factory.mktemp("views") / "lake"
    shutil.copytree(empty_lake, path)
    with Lake.open(LakeSettings(path=path)) as opened:
        opened.start_run("run-a", "dc", "twin", started_ms=1)
        opened.start_run("run-z", "dc", "twin", started_ms=2)
        opened.start_run("run-o", "other", "twin", started_ms=1)
        opened.commit_windows([make_window(0, calibration_id="c-0"), make_window(1, watts=3_000.0)])
        slo = {"energy_kwh": 3.0, "runtime_h": 2.0, "peak_power_kw": 3.0, "carbon_kg": None, "queue_delay_s": 2.0}
        for version, targets in ((1, {"energy_kwh": 99}), (2, slo)):
            row = {"datacenter": "dc", "version": version, "slo_json": json.dumps(targets), "created_ms": version}
            opened.insert("slo_events", [row])
        yield opened


def test_power_has_time_and_errors(lake: Lake) -> None:
    row = lake.rows("SELECT time, error_w, error_pct FROM power WHERE timestamp_ms = 900000")[0]
    assert row["time"] == datetime(1970, 1, 1, 0, 15, tzinfo=UTC)
    assert row["error_w"] == pytest.approx(-100)
    assert row["error_pct"] == pytest.approx(100 / 11)


def test_energy_by_hour_adds_up_samples(lake: Lake) -> None:
    rows = lake.rows("SELECT * FROM energy_by_hour ORDER BY hour")
    assert [row["hour"].hour for row in rows] == [0, 1]
    assert [row["energy_kwh"] for row in rows] == pytest.approx([1.0, 3.0])
    assert [row["carbon_kg"] for row in rows] == pytest.approx([0.04, 0.04])
    assert [row["energy_measured_kwh"] for row in rows] == pytest.approx([1.1, 3.3])
    assert [row["energy_uncalibrated_kwh"] for row in rows] == pytest.approx([0.9, 2.7])
    assert [row["peak_power_kw"] for row in rows] == pytest.approx([1.0, 3.0])


def test_carbon_adds_up_over_time(lake: Lake) -> None:
    rows = lake.rows("SELECT carbon_so_far_kg AS kg FROM carbon ORDER BY time")
    assert [row["kg"] for row in rows] == pytest.approx([0.01 * n for n in range(1, 9)])


def test_accuracy_per_window(lake: Lake) -> None:
    first, second = lake.rows("SELECT * FROM accuracy ORDER BY window_index")
    assert first["samples"] == 4
    assert first["mape_pct"] == pytest.approx(100 / 11)
    assert first["uncalibrated_mape_pct"] == pytest.approx(200 / 11)
    assert first["under_5_pct"] == 0
    assert first["under_10_pct"] == 100
    assert first["bias_pct"] == pytest.approx(-100 / 11)
    assert first["band_coverage_pct"] == 100
    assert first["calibration_id"] == "c-0"
    assert second["start"] == datetime(1970, 1, 1, 1, tzinfo=UTC)


def test_tasks_have_one_row_each(lake: Lake) -> None:
    rows = lake.rows("SELECT task_name, state, wait_s, runtime_s, host_name FROM tasks ORDER BY task_id")
    done = {"state": "completed", "wait_s": 2.0, "runtime_s": 60.0, "host_name": "H-0"}
    assert rows == [{"task_name": "task-0"} | done, {"task_name": "task-1"} | done]


def test_run_totals_and_latest_run(lake: Lake) -> None:
    (totals,) = lake.rows("SELECT * FROM run_totals")
    assert totals["windows"] == 2
    assert totals["energy_kwh"] == pytest.approx(4.0)
    assert totals["peak_power_kw"] == pytest.approx(3.0)
    assert totals["runtime_h"] == pytest.approx(3_662 / 3_600)
    assert totals["mean_wait_s"] == pytest.approx(2.0)
    latest = lake.rows("SELECT run_id, datacenter, windows FROM latest_run ORDER BY datacenter")
    assert latest == [
        {"run_id": "run-a", "datacenter": "dc", "windows": 2},  # run-z started later and has no window
        {"run_id": "run-o", "datacenter": "other", "windows": 0},
    ]


def test_every_way_to_ask_names_the_same_latest_run(lake: Lake) -> None:
    for datacenter in ("dc", "other"):
        asked = f"SELECT run_id FROM runs WHERE datacenter = ? ORDER BY {LATEST_FIRST} LIMIT 1"
        (row,) = lake.rows(asked, [datacenter])
        assert lake.rows("SELECT run_id FROM latest_run WHERE datacenter = ?", [datacenter]) == [row]
    assert latest_run_id(lake) == "run-a"


def test_slo_compliance_compares_with_the_targets_in_force(lake: Lake) -> None:
    rows = {row["objective"]: row for row in lake.rows("SELECT * FROM slo_compliance")}
    assert {name: row["met"] for name, row in rows.items()} == {
        "energy_kwh": False,
        "runtime_h": True,
        "peak_power_kw": True,
        "queue_delay_s": True,
    }
    assert rows["energy_kwh"]["over_pct"] == pytest.approx(100 / 3)
    assert rows["energy_kwh"]["slo_version"] == 2


def test_without_set_targets_those_of_the_runs_settings_hold(tmp_path: Path, empty_lake: Path) -> None:
    shutil.copytree(empty_lake, tmp_path / "lake")
    with Lake.open(LakeSettings(path=tmp_path / "lake")) as lake:
        lake.start_run("run-a", "dc", "twin", config_json=json.dumps({"slo": {"energy_kwh": 0.5, "runtime_h": None}}))
        lake.commit_window(make_window(0))
        rows = lake.rows("SELECT objective, target, met, slo_version FROM slo_compliance")
    assert rows == [{"objective": "energy_kwh", "target": 0.5, "met": False, "slo_version": 0}]


def test_every_view_can_be_read(lake: Lake) -> None:
    views = [row["view_name"] for row in lake.rows("SELECT view_name FROM duckdb_views() WHERE database_name = 'lake'")]
    assert len(views) == len(view_statements()) + 2  # and dictionary, schema_version
    for view in views:
        lake.query(f"FROM {view}")

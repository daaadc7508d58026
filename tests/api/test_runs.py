"""Runs and what belongs to them: pages, series, formats, tags."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from opendt.lake import Lake

from .conftest import AUTH, window


def test_runs_are_listed_newest_first_with_totals(client: TestClient) -> None:
    body = client.get("/api/runs").json()
    assert [run["run_id"] for run in body["items"]] == ["run-1", "run-0"]
    assert body["total"] == 2
    assert body["items"][0]["windows"] == 6
    assert body["items"][0]["energy_kwh"] == pytest.approx(7.5)
    assert body["items"][0]["started"] == "1970-01-01T00:00:01Z"


def test_pages_cut_and_filters_choose(client: TestClient) -> None:
    assert [r["run_id"] for r in client.get("/api/runs?limit=1&offset=1").json()["items"]] == ["run-0"]
    assert [r["run_id"] for r in client.get("/api/runs?state=completed").json()["items"]] == ["run-1"]
    assert client.get("/api/runs?datacenter=nowhere").json()["total"] == 0
    page = client.get("/api/runs/run-1/windows?limit=2&offset=3").json()
    assert [row["window_index"] for row in page["items"]] == [3, 4]
    assert (page["total"], page["limit"], page["offset"]) == (6, 2, 3)


def test_one_run_tells_where_its_numbers_come_from(client: TestClient) -> None:
    run = client.get("/api/runs/run-1").json()
    assert run["config"] == {"a": 1}
    assert run["engine"] == "native"
    assert client.get("/api/runs/latest").json() == run


def test_latest_prefers_the_configured_datacenter(client: TestClient) -> None:
    assert client.get("/api/runs/latest?datacenter=other").json()["run_id"] == "run-0"


def test_latest_is_a_run_with_windows_as_soon_as_there_is_one(own: TestClient) -> None:
    """A run that never came to its first window does not hide the one before."""

    def latest() -> list[str]:
        return [own.get(path).json()["run_id"] for path in ("/api/runs/latest", "/api/status")]

    assert latest() == ["run-1", "run-1"]
    with Lake.open(own.app.state.context.settings.lake) as lake:  # type: ignore[attr-defined]
        lake.start_run("run-2", "dc", "pipeline")
        lake.finish_run("run-2", "dc", "failed", "no broker")
        assert latest() == ["run-1", "run-1"]
        lake.start_run("run-3", "dc", "pipeline")
        assert latest() == ["run-1", "run-1"]
        lake.commit_window(window(0, "run-3"))  # a commit that leaves table runs alone
        assert latest() == ["run-3", "run-3"]


def test_latest_falls_back_to_a_run_without_windows(bare: TestClient) -> None:
    with Lake.open(bare.app.state.context.settings.lake) as lake:  # type: ignore[attr-defined]
        for n, run_id in enumerate(("run-a", "run-b")):
            lake.start_run(run_id, "dc", "pipeline", started_ms=n)
    assert bare.get("/api/runs/latest").json()["run_id"] == "run-b"


@pytest.mark.parametrize(
    ("path", "total", "column", "value"),
    [
        ("windows", 6, "start", "2022-10-07T00:00:00Z"),
        ("accuracy", 6, "mape_pct", pytest.approx(100 / 11)),
        ("energy", 6, "energy_kwh", pytest.approx(1.0)),
        ("tasks", 6, "wait_s", 5.0),
        ("calibrations", 6, "calibration_id", "c-0"),
        ("calibrations/c-3/trials", 2, "score_mape_pct", 2.5),
        ("dead-letters", 6, "payload_hex", "007B"),
    ],
)
def test_lists_of_a_run(client: TestClient, path: str, total: int, column: str, value: object) -> None:
    body = client.get(f"/api/runs/run-1/{path}").json()
    assert body["total"] == total
    assert body["items"][0][column] == value


def test_tasks_can_be_searched(client: TestClient) -> None:
    assert client.get("/api/runs/run-1/tasks?task_name=t4").json()["items"][0]["task_id"] == 4
    assert client.get("/api/runs/run-1/tasks?host_name=H-2&state=completed").json()["total"] == 6
    assert client.get("/api/runs/run-1/tasks?state=dropped").json()["total"] == 0


@pytest.mark.parametrize("path", ["", "/windows", "/power", "/heatmap", "/tasks", "/slo"])
def test_unknown_run_is_404(client: TestClient, path: str) -> None:
    response = client.get(f"/api/runs/nope{path}")
    assert response.status_code == 404
    assert response.json()["facts"] == {"run_id": "nope"}


def test_power_series_has_band_error_and_energy(client: TestClient) -> None:
    body = client.get("/api/runs/run-1/power?interval_seconds=7200").json()
    first = body["data"][0]
    assert first["time"] == "2022-10-07T00:00:00Z"
    assert first["simulated_w"] == pytest.approx(1_050.0)
    assert first["band_high_w"] == pytest.approx(1_250.0)
    assert first["error_pct"] == pytest.approx(100 / 11)
    assert sum(row["energy_kwh"] for row in body["data"]) == pytest.approx(7.5)


def test_period_is_half_open(client: TestClient) -> None:
    where = "start_time=2022-10-07T01:00:00Z&end_time=2022-10-07T03:00:00Z&interval_seconds=3600"
    times = [row["time"] for row in client.get(f"/api/runs/run-1/carbon?{where}").json()["data"]]
    assert times == ["2022-10-07T01:00:00Z", "2022-10-07T02:00:00Z"]


def test_series_as_csv_and_arrow(client: TestClient) -> None:
    url = "/api/runs/run-1/power?interval_seconds=3600"
    text = client.get(url, headers={"Accept": "text/csv"})
    assert text.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert float(rows[5]["simulated_w"]) == pytest.approx(1_500.0)
    table = pa.ipc.open_stream(client.get(url + "&format=arrow").content).read_all()
    assert table["simulated_w"].to_pylist()[5] == pytest.approx(1_500.0)
    assert pa.types.is_timestamp(table.schema.field("time").type)
    assert len(list(csv.DictReader(io.StringIO(client.get("/api/runs/run-1/windows?format=csv").text)))) == 6


def test_hosts_and_heat_map(client: TestClient) -> None:
    rows = client.get("/api/runs/run-1/hosts?host_name=H-10&metric=power_w").json()["data"]
    assert [row["power_w"] for row in rows] == [200.0] * 6
    grid = client.get("/api/runs/run-1/heatmap?interval_seconds=1800&end_time=2022-10-07T01:00:00Z").json()
    assert grid["times"] == ["2022-10-07T00:00:00Z", "2022-10-07T00:30:00Z"]
    assert [host["host_name"] for host in grid["hosts"]] == ["H-2", "H-10"]
    assert grid["values"] == [[0.25, 0.25], [0.5, 0.5]]


def test_too_many_points_are_refused_with_a_remedy(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opendt.api.series.MAX_POINTS", 10)
    for path in ("power?interval_seconds=61", "heatmap?interval_seconds=61"):
        response = client.get(f"/api/runs/run-1/{path}")
        assert response.status_code == 400
        assert "larger interval_seconds" in response.json()["error"]


def test_etag_saves_sending_again_and_changes_with_the_run(own: TestClient) -> None:
    from opendt.lake import Lake

    url = "/api/power?interval_seconds=3600"
    first = own.get(url)
    again = own.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    ctx = own.app.state.context  # type: ignore[attr-defined]
    with Lake.open(ctx.settings.lake) as lake:
        lake.commit_window(window(6))
    changed = own.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.json()["metadata"]["count"] == 7


def test_another_runs_commit_leaves_the_tag_alone(own: TestClient) -> None:
    from opendt.lake import Lake

    tag = own.get("/api/power").headers["etag"]
    ctx = own.app.state.context  # type: ignore[attr-defined]
    with Lake.open(ctx.settings.lake) as lake:
        lake.commit_window(window(0, "run-0", "other"))
    assert own.get("/api/power").headers["etag"] == tag


def test_large_answers_are_compressed_for_those_who_can_read_it(client: TestClient) -> None:
    packed = client.get("/api/power", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/api/power", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 3
    assert gzip.compress(b"x")  # the module the answer was made with


def test_system_pages(client: TestClient) -> None:
    info = client.get("/api/info").json()
    assert info["datacenter"] == "dc"
    assert info["settings"]["api"]["token"] in ("", "**********")
    assert client.get("/api/engine").json()["available"]
    stream = client.get("/api/stream").json()
    assert json.loads(stream["runs"][0]["offsets"]) == {"dc.workload/0": 7}
    assert stream["runs"][0]["dead_letters"] == 6
    assert client.get("/api/replays").json()["items"][0]["messages"] == 10
    tables = {t["table"]: t["rows"] for t in client.get("/api/lake").json()["tables"]}
    assert tables["power_samples"] == 360
    assert client.get("/api/decisions", headers=AUTH).json()["total"] == 0

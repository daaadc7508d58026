"""What-if over HTTP on a generated day: answers beside the baseline, limits, errors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from opendt.lake import Lake
from opendt.traces import read_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions

from .conftest import client_for, make_settings, window


@pytest.fixture(scope="module")
def asked(filled_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A run of a generated trace of one day on eight hosts."""
    base = tmp_path_factory.mktemp("whatif")
    make_trace(base / "trace", SyntheticOptions(days=1, hosts=8, seed=3))
    trace = read_trace(base / "trace")
    assert trace.topology is not None
    shutil.copytree(filled_lake, base / "lake")
    settings = make_settings(base / "lake", whatif_per_minute=10_000)
    with Lake.open(settings.lake) as lake:
        lake.start_run("run-w", "dc", "pipeline", trace=str(base / "trace"))
        committed = window(0, "run-w")
        committed.window["topology_version"] = trace.topology.version  # type: ignore[index]
        last_ms = int(trace.workload.tasks.submission_ms.max())
        committed.window["end_ms"] = last_ms  # type: ignore[index]
        lake.commit_window(committed)
        row = {"datacenter": "dc", "version": trace.topology.version, "created_ms": 5,
               "topology_json": trace.topology.to_json().decode()}  # fmt: skip
        lake.insert("topologies", [row])
    with client_for(settings) as client:
        yield client


def question(count: int, **more: object) -> dict:
    return {"run_id": "run-w", "variants": [{"changes": {"clusters[0].hosts[0].count": count}}], **more}


def test_more_hosts_take_more_energy(asked: TestClient) -> None:
    body = asked.post("/api/whatif", json=question(12)).json()
    assert body["run_id"] == "run-w"
    assert body["baseline"]["hosts"] == 8
    (variant,) = body["variants"]
    assert variant["state"] == "complete"
    assert variant["energy_kwh"] > body["baseline"]["energy_kwh"]
    assert variant["delta"]["energy_kwh"] == pytest.approx(variant["energy_kwh"] - body["baseline"]["energy_kwh"])


def test_asking_again_gives_the_same_numbers(asked: TestClient) -> None:
    first = asked.post("/api/whatif", json=question(10)).json()
    again = asked.post("/api/whatif", json=question(10)).json()
    assert first["variants"] == again["variants"]


def test_a_prepared_question_needs_no_further_baseline(asked: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = asked.app.state.whatif  # type: ignore[attr-defined]
    desk.prepare("run-w", last_hours=5)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the trace was read again")

    monkeypatch.setattr("opendt.api.whatif.read_trace", never)
    assert asked.post("/api/whatif", json=question(10, last_hours=5)).status_code == 200


def test_part_of_the_run_is_less_work(asked: TestClient) -> None:
    whole = asked.post("/api/whatif", json=question(10)).json()
    part = asked.post("/api/whatif", json=question(10, last_hours=6)).json()
    assert 0 < part["workload"]["tasks"] < whole["workload"]["tasks"]


def test_variants_beyond_the_time_limit_say_so(asked: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = asked.app.state.whatif  # type: ignore[attr-defined]
    ticks = iter(range(0, 10_000, 15))
    monkeypatch.setattr(desk, "_clock", lambda: float(next(ticks)))
    variants = [{"changes": {"clusters[0].hosts[0].count": n}} for n in (9, 10, 11)]
    body = asked.post("/api/whatif", json={"run_id": "run-w", "variants": variants}).json()
    assert [v["state"] for v in body["variants"]] == ["complete", "complete", "failed"]
    assert "time limit of 20 s" in body["variants"][2]["reason"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"run_id": "nope", "variants": [{"changes": {"a": 1}}]}, 404, "no run nope"),
        (question(0), 400, "count"),
        ({"run_id": "run-w", "variants": [{}]}, 400, "changes nothing"),
        ({"run_id": "run-w", "variants": [{"allocation": "Nonsense"}]}, 400, "not a policy"),
        ({"run_id": "run-w", "variants": [{"changes": {"clusters[9].name": "x"}}]}, 400, "clusters"),
        (question(3, start_time="noon"), 400, "start_time"),
        ({"run_id": "run-1", "variants": [{"changes": {"clusters[0].hosts[0].count": 3}}]}, 400, "api.trace_folders"),
    ],
)
def test_questions_that_make_no_sense(asked: TestClient, body: dict, status: int, message: str) -> None:
    response = asked.post("/api/whatif", json=body)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_trace_is_found_where_the_run_read_it_and_its_place_named_when_it_is_gone(asked: TestClient) -> None:
    settings = asked.app.state.context.settings  # type: ignore[attr-defined]
    (run,) = asked.app.state.context.lake.rows("SELECT * FROM runs WHERE run_id = 'run-w'")  # type: ignore[attr-defined]
    here = run["trace"]
    with Lake.open(settings.lake) as lake:
        lake.update_run("run-w", "dc", trace="week", trace_path=here)
    try:
        assert asked.post("/api/whatif", json=question(11)).status_code == 200
        with Lake.open(settings.lake) as lake:
            lake.update_run("run-w", "dc", trace_path="/elsewhere/week")
        asked.app.state.whatif._problems.clear()  # type: ignore[attr-defined]
        gone = asked.post("/api/whatif", json=question(11))
        assert gone.status_code == 400
        assert "it was in /elsewhere/week" in gone.json()["error"]
        with Lake.open(settings.lake) as lake:
            lake.update_run("run-w", "dc", trace=None, trace_path=None)
        assert "live stream" in asked.post("/api/whatif", json=question(11)).json()["error"]
    finally:
        with Lake.open(settings.lake) as lake:
            lake.update_run("run-w", "dc", trace=here, trace_path=None)

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from flows import artifacts, progress, runtime, showing
from flows.progress import Progress
from opendt.models.telemetry import PowerSeries
from opendt.twin.totals import RunSummary


def run(**changed) -> RunSummary:
    values = {
        "run_id": "run-1", "datacenter": "dc", "state": "completed", "windows": 24, "windows_recomputed": 20,
        "tasks_seen": 1000, "tasks_run": 900, "tasks_dropped": 100, "dropped": {"no fragments": 100},
        "fragments": 5000, "energy_kwh": 12.5, "energy_uncalibrated_kwh": 13.0, "energy_measured_kwh": 12.0,
        "carbon_kg": 2.0, "peak_power_kw": 1.0, "mape_pct": 3.5, "uncalibrated_mape_pct": 6.0,
        "persistence_mape_pct": 2.9, "late_records": 1, "duplicate_records": 2, "dead_letters": 3, "proposals": 2,
        "wall_s": 4.2, "stages_s": {"engine": 1.0}, "lake": "data/lake",
    }  # fmt: skip
    return RunSummary(**(values | changed))


def test_the_summary_page_tells_the_run_in_numbers():
    page = artifacts.run_markdown(run(), "http://127.0.0.1:8080/")
    for text in ("run-1", "24 (20 in this process)", "1,000 seen", "100 no fragments", "12.50 kWh", "3.50 %", "2.90 %"):
        assert text in page


def test_without_measurements_the_page_shows_no_number():
    page = artifacts.run_markdown(run(energy_measured_kwh=None, mape_pct=None), "")
    assert "not measured" in page
    assert "None" not in page


@pytest.mark.parametrize(("kind", "key"), [("Windows", "opendt-windows"), ("a_b c", "opendt-a-b-c")])
def test_artifact_keys_hold_only_what_prefect_allows(kind, key):
    assert artifacts.key(kind) == key


def test_windows_are_counted_from_the_first_record_to_the_last(make_trace):
    hour = 3_600_000
    assert artifacts.window_count(make_trace(submissions=[10 * hour + 5], durations=[[hour, hour, 1]]), 3600) == 3
    late_power = make_trace(submissions=[0], durations=[[1]], power_ms=[5 * hour])
    assert artifacts.window_count(late_power, 3600) == 6


@pytest.fixture
def make_trace():
    from opendt.models.workload import Fragments, Workload, make_tasks

    def make(submissions, durations, power_ms=()):
        ids = np.arange(len(submissions), dtype=np.int64)
        tasks = make_tasks(ids, np.array(submissions, np.int64))
        flat = np.concatenate(durations).astype(np.int64)
        none = np.zeros(len(flat))
        fragments = Fragments(np.repeat(ids, [len(d) for d in durations]), flat, none, none)
        power = PowerSeries(np.array(power_ms, np.int64), np.ones(len(power_ms))) if power_ms else None
        return SimpleNamespace(workload=Workload(tasks, fragments), power=power)

    return make


def test_an_artifact_is_updated_at_most_every_two_seconds(monkeypatch):
    now, shown = [0.0], []
    monkeypatch.setattr(Progress, "_show", lambda self, done: shown.append(done))
    bar = Progress(10, "windows", clock=lambda: now[0])
    for done in range(1, 11):
        now[0] += progress.UPDATE_EVERY_S / 4
        bar.update(done, "")
    assert shown == [4, 8]


def test_work_goes_on_while_the_server_does_not_answer_and_it_hears_the_newest_state(monkeypatch):
    now, sent, answered = [0.0], [], threading.Event()

    def send(self, share_pct):
        answered.wait(30)
        sent.append(share_pct)

    monkeypatch.setattr(Progress, "_send", send)
    monkeypatch.setattr(progress.FlowRunContext, "get", lambda: object())
    bar = Progress(10, "windows", clock=lambda: now[0])
    for done in range(1, 11):  # returns at once each time
        now[0] += progress.UPDATE_EVERY_S
        bar.update(done, "")
    assert sent == []
    answered.set()
    bar.done()
    assert sent[0] == 10.0
    assert sent[-1] == 100.0
    assert len(sent) <= 3, "what lies between is of no use any more"


def test_after_a_lost_server_the_next_artifacts_do_not_wait_for_it_again(monkeypatch):
    calls = []

    def unreachable():
        calls.append(1)
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(showing, "_lost_at", [])
    monkeypatch.setattr(showing.FlowRunContext, "get", lambda: object())
    assert showing.show(unreachable) is None
    assert showing.show(unreachable) is None
    assert len(calls) == 1
    showing._lost_at[:] = [time.monotonic() - showing.PAUSE_S - 1]
    assert showing.show(lambda: "shown") == "shown"


@pytest.mark.parametrize(("kind", "of", "params", "name"), [
    ("pipeline", "trace", {"trace": "/data/week"}, "pipeline week run-0197a2b3-c4d5"),
    ("pipeline", "trace", {"trace": "/data/week", "run_id": "monday"}, "pipeline week monday"),
    ("nightly", "datacenter", {}, "nightly-0197a2b3-c4d5"),
    ("optimize", "trace", {"trace": "week"}, "optimize week"),
    ("report", "run_id", {"run_id": "monday"}, "report monday"),
])  # fmt: skip
def test_a_flow_run_is_named_after_what_it_works_on_and_its_run_in_the_lake(monkeypatch, kind, of, params, name):
    running = SimpleNamespace(parameters={"params": params}, id="0197a2b3-c4d5-7e6f-8a9b-0c1d2e3f4a5b")
    monkeypatch.setattr(runtime, "flow_run", running)
    assert runtime.run_name(kind, of)() == name

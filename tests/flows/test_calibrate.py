"""Calibration and the night, on a run that the pipeline left in the lake."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest
from prefect import flow
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter, FlowRunFilterId

from flows.calibrate import calibrate
from flows.nightly import nightly
from flows.parameters import CalibrateParameters, NightlyParameters, PipelineParameters
from flows.pipeline import pipeline
from flows.runs import last_completed
from opendt.calibration.search import default_space
from opendt.errors import InputError
from opendt.lake import Lake
from opendt.settings import LakeSettings, PrefectSettings
from opendt.store import Store
from opendt.twin.history import read_history
from tasks.fanout import fan_out
from tasks.policy import step

FAST = {"heldout_h": 16, "method": "random", "trials": 60}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A lake with one run of two generated days."""
    from opendt.traces.synthetic.generate import make_trace
    from opendt.traces.synthetic.options import SyntheticOptions

    folder = tmp_path_factory.mktemp("calibrate")
    make_trace(folder / "trace", SyntheticOptions(days=2, hosts=20, seed=3))
    pipeline.fn(
        PipelineParameters(trace=str(folder / "trace"), lake=str(folder / "lake"), run_id="run-1", optimize="off")
    )
    return folder / "lake"


@pytest.fixture
def lake(finished_run, tmp_path):
    """A copy of it, to change."""
    return shutil.copytree(finished_run, tmp_path / "lake")


def rows(lake, sql):
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        return opened.rows(sql)


def test_a_better_model_is_put_in_force_with_its_evidence(lake):
    params = CalibrateParameters(lake=str(lake), **FAST)
    found = calibrate.fn(params)
    assert found["better"], found["reason"]
    assert found["heldout_mape_pct"] < found["active_heldout_mape_pct"]
    (row,) = rows(lake, f"SELECT * FROM calibrations WHERE run_id = '{found['run_id']}'")
    assert (row["published"], row["reason"]) == (True, found["reason"])
    assert rows(lake, f"SELECT count(*) AS n FROM calibration_trials WHERE run_id = '{found['run_id']}'")[0]["n"] == 60
    (run,) = rows(lake, f"SELECT kind, state FROM runs WHERE run_id = '{found['run_id']}'")
    assert run == {"kind": "calibrate", "state": "completed"}
    with Store.open(params.settings(), read_only=True) as store:
        assert store.active_topology("dc").source == "calibration"


def test_curves_fitted_by_least_squares_are_judged_and_stored_the_same_way(lake):
    found = calibrate.fn(CalibrateParameters(lake=str(lake), heldout_h=16, method="online"))
    assert found["better"], found["reason"]
    assert found["heldout_mape_pct"] < found["active_heldout_mape_pct"]
    (row,) = rows(lake, f"SELECT * FROM calibrations WHERE run_id = '{found['run_id']}'")
    assert (row["method"], row["published"]) == ("online", True)
    again = calibrate.fn(CalibrateParameters(lake=str(lake), heldout_h=16, method="online"))
    assert not again["better"], "what is in force is not replaced by its equal"


def test_a_bayesian_search_is_one_step_because_every_trial_teaches_the_next(lake, monkeypatch):
    monkeypatch.setattr("flows.calibrate.fan_out", None)
    found = calibrate.fn(CalibrateParameters(lake=str(lake), heldout_h=16, method="bayesian", trials=12))
    assert found["trials"] == 12
    assert found["heldout_mape_pct"] < found["active_heldout_mape_pct"]


def test_the_same_search_again_changes_nothing_because_its_result_is_in_force(lake):
    found = read(lake)
    space = {d.path: [d.low, d.high] for d in default_space(found.topology).dimensions}
    params = CalibrateParameters(lake=str(lake), overrides={"calibration.space": space}, **FAST)
    assert calibrate.fn(params)["better"]
    again = calibrate.fn(params)
    assert (again["better"], again["gain_points"]) == (False, pytest.approx(0.0, abs=0.05))
    with Store.open(params.settings(), read_only=True) as store:
        assert len(store.topology_history("dc")) == 2  # before the first calibration, and since


def read(lake):
    with Lake.open(LakeSettings(path=lake), read_only=True) as opened:
        return read_history(opened, "dc", days=7)


def test_without_publishing_the_model_in_force_stays(lake):
    params = CalibrateParameters(lake=str(lake), publish=False, **FAST)
    assert "not asked for" in calibrate.fn(params)["done"]
    with Store.open(params.settings(), read_only=True) as store:
        assert store.active_topology("dc") is None


def test_a_calibration_that_fails_is_marked_with_its_reason(lake):
    with pytest.raises(InputError, match="hold out less"):
        calibrate.fn(CalibrateParameters(lake=str(lake), **(FAST | {"heldout_h": 600})))
    (run,) = rows(lake, "SELECT state, reason FROM runs WHERE kind = 'calibrate'")
    assert run["state"] == "failed"
    assert "too little" in run["reason"]


def test_a_night_calibrates_reports_and_tidies_once(lake, tmp_path):
    params = NightlyParameters(lake=str(lake), out=str(tmp_path / "report"), **FAST)
    first = nightly.fn(params)
    assert not first["skipped"]
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert first["maintenance"]["files_after"] <= first["maintenance"]["files_before"]
    second = nightly.fn(params)
    assert second == {"run_id": first["run_id"], "skipped": True}
    assert last_completed(params.settings(), "nightly", within_h=0.0) is None


def test_a_night_shows_its_story_in_the_ui(lake, tmp_path, prefect_api, client):
    state = nightly(NightlyParameters(lake=str(lake), out=str(tmp_path), **FAST), return_state=True)
    assert state.is_completed(), state.message
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    found = {a.key: a for a in client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=wanted)}
    assert {"opendt-nightly", "opendt-calibration", "opendt-accuracy", "opendt-trials", "opendt-power"} <= set(found)
    assert "held-out hours" in found["opendt-nightly"].data


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_batches_are_task_runs_of_the_chosen_task_runner(prefect_api, client, kind):
    if kind == "dask":
        pytest.importorskip("prefect_dask", reason="the extra 'dask' is not installed")
    base = step(os.path.basename)

    @flow(name="fan-out")
    def story():
        return fan_out(base, [(f"a/{n}",) for n in range(3)], PrefectSettings(fan_out=kind, fan_out_workers=2))

    state = story(return_state=True)
    assert state.result() == ["0", "1", "2"]
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    deadline = time.monotonic() + 30
    while len(client.read_task_runs(flow_run_filter=wanted)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


PROCESSES = """
import os
import flows
from prefect import flow
from opendt.settings import PrefectSettings
from tasks.fanout import fan_out
from tasks.policy import step

@flow
def story():
    return fan_out(step(os.getpid), [(), ()], PrefectSettings(fan_out="processes", fan_out_workers=2))

if __name__ == "__main__":
    print(os.getpid() not in story())
"""


@pytest.mark.slow
def test_batches_run_in_other_processes_of_a_run_that_a_worker_started(prefect_server, tmp_path):
    (tmp_path / "story.py").write_text(PROCESSES)
    environment = os.environ | {"PREFECT_API_URL": prefect_server.url}
    done = subprocess.run(
        [sys.executable, "story.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.stdout.strip() == "True", done.stderr
    assert "temporary server" not in done.stderr

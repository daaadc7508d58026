"""The whole loop on a twin at work: propose, approve, the next window uses it, realised effect, roll back."""

from dataclasses import replace

import numpy as np
import pytest
from optimize_builders import topology

from opendt.engine.native.engine import NativeEngine
from opendt.lake import Lake
from opendt.models.messages import StreamPosition
from opendt.models.telemetry import PowerSeries, no_carbon
from opendt.models.workload import Fragments, Workload, make_tasks, with_fragment_facts
from opendt.optimize.closing import proposals_at_end, settle
from opendt.optimize.decisions import Desk, approve, get_proposal, list_proposals, rollback
from opendt.settings import load_settings
from opendt.store import Store
from opendt.twin.session import RunIdentity, TwinSession
from opendt.windows.batch import WindowBatch

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
HOURS = 12


def _workload():
    """Two tasks an hour of 8 cores, 40 minutes each, with demands that vary from hour to hour."""
    ids = np.arange(2 * HOURS)
    submission = START + (ids // 2) * HOUR + (ids % 2) * 300_000
    usage = 4000.0 + 1000.0 * (ids // 2 % 5)
    fragments = Fragments(ids, np.full(len(ids), 2_400_000), usage, np.zeros(len(ids)))
    return Workload(
        with_fragment_facts(make_tasks(ids, submission, cpu_count=np.full(len(ids), 8, np.int32)), fragments), fragments
    )


def _batch(workload, index, announced=None):
    start = START + index * HOUR
    inside = (workload.tasks.submission_ms >= start) & (workload.tasks.submission_ms < start + HOUR)
    tasks = workload.tasks.take(inside)
    part = Workload(tasks, workload.fragments.take(np.isin(workload.fragments.task_id, tasks.task_id)))
    return WindowBatch(index, start, start + HOUR, part, PowerSeries(np.zeros(0, np.int64), np.zeros(0)), announced,
                       StreamPosition("c", {}, {}), last=index == HOURS - 1)  # fmt: skip


@pytest.fixture
def loop(tmp_path):
    overrides = {"lake.path": tmp_path / "lake", "slo.energy_kwh": 5.0, "optimize.strategy": "random",
                 "optimize.budget": 8, "optimize.vary": ["hosts"], "calibration.mode": "off"}  # fmt: skip
    settings = load_settings(None, overrides, {})
    with Lake.open(settings.lake) as lake, Store.open(settings) as store:
        session = TwinSession.open(
            settings, lake, NativeEngine(), RunIdentity("r", "twin"), topology(6, cores=8), no_carbon()
        )
        sent = []
        desk = replace(Desk.of(settings, store, lake), publish=lambda world: sent.append(world) or True)
        yield session, desk, sent


def test_an_approved_topology_holds_from_the_next_window_and_its_effect_is_reported(loop):
    session, desk, sent = loop
    workload = _workload()
    for index in range(5):
        session.process(_batch(workload, index))
    session.flush()
    rows = proposals_at_end(desk.settings, desk.store, desk.lake, session.engine, session.memory.topology, workload,
                            None, run_id="r", window_index=4)  # fmt: skip
    desk.lake.upsert("proposals", rows)
    best = rows[0]["proposal_id"]
    approve(desk, best, decided_by="ada")

    session.process(_batch(workload, 5, announced=sent.pop()))
    for index in range(6, 9):
        session.process(_batch(workload, index))
    session.flush()
    settled = settle(desk.settings, desk.store, desk.lake, "r")
    assert [d.decision for d in settled.decisions] == ["applied", "verified"]
    assert "in force from window 6" in settled.notes[0]
    verified = settled.decisions[1]
    # two hosts carry the peak; the other four drew 100 W each, which is exactly what three windows save
    assert session.memory.topology.host_count == 2
    assert verified.predicted_energy_kwh == pytest.approx(verified.realised_energy_kwh, rel=0.1)
    event = desk.lake.rows("SELECT * FROM decisions WHERE decision = 'verified'")[0]
    assert event["realised_energy_kwh"] == pytest.approx(verified.realised_energy_kwh)

    rollback(desk, decided_by="bob")
    session.process(_batch(workload, 9, announced=sent.pop()))
    session.process(_batch(workload, 10))
    session.flush()
    versions = {w["window_index"]: w["topology_version"] for w in desk.lake.rows("SELECT * FROM windows")}
    assert versions[10] == versions[0] == topology(6, cores=8).version
    assert versions[9] == topology(2, cores=8).version
    assert get_proposal(desk.lake, desk.datacenter, best)["state"] == "rolled-back"
    assert list_proposals(desk.lake, desk.datacenter, state="verified") == []

"""The whole loop on a live stream: a twin follows a real Kafka, somebody approves, and the stream brings the effect."""

from __future__ import annotations

import json

import pytest

from opendt.engine.native.engine import NativeEngine
from opendt.lake import Lake
from opendt.models.telemetry import no_carbon
from opendt.models.topology import parse_topology
from opendt.optimize.closing import proposals_at_end, settle
from opendt.optimize.decisions import Desk, approve, get_proposal
from opendt.settings import load_settings
from opendt.store import Store
from opendt.stream.replay_process import ReplayProcess
from opendt.stream.source import open_windows
from opendt.traces.reader import read_trace
from opendt.traces.synthetic.generate import make_trace
from opendt.traces.synthetic.options import SyntheticOptions
from opendt.twin.session import RunIdentity, TwinSession

DECIDED_AFTER = 10  # windows
SPEED = 7200.0  # two windows per second: what is decided is heard of before the trace is over


@pytest.mark.java
def test_a_proposal_approved_while_the_cluster_runs_comes_into_force_and_is_followed_up(real, tmp_path):
    make_trace(tmp_path / "trace", SyntheticOptions(days=1, hosts=12, seed=3, tasks_per_day=30))
    trace = read_trace(tmp_path / "trace")
    given = trace.topology
    overrides = {
        "lake.path": tmp_path / "lake", "slo.energy_kwh": 1.0, "optimize.strategy": "random", "optimize.budget": 8,
        "optimize.vary": ["hosts"], "calibration.mode": "off",
    }  # fmt: skip
    stream_settings = real.model_copy(update={"speed": SPEED})
    settings = load_settings(None, overrides, {}).model_copy(update={"stream": stream_settings})
    identity = RunIdentity("live", "twin")
    with Lake.open(settings.lake) as lake, Store.open(settings) as store:
        session = TwinSession.open(settings, lake, NativeEngine(), identity, given, no_carbon())
        desk = Desk.of(settings, store, lake)
        chosen = None
        with (
            ReplayProcess(tmp_path / "trace", settings.stream, settings.datacenter, "live", start_sequences={}),
            open_windows(settings.stream, settings.windows, settings.datacenter) as stream,
        ):
            for batch in stream:
                session.process(batch)
                if batch.index == DECIDED_AFTER:
                    session.flush()
                    chosen = _propose(session, desk, trace.workload)
                    approve(desk, chosen["proposal_id"], decided_by="ada")
        session.finish()
        settled = settle(settings, store, lake, "live")
        assert chosen is not None
        assert [decision.decision for decision in settled.decisions] == ["applied", "verified"]
        verified = settled.decisions[1]
        wanted = parse_topology(json.loads(chosen["topology_json"])).version
        versions = [w["topology_version"] for w in lake.rows("SELECT * FROM windows ORDER BY window_index")]
        changed = versions.index(wanted)
        assert changed > DECIDED_AFTER
        assert set(versions[:changed]) == {given.version}
        assert set(versions[changed:]) == {wanted}
        assert verified.realised_energy_kwh == pytest.approx(verified.predicted_energy_kwh, rel=0.25)
        assert get_proposal(lake, settings.datacenter, chosen["proposal_id"])["state"] == "verified"


def _propose(session, desk, workload):
    rows = proposals_at_end(
        desk.settings, desk.store, desk.lake, session.engine, session.memory.topology, workload, None,
        run_id="live", window_index=DECIDED_AFTER,
    )  # fmt: skip
    desk.lake.upsert("proposals", rows)
    return next(row for row in rows if row["energy_kwh"] < row["baseline_energy_kwh"])

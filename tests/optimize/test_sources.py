"""Questions about runs: trace found again, topology last in force, evidence from calibrations; closing a run."""

import orjson
import pytest
from optimize_builders import ToyEngine, topology, workload

from opendt.errors import InputError, LakeError
from opendt.lake import Lake
from opendt.optimize.closing import proposals_at_end, settle
from opendt.optimize.decisions import Desk, approve, get_proposal
from opendt.optimize.evidence import calibrated
from opendt.optimize.history import past_proposals
from opendt.optimize.sources import Period, find_trace, from_run, from_trace
from opendt.settings import SloSettings, load_settings
from opendt.store import Store
from opendt.traces import read_trace
from opendt.traces.writer import new_folder, write_topology, write_workload

HOUR = 3_600_000


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    with new_folder(folder / "data" / "traces" / "tiny") as made:
        write_workload(made, workload())
        write_topology(made, topology(10))
    return folder


@pytest.fixture(scope="module")
def lake(home):
    settings = load_settings(None, {"lake.path": home / "lake"}, {})
    with Lake.open(settings.lake) as opened:
        yield opened


@pytest.fixture
def settings(lake, request, tmp_path):
    """Settings of a datacenter of its own."""
    name = f"dc{abs(hash(request.node.nodeid)) % 10**9}"
    overrides = {"lake.path": lake.settings.path, "datacenter": name, "store.url": f"sqlite:///{tmp_path}/s.db"}
    return load_settings(None, overrides | {"slo.energy_kwh": 4.0, "optimize.strategy": "rules"}, {})


def _run(lake, settings, world, parameters=(), ratios=(), trace="tiny"):
    """A run with a window per ratio (measured over simulated energy) and a calibration per parameter set."""
    datacenter, key = settings.datacenter, {"run_id": "r1", "datacenter": settings.datacenter}
    lake.start_run("r1", datacenter, "pipeline", trace=trace)
    lake.upsert("topologies", [{"datacenter": datacenter, "version": world.version, "source": "trace",
                                "topology_json": world.to_json().decode(), "created_ms": 0}])  # fmt: skip
    lake.upsert("windows", [
        key | {"window_index": i, "start_ms": i * HOUR, "end_ms": (i + 1) * HOUR, "energy_j": 3.6e6,
               "energy_measured_j": 3.6e6 * ratio,
               "energy_uncalibrated_j": 2.4e6, "calibration_id": "c", "topology_version": world.version}
        for i, ratio in enumerate(ratios or [1.0])
    ])  # fmt: skip
    lake.upsert("calibrations", [
        key | {"window_index": i, "calibration_id": f"c{i}", "published": True, "created_ms": i,
               "parameters_json": orjson.dumps(values).decode()}
        for i, values in enumerate(parameters)
    ])  # fmt: skip


def test_properties_that_were_calibrated_become_evidence(lake, settings):
    _run(lake, settings, topology(10), [{"cpuPowerModel.idlePower": 90.0 + i} for i in range(6)], [1.01] * 6)
    model, evidence = calibrated(lake, "r1", settings.datacenter, topology(10))
    assert model.clusters[0].hosts[0].cpuPowerModel.idlePower == 95.0
    assert sorted(m[0].idlePower for m in evidence.ensemble) == [90, 91, 92, 93, 94, 95]
    assert evidence.energy_ratios == pytest.approx((1.01,) * 6)
    assert evidence.source == "6 calibrations and 6 windows of run r1"


@pytest.mark.parametrize(("made", "taken"), [(48, 48), (49, 25), (100, 34)])
def test_at_most_48_calibrations_are_taken_spread_over_the_run_and_the_newest_is_one(lake, settings, made, taken):
    _run(lake, settings, topology(10), [{"cpuPowerModel.idlePower": 20.0 + i} for i in range(made)])
    model, evidence = calibrated(lake, "r1", settings.datacenter, topology(10))
    idle_w = [models[0].idlePower for models in evidence.ensemble]
    assert model.clusters[0].hosts[0].cpuPowerModel.idlePower == idle_w[0] == 20.0 + made - 1
    assert len(idle_w) == taken
    assert idle_w[-1] < 20.0 + made / 10


def test_learned_curves_become_monotone_power_models(lake, settings):
    curves = {"groups": {"C01/H01": {"levels_w": [80.0, 120.0, 110.0], "step_w": 5.0}}, "experts": {}}
    _run(lake, settings, topology(10), [curves])
    model, _ = calibrated(lake, "r1", settings.datacenter, topology(10))
    assert model.clusters[0].hosts[0].cpuPowerModel.levels == (80.0, 125.0, 125.0)


def test_parameters_that_cannot_price_a_topology_are_left_out(lake, settings):
    _run(lake, settings, topology(10), [{"groups": {"C01/other": {}}}, {"nonsense": 1.0}, {}])
    model, evidence = calibrated(lake, "r1", settings.datacenter, topology(10))
    assert (model, evidence.ensemble) == (topology(10), ())


def test_a_question_about_a_run_uses_its_last_topology_and_calibration(lake, settings, home, monkeypatch):
    monkeypatch.chdir(home)
    parameters = [{"cpuPowerModel.idlePower": 100.0 + i} for i in range(6)]
    _run(lake, settings, topology(9), parameters, [1.0] * 6)
    source = from_run(settings, lake, "r1", SloSettings())
    assert (source.run_id, source.window_index) == ("r1", 5)
    assert source.problem.topology == topology(9)
    given_kwh = source.problem.evaluator.run(topology(9)).outcome.energy_kwh
    assert source.problem.baseline.outcome.energy_kwh == pytest.approx(1.5 * given_kwh), "as was measured"
    idle_w = source.problem.model.clusters[0].hosts[0].cpuPowerModel.idlePower
    variant = source.problem.evaluator.run(
        source.problem.model.model_validate(topology(5, idle=idle_w, most=idle_w * 2).model_dump(mode="json"))
    )
    found = source.problem.evaluation(variant)
    assert found.saving_low_kwh <= found.saving_kwh <= found.saving_high_kwh
    assert found.saving_low_kwh < found.saving_high_kwh


def test_what_was_measured_is_that_of_the_part_asked_about(lake, settings):
    ratios = [1.0, 1.0, 1.1, 0.0, 1.2]  # of simulated energy, half more than the topology as given has
    _run(lake, settings, topology(10), [{"cpuPowerModel.idlePower": 95.0}], ratios)

    def measured(*hours):
        part = [None if hour is None else hour * HOUR for hour in hours]
        return calibrated(lake, "r1", settings.datacenter, topology(10), *part)[1].measured_ratio

    assert measured(None, None) == pytest.approx(1.5 * 4.3 / 4)
    assert (measured(2, None), measured(None, 2)) == pytest.approx((1.5 * 1.15, 1.5))
    assert measured(3, 4) is None


def test_proposals_keep_the_power_model_of_the_topology_they_change(lake, settings):
    _run(lake, settings, topology(10), [{"cpuPowerModel.idlePower": 120.0}])
    with Store.open(settings) as store:
        rows = proposals_at_end(
            settings, store, lake, ToyEngine(), topology(10), workload(), None, run_id="r1", window_index=0
        )
    proposed = orjson.loads(rows[0]["topology_json"])
    assert proposed["clusters"][0]["hosts"][0]["cpuPowerModel"]["idlePower"] == 100.0
    assert proposed["clusters"][0]["hosts"][0]["count"] < 10


def test_closing_a_run_stores_expires_and_follows_up(lake, settings):
    _run(lake, settings, topology(10))
    with Store.open(settings) as store:
        rows = proposals_at_end(
            settings, store, lake, ToyEngine(), topology(10), workload(), None, run_id="r1", window_index=0
        )
        lake.upsert("proposals", [rows[0], rows[1] | {"created_ms": 0}])
        settled = settle(settings, store, lake, "r1", rows)
        assert [d.decision for d in settled.decisions] == ["expired"]
        desk = Desk.of(settings, store, lake)
        changed = approve(desk, rows[0]["proposal_id"], decided_by="ada").active.topology
        lake.upsert("topologies", [{"datacenter": settings.datacenter, "version": changed.version, "created_ms": 1,
                                    "topology_json": changed.to_json().decode()}])  # fmt: skip
        key = {"run_id": "r1", "datacenter": settings.datacenter, "window_index": 7}
        lake.upsert("windows", [key | {"start_ms": 7 * HOUR, "end_ms": 8 * HOUR, "energy_j": 1.0,
                                       "topology_version": changed.version}])  # fmt: skip
        lake.upsert("power_samples", [key | {"timestamp_ms": 7 * HOUR, "utilization_ratio": 0.5}])
        settled = settle(settings, store, lake, "r1")
    assert [d.decision for d in settled.decisions] == ["applied"]
    assert "in force from window 7" in settled.notes[0]
    assert get_proposal(lake, settings.datacenter, rows[0]["proposal_id"])["state"] == "applied"


def test_earlier_proposals_about_the_same_topology_are_the_history_of_the_next(lake, settings):
    _run(lake, settings, topology(10), [{"cpuPowerModel.idlePower": 120.0}])
    with Store.open(settings) as store:
        rows = proposals_at_end(
            settings, store, lake, ToyEngine(), topology(10), workload(), None, run_id="r1", window_index=0
        )
    lake.upsert("proposals", rows)
    (entry,) = past_proposals(lake, settings.datacenter, topology(10).version)
    assert entry["changes"] == orjson.loads(rows[0]["changes_json"])
    assert (entry["strategy"], entry["allocation"]) == ("rules", None)
    assert entry["energy_kwh"] < entry["present_energy_kwh"]
    assert past_proposals(lake, settings.datacenter, topology(9).version) == ()


def test_with_the_strategy_off_nothing_is_proposed(lake, settings):
    off = settings.model_copy(update={"optimize": settings.optimize.model_copy(update={"strategy": "off"})})
    with Store.open(off) as store:
        assert proposals_at_end(off, store, lake, ToyEngine(), topology(10), workload(), None, run_id="r1",
                                window_index=0) == []  # fmt: skip


def test_an_unknown_run_and_a_run_without_windows_say_so(lake, settings, home, monkeypatch):
    monkeypatch.chdir(home)
    with pytest.raises(InputError, match="no run nope"):
        from_run(settings, lake, "nope", SloSettings())
    lake.start_run("empty", settings.datacenter, "pipeline", trace="tiny")
    with pytest.raises(LakeError, match="not committed a window"):
        from_run(settings, lake, "empty", SloSettings())


def test_a_trace_that_cannot_be_found_asks_for_it(home, monkeypatch):
    monkeypatch.chdir(home)
    with pytest.raises(InputError, match="live stream"):
        find_trace("r1", None)
    with pytest.raises(InputError, match="--trace"):
        find_trace("r1", "elsewhere")


def test_a_period_cuts_the_workload(settings, home):
    trace = read_trace(home / "data" / "traces" / "tiny")
    source = from_trace(settings, trace, SloSettings(), period=Period(None, trace.origin_ms + HOUR))
    assert len(source.problem.evaluator.workload.tasks) == 6


def test_a_trace_without_a_topology_asks_for_one(settings, tmp_path):
    with new_folder(tmp_path / "bare") as made:
        write_workload(made, workload())
    with pytest.raises(InputError, match="--topology FILE"):
        from_trace(settings, read_trace(tmp_path / "bare"), SloSettings())

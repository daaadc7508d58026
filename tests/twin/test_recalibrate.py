from __future__ import annotations

import numpy as np
import pytest

from opendt.calibration.search import search
from opendt.calibration.space import with_properties
from opendt.engine.base import Occupancy
from opendt.errors import InputError, TerminalError
from opendt.lake import Lake
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import parse_topology
from opendt.power.pricing import group_models, price
from opendt.settings import CalibrationSettings, Settings, load_settings
from opendt.store import Store
from opendt.twin.history import History, read_history
from opendt.twin.recalibrate import Recalibration, put_in_force, recalibrate, store_recalibration

HOUR = 3_600_000
HOSTS = 10
TRUTH = {"cpuPowerModel.idlePower": 120.0, "cpuPowerModel.maxPower": 260.0}


def topology(**model):
    power = {"modelType": "linear", "power": 300.0, "idlePower": 100.0, "maxPower": 300.0} | model
    host = {
        "name": "H", "count": HOSTS, "cpu": {"coreCount": 10, "coreSpeed": 1000}, "memory": {"memorySize": 1000},
        "cpuPowerModel": power,
    }  # fmt: skip
    return parse_topology({"clusters": [{"name": "C", "hosts": [host]}]}, "test")


def utilisation(hours: int, seed: int = 0) -> np.ndarray:
    """Shape (samples, hosts), a sample every five minutes."""
    return np.random.default_rng(seed).uniform(0, 1, (hours * 12, HOSTS))


def occupancy(used: np.ndarray) -> Occupancy:
    knots = np.linspace(0, 1, 41)
    weights = np.zeros((len(used), 1, 41))
    low = np.minimum((used * 40).astype(int), 39)
    for s in range(len(used)):
        for h in range(HOSTS):
            share = used[s, h] * 40 - low[s, h]
            weights[s, 0, low[s, h]] += 1 - share
            weights[s, 0, low[s, h] + 1] += share
    times = np.arange(len(used), dtype=np.int64) * 300_000
    return Occupancy(times, knots, ((0, 0),), weights, weights, np.full((len(used), 1), HOSTS))


def history(hours: int = 48, noise_pct: float = 1.0) -> History:
    """A cluster whose real curve is not the datasheet's."""
    given = topology()
    made = occupancy(utilisation(hours))
    real = price(made, group_models(with_properties(given, TRUTH), made.groups))
    noise = 1 + np.random.default_rng(1).normal(0, noise_pct / 100, len(real))
    return History("run-1", 47, given, made, PowerSeries(np.asarray(made.timestamp_ms), real * noise))


QUICK = CalibrationSettings(trials=100)


def fitted(known: History, heldout_h: float = 12, method: str = "random", least: float = 0.05, **more) -> Recalibration:
    return recalibrate(known, QUICK, method=method, heldout_h=heldout_h, least_gain_points=least, **more)


def test_a_history_too_short_to_hold_anything_out_is_refused():
    with pytest.raises(InputError, match="Use more days"):
        fitted(history(20))


@pytest.mark.parametrize("method", ["online", "random", "grid"])
def test_a_fit_on_the_history_beats_the_datasheet_on_the_hours_held_out(method):
    found = fitted(history(), method=method)
    assert found.better
    assert found.verdict.hours == 12
    assert found.verdict.heldout_mape_pct < 2.5 < found.verdict.active_heldout_mape_pct  # noise alone is 0.8 %
    record = found.report.record
    assert record["trained_until_ms"] <= 36 * HOUR


def test_the_model_in_force_itself_is_no_improvement():
    known = history()
    space = {"cpuPowerModel.maxPower": [300, 300.001]}
    found = recalibrate(
        known, CalibrationSettings(trials=3, space=space), method="random", heldout_h=12, least_gain_points=0.05
    )
    assert not found.better
    assert abs(found.verdict.gain_pct) < 0.001


def test_a_gain_below_what_is_worth_a_change_is_not_taken():
    found = fitted(history(), least=50.0)
    assert found.verdict.publish
    assert not found.better
    assert "worth a change" in found.reason


def test_few_hours_prove_nothing():
    found = fitted(history(), heldout_h=2)
    assert not found.better
    assert "only 2 held-out hours" in found.reason


def test_when_every_trial_failed_the_reasons_are_told():
    settings = CalibrationSettings(trials=3, space={"cpuPowerModel.maxPower": [1, 2]})
    with pytest.raises(TerminalError, match="below idlePower"):
        recalibrate(history(), settings, method="random", heldout_h=12, least_gain_points=0.05)


def test_somebody_elses_loop_can_score_the_trials():
    asked = []

    def one_by_one(sampler, objective, budget, batch):
        asked.append((budget, batch))
        return search(sampler, objective, budget, 1)

    assert len(fitted(history(), run_search=one_by_one).trials) == 100
    assert asked == [(100, QUICK.batch)]


@pytest.fixture
def settings(tmp_path) -> Settings:
    return load_settings(None, {"lake.path": tmp_path / "lake"}, environment={})


def recalibration() -> Recalibration:
    return recalibrate(history(), CalibrationSettings(trials=16, grid_points=4), method="grid", heldout_h=12,
                       least_gain_points=0.05)  # fmt: skip


def test_a_calibration_and_its_trials_land_once_however_often_they_are_written(settings):
    found = recalibration()
    with Lake.open(settings.lake) as lake:
        for _ in range(2):
            store_recalibration(lake, "dc", "cal-1", found, published=True, created_ms=5)
        (row,) = lake.rows("SELECT * FROM calibrations")
        trials = lake.rows("SELECT * FROM calibration_trials ORDER BY trial")
    assert (row["run_id"], row["published"], row["window_index"]) == ("cal-1", True, 47)
    assert row["heldout_mape_pct"] == pytest.approx(found.verdict.heldout_mape_pct)
    assert row["active_heldout_mape_pct"] == pytest.approx(found.verdict.active_heldout_mape_pct)
    assert len(trials) == len(found.trials)
    assert all((t["score_mape_pct"] is None) == (t["state"] == "failed") for t in trials)


def test_putting_in_force_keeps_what_was_before_and_says_when_nobody_hears_of_it(settings):
    found = recalibration()
    with Lake.open(settings.lake) as lake, Store.open(settings) as store:
        done = put_in_force(settings, lake, store, found, "cal-1")
        versions = [a.version for a in store.topology_history("dc")]
        assert store.active_topology("dc").source == "calibration"
    assert versions == [found.candidate.version, found.history.topology.version]
    assert "no Kafka" in done


def write_run(lake: Lake, used: np.ndarray, given, measured: PowerSeries, kind: str = "pipeline") -> None:
    """The rows of a run that `read_history` looks at, one window an hour."""
    names = ["H", *(f"H-{n}" for n in range(HOSTS - 1))]
    owner = {"run_id": "run-1", "datacenter": "dc"}
    hours = len(used) // 12
    lake.start_run("run-1", "dc", kind, windows=hours)
    lake.upsert("topologies", [{"datacenter": "dc", "version": given.version, "topology_json": given.to_json().decode(),
                                "source": "trace", "created_ms": 0}])  # fmt: skip
    lake.insert("windows", [owner | {"window_index": n, "start_ms": n * HOUR, "end_ms": (n + 1) * HOUR,
                                     "topology_version": given.version} for n in range(hours)])  # fmt: skip
    lake.insert("host_samples", [
        owner | {"window_index": s // 12, "timestamp_ms": s * 300_000, "cluster_name": "C", "host_name": names[h],
                 "cpu_utilization_ratio": float(used[s, h]), "tasks_running": 1}
        for s in range(len(used)) for h in range(HOSTS)
    ])  # fmt: skip
    lake.insert("power_samples", [
        owner | {"window_index": int(t) // HOUR, "timestamp_ms": int(t), "measured_w": float(w)}
        for t, w in zip(measured.timestamp_ms, measured.power_w, strict=True)
    ])  # fmt: skip


def test_the_history_of_a_run_prices_as_its_hosts_did(settings):
    used, known = utilisation(24), history(24)
    with Lake.open(settings.lake) as lake:
        write_run(lake, used, known.topology, known.measured)
        found = read_history(lake, "dc", days=7)
    assert (found.run_id, found.last_window, len(found.measured)) == ("run-1", 23, 24 * 12)
    models = group_models(known.topology, found.occupancy.groups)
    by_hand = (100.0 + 200.0 * used).sum(axis=1)  # linear from 100 W to 300 W, summed over the hosts
    assert price(found.occupancy, models) == pytest.approx(by_hand, rel=1e-5)


def test_only_the_days_asked_for_are_read(settings):
    with Lake.open(settings.lake) as lake:
        known = history(48)
        write_run(lake, utilisation(48), known.topology, known.measured)
        found = read_history(lake, "dc", days=1)
    assert found.from_ms == 24 * HOUR


def test_a_topology_put_in_force_since_is_the_one_to_beat(settings):
    since = with_properties(topology(), TRUTH)
    other_hosts = parse_topology(
        {
            "clusters": [
                {"name": "C", "hosts": [topology().clusters[0].hosts[0].model_dump(mode="json") | {"count": 3}]}
            ]
        },
        "test",
    )
    with Lake.open(settings.lake) as lake:
        known = history(24)
        write_run(lake, utilisation(24), known.topology, known.measured)
        assert read_history(lake, "dc", days=7, active=since).topology.version == since.version
        assert read_history(lake, "dc", days=7, active=other_hosts).topology.version == known.topology.version


@pytest.mark.parametrize(("run_id", "message"), [("", "no run in the lake"), ("nobody", "no windows")])
def test_without_a_run_there_is_nothing_to_learn_from(settings, run_id, message):
    with Lake.open(settings.lake) as lake, pytest.raises(InputError, match=message):
        read_history(lake, "dc", days=7, run_id=run_id)

"""Calibrating on recorded time: fitted on its first part, judged on its last."""

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from opendt.calibration.offline import calibrate
from opendt.calibration.search import join_occupancies
from opendt.calibration.space import parse_space
from opendt.cli import app
from opendt.errors import ConfigError, EngineError, InputError, TerminalError
from opendt.lake.schema import BY_NAME
from opendt.models.telemetry import PowerSeries
from opendt.models.topology import load_topology
from opendt.power.pricing import group_models, price
from opendt.traces.synthetic import SyntheticOptions, make_trace

FACTOR = "cpuPowerModel.calibrationFactor"


@pytest.fixture(scope="module")
def recorded(world_of):
    world = world_of(hours=16, noise=0.005)
    measured = PowerSeries(
        np.concatenate([r.timestamp_ms for r in world.readings]), np.concatenate([r.power_w for r in world.readings])
    )
    return world.topology, join_occupancies(world.windows), measured


@pytest.mark.parametrize("method", ["online", "grid", "random", "bayesian"])
def test_every_method_finds_a_better_model_and_says_so(method, recorded):
    report = calibrate(*recorded, method=method, space=parse_space({FACTOR: [2, 8]}), trials=20, points=13, holdout_h=6)
    assert report.verdict.publish, report.verdict.reason
    assert report.verdict.heldout_mape_pct < 2
    assert report.summary()["publish"]
    columns = {c.name for c in BY_NAME["calibrations"].columns}
    assert set(report.record) | {"run_id", "datacenter", "window_index", "created_ms"} == columns
    assert len(report.rows) == len(report.trials)


def test_held_out_time_is_not_fitted(recorded):
    topology, occupancy, measured = recorded
    spoiled = np.where(measured.timestamp_ms > 10 * 3_600_000, measured.power_w * 2, measured.power_w)
    honest = calibrate(topology, occupancy, measured, holdout_h=6)
    other = calibrate(topology, occupancy, PowerSeries(measured.timestamp_ms, spoiled), holdout_h=6)
    assert honest.topology == other.topology
    assert honest.verdict.heldout_mape_pct < 1 < other.verdict.heldout_mape_pct


def test_the_active_model_is_not_replaced_by_its_equal(recorded):
    topology, occupancy, measured = recorded
    first = calibrate(topology, occupancy, measured, holdout_h=6)
    again = calibrate(first.topology, occupancy, measured, holdout_h=6)
    assert not again.verdict.publish


def test_opendc_gets_its_closest_curve_with_the_loss_stated(recorded):
    topology, occupancy, measured = recorded
    report = calibrate(topology, occupancy, measured)
    (nearest,) = report.exports.values()
    assert nearest.model.modelType not in ("piecewise", "active")
    assert nearest.loss_pct < 2
    models = group_models(report.opendc_topology, occupancy.groups)
    error = np.abs(price(occupancy, models) / measured.power_w - 1).mean()
    assert error < 0.03


def test_nothing_held_out_means_nothing_published(recorded):
    report = calibrate(*recorded, holdout_h=0)
    assert report.verdict is None
    assert not report.record["published"]


def test_too_short_a_time_is_refused(recorded):
    topology, occupancy, measured = recorded
    short = PowerSeries(measured.timestamp_ms[:200], measured.power_w[:200])
    with pytest.raises(InputError, match="at least 4 h"):
        calibrate(topology, occupancy, short)


def test_unknown_methods_and_unpriceable_spaces_are_refused(recorded):
    with pytest.raises(ConfigError, match="'magic' is unknown"):
        calibrate(*recorded, method="magic")
    with pytest.raises(ConfigError, match="needs a simulation"):
        calibrate(*recorded, method="random", space=parse_space({"cpu.coreSpeed": [1_000, 3_000]}))


def test_all_trials_failing_is_an_error_with_the_reason(recorded):
    with pytest.raises(TerminalError, match="below idlePower"):
        calibrate(*recorded, method="random", space=parse_space({"cpuPowerModel.maxPower": [1, 2]}), trials=3)


def test_properties_that_change_who_runs_where_are_simulated(recorded):
    topology, occupancy, measured = recorded
    calls = []

    def simulate(topologies):
        calls.append(len(topologies))
        speeds = [t.clusters[0].hosts[0].cpu.coreSpeed for t in topologies]
        return [PowerSeries(measured.timestamp_ms, measured.power_w * s / 2_500) for s in speeds]

    space = parse_space({"cpu.coreSpeed": [1_500, 3_000]})
    report = calibrate(
        topology, occupancy, measured, method="grid", space=space, points=4, trials=4, batch=2, simulate=simulate,
        engine="opendc",
    )  # fmt: skip
    assert calls == [2, 2, 2]
    assert report.parameters == {"cpu.coreSpeed": 2_500.0}
    assert report.rows[0]["engine"] == "opendc"
    assert report.verdict.publish


def test_an_engine_that_fails_on_the_held_out_time_raises_its_error(recorded):
    topology, occupancy, measured = recorded

    def simulate(topologies):
        good = [PowerSeries(measured.timestamp_ms, measured.power_w) for _ in topologies]
        return good if len(topologies) == 3 else [EngineError("out of memory")] * len(topologies)

    with pytest.raises(EngineError, match="out of memory"):
        calibrate(
            topology, occupancy, measured, method="grid", space=parse_space({FACTOR: [2, 8]}), points=3, trials=3,
            simulate=simulate,
        )  # fmt: skip


def test_the_command_writes_topologies_and_one_object(tmp_path):
    path = make_trace(tmp_path / "t", SyntheticOptions(days=1, hosts=20, seed=2)).path
    ours, theirs = tmp_path / "ours.json", tmp_path / "opendc.json"
    arguments = ["calibrate", "--trace", str(path), "--holdout", "8", "--out", str(ours), "--opendc-out", str(theirs)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert found["publish"]
    assert load_topology(ours).clusters[0].hosts[0].cpuPowerModel.modelType == "piecewise"
    assert load_topology(theirs).clusters[0].hosts[0].cpuPowerModel.modelType != "piecewise"


def test_the_command_simulates_each_trial_where_needed(tmp_path):
    path = make_trace(tmp_path / "t", SyntheticOptions(days=0.5, hosts=10, seed=2)).path
    arguments = ["calibrate", "--trace", str(path), "--method", "random", "--trials", "3", "--holdout", "4", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--parameter", "cpu.coreSpeed=2000:4000"])
    assert result.exit_code == 0, result.output
    assert orjson.loads(result.stdout)["trials"] == 3


def test_the_command_searches_choices_from_the_configuration_and_prints_a_table(tmp_path):
    path = make_trace(tmp_path / "t", SyntheticOptions(days=0.5, hosts=10, seed=2)).path
    config = tmp_path / "c.yaml"
    config.write_text(
        "calibration: {trials: 6, space: {cpuPowerModel.modelType: {values: [sqrt, linear]}, "
        "cpuPowerModel.idlePower: [30, 70]}}"
    )
    arguments = ["calibrate", "--trace", str(path), "--method", "random", "--holdout", "4", "--config", str(config)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "6 trials, 0 failed" in result.stdout
    assert "sqrt" in result.stdout


def test_the_command_explains_ranges_it_cannot_read(tmp_path):
    result = CliRunner().invoke(app, ["calibrate", "--trace", str(tmp_path), "--parameter", "idlePower"])
    assert result.exit_code == 2
    assert "PATH=LOW:HIGH" in result.output

"""Promises of every calibrator (``opendt/calibration/base.py``). A new mode is one more parameter."""

import numpy as np
import orjson
import pytest

from opendt.calibration import make_calibrator
from opendt.lake.schema import BY_NAME
from opendt.models.telemetry import PowerSeries
from opendt.power.pricing import group_models, price
from opendt.settings import CalibrationSettings

MODES = ["off", "grid", "bayesian", "online"]
LEARNING = [m for m in MODES if m != "off"]
NOTHING = PowerSeries(np.zeros(0, np.int64), np.zeros(0))


def calibrator_of(mode, world, state=None, **settings):
    return make_calibrator(
        CalibrationSettings(mode=mode, trials=10, search_every_windows=5, **settings), world.topology, state
    )


def run(calibrator, world, first=0, last=None):
    """Predictions of each window, walking forward."""
    predicted = []
    for window in range(first, last or len(world.windows)):
        outcome = calibrator.params_for(world.start_ms(window))
        predicted.append(outcome.predict(world.windows[window]))
        calibrator.observe(world.windows[window], world.readings[window])
    return predicted


def watts(predictions):
    return np.concatenate([p.power_w for p in predictions])


@pytest.mark.parametrize("mode", MODES)
def test_first_window_is_priced_with_the_topology_as_given(mode, world):
    outcome = calibrator_of(mode, world).params_for(0)
    expected = price(world.windows[0], group_models(world.topology, world.windows[0].groups))
    np.testing.assert_allclose(outcome.predict(world.windows[0]).power_w, expected)
    assert outcome.calibration_id is None
    assert outcome.record is None
    assert outcome.trials == ()


@pytest.mark.parametrize("mode", MODES)
def test_readings_of_a_window_do_not_change_its_own_prediction(mode, world):
    def forecast(last_readings):
        calibrator = calibrator_of(mode, world)
        run(calibrator, world, last=5)
        outcome = calibrator.params_for(world.start_ms(5))
        calibrator.observe(world.windows[5], last_readings)
        return outcome.predict(world.windows[5]).power_w, calibrator

    honest, _ = forecast(world.readings[5])
    wild = PowerSeries(world.readings[5].timestamp_ms, world.readings[5].power_w * 3)
    other, calibrator = forecast(wild)
    np.testing.assert_array_equal(honest, other)
    again = calibrator.params_for(world.start_ms(5)).predict(world.windows[5]).power_w
    assert np.isfinite(again).all()


@pytest.mark.parametrize("mode", MODES)
def test_asking_does_not_change_the_state(mode, world):
    calibrator = calibrator_of(mode, world)
    run(calibrator, world, last=4)
    before = calibrator.to_bytes()
    calibrator.params_for(world.start_ms(4)).predict(world.windows[4])
    assert calibrator.to_bytes() == before


@pytest.mark.parametrize("mode", MODES)
def test_resumed_from_bytes_goes_on_exactly_alike(mode, world):
    whole = calibrator_of(mode, world)
    expected = run(whole, world)
    first = calibrator_of(mode, world)
    run(first, world, last=6)
    resumed = calibrator_of(mode, world, state=first.to_bytes())
    rest = run(resumed, world, first=6)
    np.testing.assert_array_equal(watts(rest), watts(expected[6:]))
    assert resumed.to_bytes() == whole.to_bytes()


@pytest.mark.parametrize("mode", LEARNING)
def test_learning_beats_the_topology_as_given(mode, world):
    measured = np.concatenate([r.power_w for r in world.readings[2:]])
    learned = np.abs(watts(run(calibrator_of(mode, world), world)[2:]) - measured)
    given = np.abs(watts(run(calibrator_of("off", world), world)[2:]) - measured)
    assert learned.mean() < 0.5 * given.mean()


@pytest.mark.parametrize("mode", MODES)
def test_windows_without_readings_or_occupancy_are_survived(mode, world):
    calibrator = calibrator_of(mode, world)
    calibrator.observe(None, NOTHING)
    calibrator.observe(world.windows[0], NOTHING)
    nan = PowerSeries(world.windows[1].timestamp_ms, np.full(120, np.nan))
    calibrator.observe(world.windows[1], nan)
    assert calibrator.params_for(world.start_ms(2)).record is None
    calibrator.observe(world.windows[2], world.readings[2])
    assert np.isfinite(calibrator.params_for(world.start_ms(3)).predict(world.windows[3]).power_w).all()


@pytest.mark.parametrize("mode", LEARNING)
def test_rows_have_exactly_the_columns_of_the_lake(mode, world):
    calibrator = calibrator_of(mode, world)
    run(calibrator, world, last=1)
    outcome = calibrator.params_for(world.start_ms(1))
    added = {"run_id", "datacenter", "window_index", "created_ms"}
    assert outcome.record is not None
    assert set(outcome.record) | added == {c.name for c in BY_NAME["calibrations"].columns}
    assert outcome.record["trained_until_ms"] <= world.start_ms(1)
    assert outcome.record["calibration_id"] == outcome.calibration_id
    orjson.loads(outcome.record["parameters_json"])
    columns = {c.name for c in BY_NAME["calibration_trials"].columns}
    for trial in outcome.trials:
        assert set(trial) | added - {"created_ms"} == columns
        assert (trial["score_mape_pct"] is None) == (trial["state"] == "failed")


@pytest.mark.parametrize("mode", MODES)
def test_another_topology_holds_from_the_next_window_on(mode, world, world_of):
    calibrator = calibrator_of(mode, world)
    run(calibrator, world, last=3)
    larger = world_of(hours=5, hosts=80, seed=8)
    calibrator.use_topology(larger.topology)
    predicted = calibrator.params_for(world.start_ms(3)).predict(larger.windows[3])
    assert np.isfinite(predicted.power_w).all()
    assert len(predicted.mean_w) == len(larger.windows[3].timestamp_ms)

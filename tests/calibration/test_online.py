"""The online calibrator on clusters whose curves it does not know."""

import numpy as np
import orjson
import pytest

from opendt.calibration.online import OnlineCalibrator
from opendt.errors import TerminalError
from opendt.metrics import accuracy
from opendt.models.telemetry import PowerSeries
from opendt.power.curves import power_w

HIDDEN = {
    "linear": {"modelType": "linear", "idlePower": 70, "maxPower": 180},
    "sqrt": {"modelType": "sqrt", "idlePower": 70, "maxPower": 180},
    "cubic": {"modelType": "cubic", "idlePower": 30, "maxPower": 210},
    "asymptotic": {"modelType": "asymptotic", "idlePower": 40, "maxPower": 190, "asymUtil": 0.2, "dvfs": False},
    "step": {"modelType": "active", "idlePower": 30, "maxPower": 160, "stepPower": 110},
    "constant": {"modelType": "constant", "power": 120, "idlePower": 100, "maxPower": 130},
}


def walk(world, calibrator=None, change=lambda hour, readings: readings):
    calibrator = calibrator or OnlineCalibrator(world.topology)
    rows = []
    for window, occupancy in enumerate(world.windows):
        prediction = calibrator.params_for(world.start_ms(window)).predict(occupancy)
        readings = change(window, world.readings[window])
        calibrator.observe(occupancy, readings)
        low = prediction.band_low_w if prediction.band_low_w is not None else np.full(120, np.nan)
        high = prediction.band_high_w if prediction.band_high_w is not None else np.full(120, np.nan)
        rows.append((occupancy.timestamp_ms, prediction.power_w, readings.power_w, low, high))
    return calibrator, [np.concatenate(column) for column in zip(*rows, strict=True)]


def scores(columns, first_hour=4):
    return accuracy(*(column[first_hour * 120 :] for column in columns))


@pytest.mark.parametrize("curve", HIDDEN)
def test_hidden_curves_are_learned_to_the_noise_floor(curve, world_of):
    world = world_of(hours=24, truth=HIDDEN[curve], noise=0.005)
    floor = 0.5 * np.sqrt(2 / np.pi)
    found = scores(walk(world)[1])
    assert found.mape_pct < floor + 0.3
    assert abs(found.bias_pct) < 0.3


def test_two_host_types_with_different_curves(world_of):
    world = world_of(hours=24, truth=HIDDEN["sqrt"], types=2, hosts=30, noise=0.005)
    assert scores(walk(world)[1]).mape_pct < 0.4 + 0.3


def test_five_percent_sensor_noise(world_of):
    world = world_of(hours=36, truth=HIDDEN["linear"], noise=0.05)
    found = scores(walk(world)[1])
    assert found.mape_pct < 5 * np.sqrt(2 / np.pi) + 0.3
    assert found.band_coverage_pct == pytest.approx(90, abs=3)


def test_band_holds_nine_of_ten_readings(world_of):
    world = world_of(hours=36, truth=HIDDEN["linear"], noise=0.01)
    assert scores(walk(world)[1]).band_coverage_pct == pytest.approx(90, abs=3)


def test_a_change_of_the_cluster_is_found_and_followed(world_of):
    world = world_of(hours=48, truth=HIDDEN["linear"], noise=0.005)

    def louder(hour, readings):
        return PowerSeries(readings.timestamp_ms, readings.power_w * (1.06 if hour >= 30 else 1.0))

    calibrator, columns = walk(world, change=louder)
    assert len(calibrator.drifts) == 1
    event = calibrator.drifts[0]
    assert event.found_ms < (30 + 6) * 3_600_000
    assert event.since_ms == pytest.approx(30 * 3_600_000, abs=1_800_000)
    assert event.size_pct == pytest.approx(6, abs=0.5)
    assert scores(columns, first_hour=33).mape_pct < 0.4 + 0.3


def test_a_quiet_cluster_has_no_drift(world_of):
    world = world_of(hours=72, truth=HIDDEN["sqrt"], noise=0.01)
    assert walk(world)[0].drifts == []


def test_bad_readings_are_left_out_and_counted(world_of):
    world = world_of(hours=16, truth=HIDDEN["linear"], noise=0.005)

    def dirty(hour, readings):
        watts = readings.power_w.copy()
        if hour == 8:
            watts[10] *= 5
            watts[20:25] = np.nan
        return PowerSeries(readings.timestamp_ms, watts)

    calibrator, _ = walk(world, change=dirty)
    clean, columns = walk(world)
    spoiled = OnlineCalibrator(world.topology)
    for window in range(9):
        spoiled.observe(world.windows[window], dirty(window, world.readings[window]))
    excluded = orjson.loads(spoiled.params_for(world.start_ms(9)).record["excluded_json"])
    assert excluded == {"invalid": 5, "spike": 1}
    assert scores(columns).mape_pct < 0.7
    np.testing.assert_allclose(
        calibrator.params_for(world.start_ms(16)).predict(world.windows[15]).power_w,
        clean.params_for(world.start_ms(16)).predict(world.windows[15]).power_w,
        rtol=0.005,
    )


def test_a_gap_of_hours_is_survived(world_of):
    world = world_of(hours=20, truth=HIDDEN["linear"], noise=0.005)

    def gap(hour, readings):
        return PowerSeries(readings.timestamp_ms[:0], readings.power_w[:0]) if 8 <= hour < 12 else readings

    holey = OnlineCalibrator(world.topology)
    for window in range(20):
        holey.observe(world.windows[window], gap(window, world.readings[window]))
    predicted = holey.params_for(world.start_ms(20)).predict(world.windows[19]).power_w
    assert np.abs(predicted / world.readings[19].power_w - 1).mean() < 0.01


def test_published_models_are_monotone_and_close(world_of):
    world = world_of(hours=24, truth=HIDDEN["sqrt"], noise=0.005)
    calibrator, _ = walk(world)
    (model,) = calibrator.params_for(world.start_ms(24)).models
    assert list(model.levels) == sorted(model.levels)
    at = np.linspace(0.3, 1, 15)
    truth = 70 + 110 * np.sqrt(at)
    np.testing.assert_allclose(power_w(model, at), truth, rtol=0.06)


def test_parameters_the_data_cannot_tell_apart_are_named(world_of):
    world = world_of(hours=6, truth=HIDDEN["linear"], noise=0.005)
    calibrator = OnlineCalibrator(world.topology)
    idle = [np.zeros_like(o.active_hosts) for o in world.windows]
    for window in range(6):
        occupancy = world.windows[window]
        still = np.zeros_like(occupancy.weights)
        still[:, :, 0] = 40
        calibrator.observe(
            type(occupancy)(occupancy.timestamp_ms, occupancy.knots, occupancy.groups, still, still, idle[window]),
            PowerSeries(occupancy.timestamp_ms, np.full(120, 2_800.0)),
        )
    report = orjson.loads(calibrator.params_for(world.start_ms(6)).record["identifiability_json"])
    assert "C/T0 idle" in report["known_sd_w"]
    assert {"C/T0 step", "C/T0 full load"} <= set(report["not_identified_sd_w"])


def test_same_host_types_keep_what_was_learned_when_their_number_changes(world, world_of):
    calibrator, _ = walk(world)
    before = calibrator.params_for(world.start_ms(12)).models
    calibrator.use_topology(world_of(hours=1, hosts=80).topology)
    assert calibrator.params_for(world.start_ms(12)).models == before


def test_state_of_another_method_is_refused(world):
    with pytest.raises(TerminalError, match="of method grid"):
        OnlineCalibrator(world.topology, state=b'{"method": "grid"}')

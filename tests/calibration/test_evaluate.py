"""Walk-forward evaluation: what counts, what may be known, and how totals are stated."""

import numpy as np
import pytest

from opendt.calibration.evaluate import evaluate, hourly, walk_forward
from opendt.calibration.grid import GridCalibrator
from opendt.calibration.search import join_occupancies
from opendt.errors import InputError
from opendt.models.telemetry import CarbonTrace, PowerSeries
from opendt.settings import CalibrationSettings

SETTINGS = CalibrationSettings()
HOUR = 3_600_000


@pytest.fixture(scope="module")
def recorded(world_of):
    world = world_of(hours=30, noise=0.01)
    measured = PowerSeries(
        np.concatenate([r.timestamp_ms for r in world.readings]), np.concatenate([r.power_w for r in world.readings])
    )
    return world.topology, join_occupancies(world.windows), measured


def test_all_methods_are_scored_on_the_same_samples(recorded):
    found = evaluate(*recorded, SETTINGS, methods=("online", "grid", "off"))
    wanted = {"online", "grid", "uncalibrated", "persistence_last", "persistence_mean", "persistence_day"}
    assert set(found.scores) == wanted
    assert {s.samples for n, s in found.scores.items() if n != "persistence_day"} == {28 * 120}
    assert found.scores["persistence_day"].samples == 6 * 120 + 30  # a reading up to 15 minutes away will do
    assert found.scores["online"].mape_pct < found.scores["uncalibrated"].mape_pct


def test_nothing_after_the_window_began_is_used(recorded):
    topology, occupancy, measured = recorded
    origin = 10 * HOUR
    spoiled = np.where(measured.timestamp_ms >= origin, measured.power_w * 5, measured.power_w)
    honest = evaluate(topology, occupancy, measured, SETTINGS).forecasts
    other = evaluate(topology, occupancy, PowerSeries(measured.timestamp_ms, spoiled), SETTINGS).forecasts
    until = honest["online"].timestamp_ms < origin + HOUR
    for name, forecast in honest.items():
        np.testing.assert_array_equal(forecast.power_w[until], other[name].power_w[until], err_msg=name)


def test_a_longer_lead_holds_parameters_for_the_whole_window(recorded):
    topology, occupancy, measured = recorded
    spoiled = np.where(measured.timestamp_ms >= 12 * HOUR, measured.power_w * 2, measured.power_w)
    honest = evaluate(topology, occupancy, measured, SETTINGS, lead_h=6).forecasts["online"]
    other = evaluate(topology, occupancy, PowerSeries(measured.timestamp_ms, spoiled), SETTINGS, lead_h=6)
    until = honest.timestamp_ms < 18 * HOUR
    np.testing.assert_array_equal(honest.power_w[until], other.forecasts["online"].power_w[until])
    assert not np.array_equal(honest.power_w[~until], other.forecasts["online"].power_w[~until])


def test_first_hours_do_not_count(recorded):
    found = evaluate(*recorded, SETTINGS, skip_h=5)
    assert found.scores["online"].samples == 25 * 120
    assert evaluate(*recorded, SETTINGS, lead_h=24).scores["online"].samples == 6 * 120


def test_a_trace_shorter_than_what_does_not_count_is_refused(recorded):
    with pytest.raises(InputError, match="longer than the lead"):
        evaluate(*recorded, SETTINGS, skip_h=40)


def test_hours_hold_their_own_samples_and_readings(recorded):
    _, occupancy, measured = recorded
    hours = hourly(occupancy, measured)
    assert [start for start, *_ in hours] == [h * HOUR for h in range(30)]
    assert all(len(o.timestamp_ms) == len(r) == 120 for _, o, r in hours)


def test_totals_are_sums_of_the_counted_samples(recorded):
    carbon = CarbonTrace(np.array([0]), np.array([250.0]))
    found = evaluate(*recorded, SETTINGS, methods=("online",), carbon=carbon)
    energy, emission = found.totals["energy_kwh"], found.totals["carbon_kg"]
    assert energy["measured"] == pytest.approx(found.measured_w[found.counted].sum() * 30 / 3.6e6)
    assert emission["predicted"] == pytest.approx(energy["predicted"] * 0.25)
    half = energy["second_half"]
    assert half["low"] < half["measured"] < half["high"]
    assert (half["high"] - half["low"]) / half["measured"] < 0.02


def test_grid_walks_like_the_twin_does(recorded):
    topology, occupancy, measured = recorded
    hours = hourly(occupancy, measured)
    forecast = walk_forward(GridCalibrator(topology), hours)
    again = GridCalibrator(topology)
    expected = []
    for start, part, readings in hours:
        expected.append(again.params_for(start).predict(part).power_w)
        again.observe(part, readings)
    np.testing.assert_array_equal(forecast.power_w, np.concatenate(expected))

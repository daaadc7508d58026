"""OpenDT's protocol: evenly spaced values, lowest MAPE over the last hour wins and holds in the next."""

import os
from pathlib import Path

import numpy as np
import orjson
import pytest

from opendt.calibration.evaluate import hourly, walk_forward
from opendt.calibration.grid import GridCalibrator
from opendt.calibration.recorded import simulated_trace
from opendt.calibration.search import take_samples
from opendt.errors import ConfigError, TerminalError
from opendt.metrics import align, mape_of_means_pct, mape_pct
from opendt.power.pricing import group_models, price
from opendt.settings import CalibrationSettings, load_settings

SURF = Path(os.environ.get("OPENDT_SHARED", Path(__file__).parents[3] / "shared")) / "traces" / "surf"
needs_surf = pytest.mark.skipif(not SURF.exists(), reason=f"the SURF trace is not in {SURF}")


def test_values_are_evenly_spaced_and_rounded_as_in_opendt(world):
    grid = GridCalibrator(world.topology)
    grid.observe(world.windows[0], world.readings[0])
    tried = [orjson.loads(t["parameters_json"]) for t in grid.params_for(world.start_ms(1)).trials]
    values = [t["cpuPowerModel.calibrationFactor"] for t in tried]
    assert values == [3.0, 3.67, 4.33, 5.0, 5.67, 6.33, 7.0, 7.67, 8.33, 9.0]


def test_a_truth_on_the_grid_is_found(world):
    grid = GridCalibrator(world.topology)
    grid.observe(world.windows[0], world.readings[0])
    outcome = grid.params_for(world.start_ms(1))
    assert outcome.models[0].calibrationFactor == 5.0
    assert outcome.record["score_mape_pct"] == pytest.approx(0, abs=1e-4)


def test_score_is_the_mape_of_the_priced_occupancy(world):
    grid = GridCalibrator(world.topology, history_windows=0)
    for window in range(2):
        grid.observe(world.windows[window], world.readings[window])
    outcome = grid.params_for(world.start_ms(2))
    models = outcome.models[0].model_copy(update={"calibrationFactor": 3.0})
    predicted = np.concatenate([price(world.windows[w], [models]) for w in range(2)])
    measured = np.concatenate([world.readings[w].power_w for w in range(2)])
    assert outcome.trials[0]["score_mape_pct"] == pytest.approx(mape_pct(predicted, measured), rel=1e-5)


def test_history_of_one_window_forgets_the_one_before(world, world_of):
    other = world_of(truth={"modelType": "mse", "idlePower": 50, "maxPower": 200, "calibrationFactor": 9.0})
    grid = GridCalibrator(world.topology, history_windows=1)
    grid.observe(world.windows[0], world.readings[0])
    grid.observe(other.windows[1], other.readings[1])
    assert grid.params_for(world.start_ms(2)).models[0].calibrationFactor == 9.0


def test_impossible_values_fail_with_a_reason_and_without_a_score(world):
    grid = GridCalibrator(world.topology, "cpuPowerModel.maxPower", 20, 200, 10)
    grid.observe(world.windows[0], world.readings[0])
    trials = grid.params_for(world.start_ms(1)).trials
    failed = [t for t in trials if t["state"] == "failed"]
    assert [orjson.loads(t["parameters_json"])["cpuPowerModel.maxPower"] for t in failed] == [20.0, 40.0]
    assert all("below idlePower" in t["reason"] and t["score_mape_pct"] is None for t in failed)


def test_a_property_that_needs_a_new_simulation_is_refused(world):
    with pytest.raises(ConfigError, match="opendt calibrate"):
        GridCalibrator(world.topology, "cpu.coreSpeed", 1000, 2000)


def test_an_unknown_property_is_refused(world):
    with pytest.raises(ConfigError, match="no such property"):
        GridCalibrator(world.topology, "cpuPowerModel.exponent")


def test_state_of_another_grid_is_refused(world):
    state = GridCalibrator(world.topology).to_bytes()
    with pytest.raises(TerminalError, match="another grid"):
        GridCalibrator(world.topology, points=5, state=state)


def test_defaults_of_the_settings_are_the_published_protocol():
    settings = CalibrationSettings()
    assert (settings.grid_min, settings.grid_max, settings.grid_points) == (3.0, 9.0, 10)
    assert settings.history_windows == 1


def published_protocol(hours, models, values):
    """OpenDT's calibrator, step by step: both series interpolated to full minutes, MAPE over the last hour.

    Returns what the simulator would have predicted: watts, each hour with the exponent found in the one before.
    """
    chosen, watts = None, []
    for _, occupancy, readings in hours:
        at = np.asarray(occupancy.timestamp_ms, np.float64)
        given = price(occupancy, models)
        variants = {v: [m.model_copy(update={"calibrationFactor": v}) for m in models] for v in values}
        curves = {v: price(occupancy, variant) for v, variant in variants.items()}
        watts.append(given if chosen is None else curves[chosen])
        minutes = np.arange(max(at[0], readings.timestamp_ms[0]), min(at[-1], readings.timestamp_ms[-1]), 60_000)
        real = np.interp(minutes, readings.timestamp_ms, readings.power_w)
        errors = {v: np.mean(np.abs(real - np.interp(minutes, at, w)) / real) for v, w in curves.items()}
        chosen = min(errors, key=errors.get)
    return np.concatenate(watts)


@needs_surf
def test_surf_result_is_that_of_the_published_protocol():
    trace, occupancy = simulated_trace(SURF, load_settings(environment={}))
    occupancy = take_samples(occupancy, np.asarray(occupancy.timestamp_ms) <= trace.power.timestamp_ms[-1])
    hours = [hour for hour in hourly(occupancy, trace.power) if len(hour[2])]
    ours = walk_forward(GridCalibrator(trace.topology), hours)
    models = group_models(trace.topology, occupancy.groups)
    values = [float(v) for v in np.round(np.linspace(3, 9, 10), 2)]
    theirs = published_protocol(hours, models, values)
    measured = align(trace.power, ours.timestamp_ms, 600_000)
    for score in (mape_pct, lambda p, m: mape_of_means_pct(ours.timestamp_ms, p, m, 300_000)):
        assert score(ours.power_w, measured) == pytest.approx(score(theirs, measured), abs=0.3)

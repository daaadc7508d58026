"""Whatever a meter sends, predictions stay numbers and the state survives a restart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opendt.calibration.online import OnlineCalibrator
from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries

KINDS = ("clean", "none", "zeros", "negative", "nan", "inf", "huge", "tiny", "constant", "noise", "shifted", "sparse")


def spoil(kind, readings, rng):
    times, watts = readings.timestamp_ms, readings.power_w
    n = len(watts)
    changed = {
        "clean": watts, "zeros": np.zeros(n), "negative": -watts, "nan": np.full(n, np.nan), "inf": np.full(n, np.inf),
        "huge": watts * 1e12, "tiny": watts * 1e-12, "constant": np.full(n, 5_000.0),
        "noise": rng.uniform(-1e6, 1e6, n), "shifted": watts, "sparse": watts, "none": watts,
    }[kind]  # fmt: skip
    keep = {"none": slice(0, 0), "sparse": slice(0, n, 17)}.get(kind, slice(None))
    offset = rng.integers(-(10**7), 10**7) if kind == "shifted" else 0
    return PowerSeries(times[keep] + offset, changed[keep])


@pytest.fixture(scope="module")
def small(world_of):
    return world_of(hours=8, hosts=3)


@settings(max_examples=40, deadline=None)
@given(kinds=st.lists(st.sampled_from(KINDS), min_size=8, max_size=8), seed=st.integers(0, 1_000))
def test_any_sequence_of_bad_hours_leaves_finite_predictions(small, kinds, seed):
    rng = np.random.default_rng(seed)
    calibrator = OnlineCalibrator(small.topology)
    for window, kind in enumerate(kinds):
        prediction = calibrator.params_for(small.start_ms(window)).predict(small.windows[window])
        assert np.isfinite(prediction.power_w).all()
        assert (prediction.power_w >= 0).all()
        if prediction.band_low_w is not None:
            assert (prediction.band_low_w <= prediction.band_high_w).all()
        calibrator.observe(small.windows[window], spoil(kind, small.readings[window], rng))
    again = OnlineCalibrator(small.topology, state=calibrator.to_bytes())
    end = small.start_ms(8)
    np.testing.assert_array_equal(
        calibrator.params_for(end).predict(small.windows[7]).power_w,
        again.params_for(end).predict(small.windows[7]).power_w,
    )


def test_an_idle_cluster_is_predicted_too(small):
    calibrator = OnlineCalibrator(small.topology)
    weights = np.zeros_like(small.windows[0].weights)
    weights[:, :, 0] = 3
    for window in range(4):
        times = small.windows[window].timestamp_ms
        idle = Occupancy(times, small.windows[0].knots, ((0, 0),), weights, weights, np.zeros((120, 1)))
        calibrator.observe(idle, PowerSeries(times, np.full(120, 240.0)))
    predicted = calibrator.params_for(small.start_ms(4)).predict(idle).power_w
    np.testing.assert_allclose(predicted, 240, rtol=0.01)


def test_a_cluster_that_is_switched_off_for_hours_comes_back(world_of):
    world = world_of(hours=24, noise=0.005)
    calibrator = OnlineCalibrator(world.topology)
    for window in range(24):
        watts = world.readings[window].power_w * (0.02 if 8 <= window < 12 else 1.0)
        calibrator.observe(world.windows[window], PowerSeries(world.readings[window].timestamp_ms, watts))
    predicted = calibrator.params_for(world.start_ms(24)).predict(world.windows[23]).power_w
    assert np.abs(predicted / world.readings[23].power_w - 1).mean() < 0.02
    assert len(calibrator.drifts) == 2

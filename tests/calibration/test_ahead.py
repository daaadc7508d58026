"""Bands for leads above an hour: what they are made of, and that they hold in the long run."""

import numpy as np
import pytest

from opendt.calibration.ahead import LeadBand, independent_errors, weighted_quantiles
from opendt.calibration.base import CalibrationOutcome, Prediction
from opendt.calibration.evaluate import walk_forward
from opendt.calibration.online import OnlineCalibrator
from opendt.engine.base import Occupancy
from opendt.models.telemetry import PowerSeries

HOUR = 3_600_000
SAMPLES = 30
EXPECTED_W = 1_000.0


class SteadyCalibrator:
    """Predicts the same power always; ``silent_h`` hours of the trace it has nothing to say."""

    def __init__(self, silent_h: int = 0) -> None:
        self.silent_h = silent_h

    def params_for(self, window_start_ms):
        known = window_start_ms >= self.silent_h * HOUR
        return CalibrationOutcome("steady" if known else None, (), (), steady)

    def observe(self, occupancy, measured):
        pass


def steady(occupancy):
    power = np.full(len(occupancy.timestamp_ms), EXPECTED_W)
    return Prediction(power, power)


def hours_of(errors):
    """Hours of a trace whose readings differ by relative ``errors`` (hours, samples) from what is predicted."""
    found = []
    for hour, row in enumerate(errors):
        times = hour * HOUR + np.arange(len(row), dtype=np.int64) * (HOUR // len(row))
        nothing = np.zeros((len(row), 0, 0))
        occupancy = Occupancy(times, np.zeros(0), (), nothing, nothing, nothing)
        found.append((hour * HOUR, occupancy, PowerSeries(times, EXPECTED_W * (1 + row))))
    return found


def band_after(errors, lead_h=24):
    band = LeadBand(lead_h)
    for hour in hours_of(errors):
        band.follow(SteadyCalibrator(), *hour)
    return band


def coverage(errors, lead_h=24, since_h=24):
    forecast = walk_forward(SteadyCalibrator(), hours_of(errors), lead_h)
    low, high = (
        column.reshape(errors.shape)[since_h:] / EXPECTED_W - 1 for column in (forecast.low_w, forecast.high_w)
    )
    assert np.isfinite(low).all()
    return float(((errors[since_h:] >= low) & (errors[since_h:] <= high)).mean())


def slow_errors(rng, hours, memory_h, spread=0.015):
    """Errors of which the larger part stays for hours: a first-order autoregression, and noise."""
    keep = np.exp(-1 / memory_h)
    level = np.zeros(hours)
    level[0] = spread * rng.normal()
    for hour in range(1, hours):
        level[hour] = keep * level[hour - 1] + np.sqrt(1 - keep**2) * spread * rng.normal()
    return level[:, None] + rng.normal(0, 0.005, (hours, SAMPLES))


def test_quantiles_by_weight_worked_by_hand():
    values, weights = np.array([20.0, 10.0]), np.array([1.0, 3.0])
    # In order 10 (weight 3, middle at 1.5 of 4) and 20 (weight 1, middle at 3.5): a half lies at 2.0.
    assert weighted_quantiles(values, weights, [0.5]) == pytest.approx([12.5])
    assert weighted_quantiles(values, weights, [0.0, 1.0]) == pytest.approx([10, 20])


def test_equal_weights_give_the_usual_quantiles():
    values = np.random.default_rng(1).normal(size=1_001)
    found = weighted_quantiles(values, np.ones(1_001), [0.05, 0.5, 0.95])
    np.testing.assert_allclose(found, np.quantile(values, [0.05, 0.5, 0.95], method="hazen"))


def test_no_band_before_half_the_lead_was_seen():
    errors = np.random.default_rng(2).normal(0, 0.01, (12, SAMPLES))
    assert band_after(errors[:11]).limits() is None
    assert band_after(errors).limits() is not None
    assert band_after(errors[:3], lead_h=6).limits() is not None


def test_nothing_is_learned_while_nothing_is_predicted():
    band = LeadBand(2)
    for hour in hours_of(np.zeros((5, SAMPLES))):
        band.follow(SteadyCalibrator(silent_h=5), *hour)
    assert band.limits() is None


def test_hours_without_readings_are_survived():
    errors = np.random.default_rng(3).normal(0, 0.01, (40, SAMPLES))
    errors[20:25] = np.nan
    assert band_after(errors).limits() == pytest.approx((-0.0165, 0.0165), rel=0.15)


def test_independent_errors_worked_by_hand():
    counts, weights = np.array([2, 2]), np.array([1.0, 0.5])
    # Hours of one level each, -1 and 2: all variance lies between hours, and one and a half hours were seen.
    assert independent_errors(np.array([-1.0, -1.0, 2.0, 2.0]), counts, weights) == pytest.approx(1.5)
    # Hours (-4, 2) and (-1, 5): means -1 and 2, weighted mean 0, between 2, total (10 + 13 / 2) / 1.5 = 11.
    assert independent_errors(np.array([-4.0, 2.0, -1.0, 5.0]), counts, weights) == pytest.approx(1.5 * 11 / 2)


def test_a_band_is_wider_where_errors_come_in_hours():
    rng = np.random.default_rng(4)
    together = apart = 0.0
    for _ in range(10):
        values = rng.normal(0, 0.01, 15 * SAMPLES)
        together += np.ptp(band_after(rng.permutation(np.sort(values).reshape(15, SAMPLES))).limits())
        apart += np.ptp(band_after(values.reshape(15, SAMPLES)).limits())
    assert together > 1.1 * apart


def test_independent_errors_are_covered_nine_times_in_ten():
    errors = np.random.default_rng(5).normal(0, 0.01, (40 * 24, SAMPLES))
    assert coverage(errors) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("lead_h", [6, 24, 48])
def test_errors_that_stay_for_hours_are_covered_in_the_long_run(lead_h):
    runs = [coverage(slow_errors(np.random.default_rng(s), 40 * 24, 6.0), lead_h, 2 * lead_h) for s in range(3)]
    assert np.mean(runs) == pytest.approx(0.9, abs=0.02)


def test_coverage_comes_back_after_errors_triple():
    rng = np.random.default_rng(6)
    errors = np.concatenate([rng.normal(0, 0.01, (10 * 24, SAMPLES)), rng.normal(0, 0.03, (20 * 24, SAMPLES))])
    assert coverage(errors, since_h=13 * 24) == pytest.approx(0.9, abs=0.03)


def test_a_band_knows_nothing_of_its_own_window():
    errors = slow_errors(np.random.default_rng(7), 96, 6.0)
    spoiled = errors.copy()
    spoiled[48:] += 0.5
    honest, other = (walk_forward(SteadyCalibrator(), hours_of(e), 24) for e in (errors, spoiled))
    until = honest.timestamp_ms < 72 * HOUR
    np.testing.assert_array_equal(honest.low_w[until], other.low_w[until])
    assert not np.array_equal(honest.high_w[~until], other.high_w[~until])


def test_following_forecasts_changes_neither_predictions_nor_state(world):
    hours = [(world.start_ms(h), o, r) for h, (o, r) in enumerate(zip(world.windows, world.readings, strict=True))]
    followed, alone = OnlineCalibrator(world.topology), OnlineCalibrator(world.topology)
    forecast = walk_forward(followed, hours, lead_h=4)
    expected = []
    for first in range(0, len(hours), 4):
        outcome = alone.params_for(hours[first][0])
        for _, occupancy, readings in hours[first : first + 4]:
            expected.append(outcome.predict(occupancy).power_w)
            alone.observe(occupancy, readings)
    np.testing.assert_array_equal(forecast.power_w, np.concatenate(expected))
    assert followed.to_bytes() == alone.to_bytes()

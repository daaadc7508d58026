"""Scores worked by hand."""

import numpy as np
import pytest

from opendt import metrics
from opendt.errors import InputError
from opendt.models.telemetry import PowerSeries
from opendt.units import MS_PER_DAY, MS_PER_HOUR

NAN = np.nan


def series(times, values) -> PowerSeries:
    return PowerSeries(np.array(times, np.int64), np.array(values, np.float64))


def test_align_takes_exact_readings_and_interpolates_short_gaps():
    readings = series([0, 30, 90, 1000], [10, 20, 50, 0])
    found = metrics.align(readings, [0, 15, 30, 60, 500, 1000, 1001], max_gap_ms=60)
    np.testing.assert_allclose(found, [10, 15, 20, 35, NAN, 0, NAN])


def test_align_before_the_first_reading_is_missing():
    assert np.isnan(metrics.align(series([100], [5]), [99, 101], 1_000)).all()


def test_align_ignores_nan_readings():
    np.testing.assert_allclose(metrics.align(series([0, 30, 60], [10, NAN, 30]), [30], 60), [20])


def test_align_of_an_empty_series_is_all_missing():
    assert np.isnan(metrics.align(series([], []), [1, 2], 60)).all()


def test_mape_by_hand():
    assert metrics.mape_pct([110, 90, 100], [100, 100, 100]) == pytest.approx(20 / 3)


def test_missing_and_zero_measurements_do_not_count():
    assert metrics.mape_pct([110, 1, 5, NAN], [100, NAN, 0, 100]) == pytest.approx(10)


def test_no_overlap_is_an_error_not_a_score():
    with pytest.raises(InputError, match="no overlap"):
        metrics.mape_pct([1.0, NAN], [NAN, 1.0])


def test_different_shapes_are_refused():
    with pytest.raises(InputError, match="align them first"):
        metrics.mape_pct([1.0], [1.0, 2.0])


def test_share_under_is_strict():
    assert metrics.share_under_pct([104, 105, 90, 100], [100] * 4, 5) == pytest.approx(50)


def test_bias_is_relative_to_measured_energy():
    assert metrics.energy_bias_pct([110, 100, NAN], [100, 100, 100]) == pytest.approx(5)


def test_bucket_means_skip_missing_values():
    means = metrics.bucket_means([0, 10, 20, 30], [1, NAN, 5, NAN], 15)
    np.testing.assert_allclose(means[:2], [1, 5])
    assert np.isnan(means[2])


def test_errors_within_a_bucket_cancel_in_the_mean():
    times = np.arange(10) * 30_000
    predicted = np.where(np.arange(10) % 2, 110.0, 90.0)
    assert metrics.mape_of_means_pct(times, predicted, np.full(10, 100.0), 300_000) == pytest.approx(0)


def test_hold_last_uses_nothing_at_or_after_the_origin():
    readings = series([0, 10, 20], [1, 2, 3])
    np.testing.assert_allclose(metrics.persistence(readings, [25, 25], [20, 0], "last"), [2, NAN])


def test_hold_mean_averages_the_hour_before():
    hour = MS_PER_HOUR
    readings = series([0, hour // 2, hour, hour + 1], [8, 1, 3, 100])
    found = metrics.persistence(readings, [2 * hour] * 2, [hour + 1, 9 * hour], "mean")
    np.testing.assert_allclose(found, [2, NAN])


def test_same_time_yesterday_goes_back_as_far_as_the_origin_demands():
    day = MS_PER_DAY
    readings = series([0, day // 2, day, day + day // 2], [1, 2, 3, 4])
    assert metrics.persistence(readings, [2 * day], [2 * day], "day")[0] == 3
    assert metrics.persistence(readings, [2 * day], [day], "day")[0] == 1
    assert np.isnan(metrics.persistence(readings, [day // 2], [day // 2], "day")[0])


def test_coverage_and_width_leave_out_samples_without_band():
    low, high, measured = [90, 90, NAN], [110, 95, NAN], [100, 100, 100]
    assert metrics.band_coverage_pct(low, high, measured) == 50
    assert metrics.band_width_pct(low, high, measured) == pytest.approx(12.5)


def test_accuracy_collects_all_scores():
    times = np.arange(240) * 30_000
    measured = np.full(240, 100.0)
    scores = metrics.accuracy(times, measured * 1.02, measured, measured * 0.9, measured * 1.1)
    assert scores.samples == 240
    assert scores.mape_pct == pytest.approx(2)
    assert scores.mape_hourly_pct == pytest.approx(2)
    assert scores.under_5_pct == 100
    assert scores.band_coverage_pct == 100
    assert scores.band_width_pct == pytest.approx(20)
    assert metrics.accuracy(times, measured, measured).band_coverage_pct is None

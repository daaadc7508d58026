"""Bands: they hold 90 % of readings, also after the errors change, and totals follow from their parts."""

import numpy as np
import pytest

from opendt.calibration.band import LEAST_ERRORS, ConformalBand, total_band


def walk(errors_of_windows) -> float:
    band, inside, count = ConformalBand(), 0, 0
    for errors in errors_of_windows:
        limits = band.limits()
        if limits is not None:
            inside += int(((errors >= limits[0]) & (errors <= limits[1])).sum())
            count += len(errors)
        band.learn(errors)
    return inside / count


def test_no_band_before_enough_errors_are_known():
    band = ConformalBand()
    assert band.limits() is None
    band.learn(np.zeros(LEAST_ERRORS - 1))
    assert band.limits() is None
    band.learn(np.zeros(1))
    assert band.limits() == (0.0, 0.0)


def test_independent_errors_are_covered_nine_times_in_ten():
    rng = np.random.default_rng(1)
    assert walk(rng.normal(0, 0.01, (200, 120))) == pytest.approx(0.9, abs=0.01)


def test_skewed_errors_get_a_skewed_band():
    band = ConformalBand()
    band.learn(np.random.default_rng(2).exponential(0.01, 2_000))
    low, high = band.limits()
    assert -0.001 < low < 0.002
    assert high > 0.025


def test_coverage_comes_back_after_errors_triple():
    rng = np.random.default_rng(3)
    quiet, wild = rng.normal(0, 0.01, (100, 120)), rng.normal(0, 0.03, (100, 120))
    assert walk(np.concatenate([quiet, wild])) == pytest.approx(0.9, abs=0.02)


def test_errors_that_come_in_hours_are_still_covered():
    rng = np.random.default_rng(4)
    windows = rng.normal(0, 0.01, (300, 120)) + rng.normal(0, 0.02, (300, 1))
    assert walk(windows) == pytest.approx(0.9, abs=0.02)


def test_band_of_a_total_is_narrower_than_the_sum_of_bands_when_errors_are_independent():
    errors = np.random.default_rng(5).normal(0, 0.02, 400)
    low, high = total_band(np.full(100, 10.0), errors)
    assert (high - low) / 1_000 < 0.02 * 2 * 1.645 / np.sqrt(100) * 1.5
    assert low < 1_000 * (1 + errors.mean()) < high


def test_band_of_a_total_covers_nine_times_in_ten():
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(400):
        noise = rng.normal(0, 0.02, 220)
        correlated = np.convolve(noise, [1, 0.8, 0.6], "valid")[:200]
        past, coming = correlated[:150], correlated[150:]
        low, high = total_band(np.full(len(coming), 5.0), past)
        hits += low <= float((5.0 * (1 + coming)).sum()) <= high
    assert hits / 400 == pytest.approx(0.9, abs=0.05)


def test_with_hardly_any_past_errors_nothing_is_promised():
    assert total_band([1.0], [0.1, np.nan, 0.2]) == (-np.inf, np.inf)

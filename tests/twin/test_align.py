"""Readings meet samples: by hand."""

from __future__ import annotations

import numpy as np

from opendt.models.telemetry import PowerSeries
from opendt.twin.align import align_readings, first_of_each, join_readings

GRID = np.array([30_000, 60_000, 90_000])


def series(*pairs):
    times, values = zip(*pairs, strict=True) if pairs else ((), ())
    return PowerSeries(np.array(times, np.int64), np.array(values, float))


def aligned(*pairs, previous=0, last=False):
    return align_readings(GRID, previous, 30_000, series(*pairs), last=last)


def test_reading_on_the_grid_belongs_to_its_sample():
    assert aligned((30_000, 5.0), (60_000, 7.0)).measured_w.tolist()[:2] == [5.0, 7.0]


def test_reading_between_samples_belongs_to_the_next_one():
    result = aligned((31_000, 5.0))
    assert np.isnan(result.measured_w[0])
    assert result.measured_w[1] == 5.0


def test_readings_of_one_interval_are_averaged():
    assert aligned((40_000, 4.0), (50_000, 6.0), (60_000, 8.0)).measured_w[1] == 6.0


def test_sample_without_reading_is_nan_never_zero():
    assert np.isnan(aligned().measured_w).all()


def test_reading_after_the_last_sample_waits_for_the_next_window():
    result = aligned((95_000, 5.0))
    assert result.pending.timestamp_ms.tolist() == [95_000]
    assert result.unused == 0


def test_in_the_last_window_nothing_waits():
    result = aligned((95_000, 5.0), last=True)
    assert (len(result.pending), result.unused) == (0, 1)


def test_reading_long_before_the_first_sample_is_counted_as_unused():
    result = align_readings(GRID, None, 30_000, series((-500_000, 5.0), (0, 3.0)), last=False)
    assert result.unused == 2  # 0 is a whole interval before the first sample
    assert np.isnan(result.measured_w).all()


def test_first_row_of_each_time_is_kept():
    assert first_of_each(np.array([1, 2, 2, 3, 3, 3])).tolist() == [0, 1, 3]


def test_joined_readings_are_ordered_and_the_later_arrival_wins():
    joined = join_readings(series((2, 1.0), (1, 1.0)), series((2, 9.0)))
    assert joined.timestamp_ms.tolist() == [1, 2]
    assert joined.power_w.tolist() == [1.0, 9.0]

"""Readings that cannot be believed: each kind is found, counted and left out; honest ones stay."""

import numpy as np
import pytest

from opendt.calibration.hygiene import FROZEN_MS, Held, inspect
from opendt.models.telemetry import PowerSeries

TIMES = np.arange(120, dtype=np.int64) * 30_000
EXPECTED = 1_000 + 100 * np.sin(np.arange(120) / 15)
NOTHING = Held()


def look(times, watts, expected=EXPECTED, noise=0.01, held=NOTHING):
    return inspect(PowerSeries(np.array(times, np.int64), np.array(watts, np.float64)), TIMES, expected, noise, held)


def test_clean_readings_pass_untouched():
    seen = look(TIMES, EXPECTED * 1.01)
    np.testing.assert_allclose(seen.measured_w, EXPECTED * 1.01)
    assert seen.excluded == {}


def test_a_single_spike_is_left_out():
    watts = EXPECTED.copy()
    watts[50] *= 4
    seen = look(TIMES, watts)
    assert seen.excluded == {"spike": 1}
    assert np.isnan(seen.measured_w[50])
    assert np.isfinite(seen.measured_w[[49, 51]]).all()


def test_a_lasting_change_is_no_spike():
    watts = EXPECTED.copy()
    watts[60:] *= 1.4
    assert look(TIMES, watts).excluded == {}


def test_without_expectation_a_spike_is_far_from_the_median():
    watts = EXPECTED.copy()
    watts[7] = 10
    assert look(TIMES, watts, expected=None).excluded == {"spike": 1}


def test_a_frozen_meter_is_left_out_while_the_power_should_move():
    watts = EXPECTED.copy()
    watts[20:] = watts[20]
    seen = look(TIMES, watts)
    assert seen.excluded == {"frozen": 100}
    assert np.isfinite(seen.measured_w[:20]).all()


def test_a_constant_reading_is_fine_while_nothing_should_move():
    assert look(TIMES, np.full(120, 1_000.0), expected=np.full(120, 1_000.0)).excluded == {}


def test_while_nothing_is_known_a_constant_reading_is_believed():
    assert look(TIMES, np.full(120, 1_000.0), expected=None).excluded == {}


def test_a_meter_that_refreshes_every_few_minutes_is_not_frozen():
    assert look(TIMES, np.repeat(EXPECTED[::8], 8)).excluded == {}


def test_a_freeze_that_began_in_the_window_before_goes_on():
    watts = EXPECTED.copy()
    watts[:40] = 950.0
    fresh = look(TIMES, watts)
    assert fresh.excluded == {}
    again = look(TIMES, watts, held=Held(950.0, -FROZEN_MS))
    assert again.excluded == {"frozen": 40}


def test_the_value_held_at_the_end_is_handed_on():
    watts = EXPECTED.copy()
    watts[100:] = 990.0
    held = look(TIMES, watts).held
    assert held == Held(990.0, int(TIMES[100]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -5.0])
def test_impossible_values_are_invalid(bad):
    watts = EXPECTED.copy()
    watts[3] = bad
    seen = look(TIMES, watts)
    assert seen.excluded["invalid"] == 1


def test_readings_of_other_windows_are_late_or_beyond():
    times = np.concatenate([TIMES, [-3_600_000, 9_000_000]])
    seen = look(times, np.concatenate([EXPECTED, [1.0, 1.0]]))
    assert seen.excluded == {"late": 1, "beyond": 1}
    np.testing.assert_allclose(seen.measured_w, EXPECTED)


def test_gaps_are_missing():
    keep = np.ones(120, np.bool_)
    keep[30:90] = False
    seen = look(TIMES[keep], EXPECTED[keep])
    assert seen.excluded == {"missing": 60}


def test_no_reading_at_all_is_all_missing():
    assert look([], []).excluded == {"missing": 120}


def test_unordered_readings_are_put_in_order():
    order = np.random.default_rng(1).permutation(120)
    np.testing.assert_allclose(look(TIMES[order], EXPECTED[order]).measured_w, EXPECTED)

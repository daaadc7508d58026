"""The drift detector: quiet while errors are as usual, quick when the cluster changes."""

import numpy as np
import pytest
from scipy.signal import lfilter

from opendt.calibration.drift import DriftDetector, describe_drift

HOUR = 3_600_000
STEP = 30_000


def watch(error: np.ndarray, window: int = 120):
    """(onset hour, found hour) of every alarm, restarting after each."""
    detector, alarms = DriftDetector(), []
    for start in range(0, len(error), window):
        times = np.arange(start, start + window, dtype=np.int64) * STEP
        since = detector.update(times, error[start : start + window])
        if since is not None:
            alarms.append((since / HOUR, (start + window) * STEP / HOUR))
            detector.restart()
    return alarms


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.005, 0.05])
def test_a_quiet_month_raises_no_alarm(seed, noise):
    assert watch(np.random.default_rng(seed).normal(0, noise, 30 * 2_880)) == []


@pytest.mark.parametrize("seed", range(3))
def test_errors_that_wander_for_an_hour_raise_no_alarm_in_a_month(seed):
    rng = np.random.default_rng(seed)
    wander = lfilter([1], [1, -0.99], rng.normal(0, 0.001, 30 * 2_880))
    assert watch(wander + rng.normal(0, 0.005, len(wander))) == []


@pytest.mark.parametrize(("noise", "size"), [(0.005, 0.03), (0.005, -0.05), (0.05, 0.1), (0.01, 0.02)])
def test_a_change_is_found_within_six_hours(noise, size):
    error = np.random.default_rng(1).normal(0, noise, 5 * 2_880)
    begin = 60 * 120 + 47
    error[begin:] += size
    (since, found), *_ = watch(error)
    assert found - begin / 120 <= 6
    assert since == pytest.approx(begin / 120, abs=0.5)


def test_a_single_wild_quarter_of_an_hour_is_no_drift():
    error = np.random.default_rng(2).normal(0, 0.005, 2 * 2_880)
    error[3_000:3_030] = 0.5
    assert watch(error) == []


def test_a_change_too_small_to_matter_is_left_to_forgetting():
    error = np.random.default_rng(3).normal(0, 0.002, 2 * 2_880)
    error[3_000:] += 0.008
    assert watch(error) == []


def test_state_survives_a_restart():
    error = np.random.default_rng(4).normal(0, 0.01, 2_880)
    times = np.arange(2_880, dtype=np.int64) * STEP
    first = DriftDetector()
    first.update(times[:1_440], error[:1_440])
    second = DriftDetector.from_json(first.to_json())
    assert first.update(times[1_440:], error[1_440:]) == second.update(times[1_440:], error[1_440:])
    assert first.to_json() == second.to_json()


def test_the_event_names_the_group_and_the_hours_that_carry_it():
    rng = np.random.default_rng(5)
    times = np.arange(240, dtype=np.int64) * STEP + 10 * HOUR
    power = np.stack([rng.uniform(100, 300, 240), rng.uniform(100, 300, 240)], axis=1)
    change = np.where(times >= 11 * HOUR, 0.2, 0.02)
    error = power[:, 1] * change / power.sum(axis=1)
    event = describe_drift(11 * HOUR, 12 * HOUR, times, error, power, ("C/old", "C/new"))
    assert event.size_pct == pytest.approx(10, abs=1.5)
    assert event.groups["C/new"] > 15
    assert abs(event.groups["C/old"]) < 5
    assert event.hours == (11,)

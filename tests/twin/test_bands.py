"""Bands of energy and emission hold what they promise, and say nothing before there is anything to go by."""

from __future__ import annotations

import numpy as np
import pytest

from opendt.calibration.base import Prediction
from opendt.twin.bands import KEPT_WINDOWS, EnergyErrors
from opendt.twin.samples import Samples

SAMPLES = 12


def window(power_w: np.ndarray) -> tuple[Samples, Prediction]:
    """A window whose predicted power is given."""
    n = len(power_w)
    empty = np.zeros(n, np.int64)
    samples = Samples(
        timestamp_ms=np.arange(n), power_w=power_w, energy_j=power_w * 300.0, carbon_g=power_w,
        interval_s=np.full(n, 300.0),
        utilization_ratio=np.zeros(n), active_hosts=None, tasks_running=empty, tasks_waiting=empty,
        carbon_intensity_g_per_kwh=np.zeros(n), occupancy=None,
    )  # fmt: skip
    return samples, Prediction(power_w, power_w)


def energies(errors: EnergyErrors) -> dict[str, float | None]:
    return errors.bounds([10.0], {"energy_kwh": 10.0, "carbon_kg": 4.0})


def test_nothing_is_said_before_three_measured_windows():
    errors = EnergyErrors()
    samples, prediction = window(np.full(SAMPLES, 100.0))
    for count in range(4):
        assert (energies(errors)["energy_low_kwh"] is None) == (count < 3)
        errors.learn(samples, prediction, np.full(SAMPLES, 102.0 + count), calibrated=False)


def test_a_window_that_was_hardly_measured_says_nothing():
    errors = EnergyErrors()
    measured = np.full(SAMPLES, np.nan)
    measured[:5] = 100.0
    errors.learn(*window(np.full(SAMPLES, 100.0)), measured, calibrated=True)
    assert errors.relative == []


def test_nine_of_ten_windows_lie_in_a_band_that_was_learnt_before_them():
    draw = np.random.default_rng(5)
    errors, inside = EnergyErrors(), []
    for _ in range(600):
        simulated = draw.uniform(80, 120, SAMPLES)
        measured = simulated * (1.03 + draw.normal(0, 0.02))
        low_high = errors.band([simulated.sum()])
        if low_high is not None:
            inside.append(low_high[0] <= measured.sum() / simulated.sum() <= low_high[1])
        errors.learn(*window(simulated), measured, calibrated=True)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.04)
    assert len(errors.relative) == KEPT_WINDOWS


def test_emission_is_as_sure_as_the_energy_it_comes_from():
    errors = EnergyErrors([0.01, 0.02, 0.03, 0.02])
    found = energies(errors)
    assert found["carbon_low_kg"] / 4.0 == pytest.approx(found["energy_low_kwh"] / 10.0)
    assert 10.0 < found["energy_low_kwh"] < found["energy_high_kwh"] < 10.5


def test_a_total_is_surer_than_its_parts():
    errors = EnergyErrors(list(np.random.default_rng(1).normal(0, 0.02, 200)))
    width = [high - low for low, high in (errors.band([1.0]), errors.band(np.ones(100)))]
    assert width[1] < width[0] / 3


def test_errors_made_before_the_first_calibration_count_for_the_run_only():
    errors = EnergyErrors([0.2, 0.1, 0.3])
    for measured_w in (101.0, 102.0, 101.5):
        errors.learn(*window(np.full(SAMPLES, 100.0)), np.full(SAMPLES, measured_w), calibrated=True)
    assert errors.relative == pytest.approx([0.01, 0.02, 0.015])
    assert errors.band([1.0])[1] < 1.05 < errors.band([1.0], whole_run=True)[1]

"""Carbon by hand: a step function, exact over intervals that cross its steps."""

import numpy as np
import pytest

from opendt.models.telemetry import CarbonTrace, no_carbon
from opendt.power.carbon import embodied_g, emission_g, intensity_at, mean_intensity

TRACE = CarbonTrace(np.array([1_000, 2_000, 4_000]), np.array([100.0, 300.0, 50.0]))


def test_first_value_also_holds_before_and_last_for_ever():
    assert intensity_at(TRACE, [0, 1_000, 1_999, 2_000, 9_999]).tolist() == [100, 100, 100, 300, 50]


def test_no_trace_means_no_emission():
    assert intensity_at(no_carbon(), [1, 2]).tolist() == [0, 0]
    assert emission_g(500.0, 0, 10_000, no_carbon()) == 0


def test_mean_intensity_weights_each_step_by_its_time():
    assert mean_intensity(TRACE, 0, 1_000) == pytest.approx(100)
    assert mean_intensity(TRACE, 1_500, 2_500) == pytest.approx((500 * 100 + 500 * 300) / 1_000)
    assert mean_intensity(TRACE, 500, 5_000) == pytest.approx((1_500 * 100 + 2_000 * 300 + 1_000 * 50) / 4_500)


def test_empty_interval_has_the_intensity_of_its_start():
    assert mean_intensity(TRACE, 2_000, 2_000) == 300


def test_emission_of_opendc_example():
    flat = CarbonTrace(np.array([0]), np.array([100.0]))
    assert emission_g(625.0, 0, 30_000, flat) == pytest.approx(0.520833, abs=1e-6)


def test_emission_is_additive_over_adjoining_intervals():
    whole = emission_g(400.0, 0, 6_000, TRACE)
    parts = emission_g(np.full(3, 400.0), np.array([0, 1_300, 3_900]), np.array([1_300, 3_900, 6_000]), TRACE)
    assert parts.sum() == pytest.approx(float(whole))


def test_embodied_carbon_of_opendc_sample():
    assert embodied_g(150_000) == pytest.approx(0.951294, abs=1e-6)
    assert embodied_g(150_000, hosts=277) == pytest.approx(277 * 0.951294, rel=1e-6)

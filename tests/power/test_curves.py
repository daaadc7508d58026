"""Power curves against the values of OpenDC's runner (idle 100 W, maximum 200 W)."""

import numpy as np
import pytest

from opendt.models.topology import PowerModel
from opendt.power.curves import power_w, smooth_power_w, step_w

UTILIZATION = np.array([0, 0.1, 0.25, 0.5, 0.75, 1.0])
REFERENCE = {
    "sqrt": [100, 131.622772, 150, 170.710678, 186.602539, 200],
    "linear": [100, 110, 125, 150, 175, 200],
    "square": [100, 101, 106.25, 125, 156.25, 200],
    "cubic": [100, 100.1, 101.5625, 112.5, 142.1875, 200],
    "mse 1.4": [100, 116.018929, 135.641266, 162.107086, 183.152405, 200],
    "mse 4": [100, 119.989998, 149.609375, 193.75, 218.359375, 200],
    "asymptotic dvfs": [100, 100.216393, 103.318764, 123.287971, 158.840729, 198.216293],
    "asymptotic": [100, 119.173431, 140.770096, 165.556213, 183.395737, 198.216293],
}


def model(name: str, **more) -> PowerModel:
    kind, *rest = name.split()
    if kind == "mse":
        more["calibrationFactor"] = float(rest[0])
    if kind == "asymptotic":
        more |= {"asymUtil": 0.3, "dvfs": bool(rest)}
    return PowerModel(modelType=kind, idlePower=100, maxPower=200, **more)


@pytest.mark.parametrize("name", REFERENCE)
def test_curve_equals_opendc(name):
    np.testing.assert_allclose(power_w(model(name), UTILIZATION), REFERENCE[name], atol=2e-6)


@pytest.mark.parametrize("name", REFERENCE)
def test_array_equals_scalars(name):
    watts = power_w(model(name), UTILIZATION.reshape(2, 3))
    assert watts.shape == (2, 3)
    assert watts.ravel().tolist() == [float(power_w(model(name), u)) for u in UTILIZATION]


@pytest.mark.parametrize("name", REFERENCE)
def test_tiny_negative_utilization_counts_as_idle(name):
    assert float(power_w(model(name), -1e-12)) == pytest.approx(100)


@pytest.mark.parametrize("name", ["sqrt", "linear", "square", "cubic"])
def test_demand_above_capacity_costs_no_more_than_full_load(name):
    assert float(power_w(model(name), 1.7)) == pytest.approx(200)


def test_constant_ignores_utilization():
    assert power_w(PowerModel(modelType="constant", power=77), UTILIZATION).tolist() == [77.0] * 6


def test_mse_peaks_above_max_where_its_derivative_vanishes():
    fine = np.linspace(0, 1, 100_001)
    watts = power_w(model("mse 4"), fine)
    assert fine[np.argmax(watts)] == pytest.approx((2 / 4) ** (1 / 3), abs=1e-4)


def test_active_reaches_idle_and_max_and_steps_when_a_task_starts():
    active = model("active", stepPower=30, quadraticPower=-20)
    watts = power_w(active, [0, 1e-9, 0.5, 1.0])
    np.testing.assert_allclose(watts, [100, 130, 100 + 30 + 90 * 0.5 - 20 * 0.25, 200], atol=1e-6)


def test_step_and_smooth_part_add_up_to_the_curve():
    active = model("active", stepPower=30, quadraticPower=10)
    np.testing.assert_allclose(
        smooth_power_w(active, UTILIZATION) + step_w(active) * (UTILIZATION > 0), power_w(active, UTILIZATION)
    )
    assert step_w(model("linear")) == 0


def test_piecewise_interpolates_between_evenly_spaced_levels():
    levels = PowerModel(modelType="piecewise", idlePower=10, maxPower=30, levels=(10, 20, 30))
    np.testing.assert_allclose(power_w(levels, [0, 0.25, 0.5, 0.9, 2]), [10, 15, 20, 28, 30])
